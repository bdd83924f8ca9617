"""What proxies in front say, and who is believed: whom a request is from, which is what limits are counted for, and
where the client reached the host (`X-Outside-URL`, contract devpi section 17)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

_MAX_HOPS = 16
"""Addresses that are looked at: a client may write thousands."""

_MAX_URL = 500
"""Characters of an outside URL that are read."""

_WITH_PORT = re.compile(r"\[([^\[\]]*)\](?::\d+)?|([^:]+):\d+")
"""An IPv6 address in brackets, or an IPv4 address with a port, as some proxies write them."""

_OUTSIDE = b"x-outside-url"
"""Where the client reached the host, as a proxy says it."""

Network = IPv4Network | IPv6Network


def behind(proxies: tuple[str, ...], app: ASGIApp, outside_url: str | None = None) -> ASGIApp:
    """Return `app` with the client's address in place of a trusted proxy's, without an `X-Outside-URL` of anybody else,
    and with paths as they are without a prefix of the outside URL; other headers of proxies mean nothing.

    Args:
        proxies: addresses and networks that are trusted; none: no header is read.
        outside_url: where clients reach the host unless a proxy says it.
    """
    trusted = [ip_network(proxy) for proxy in proxies]

    async def named(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            peer = scope.get("client")
            outside = outside_url
            if peer is not None and is_among(peer[0], trusted):
                client = client_of(peer[0], _header(scope, b"x-forwarded-for"), trusted)
                if client != peer[0]:
                    scope = {**scope, "client": (client, 0)}
                outside = _header(scope, _OUTSIDE) or outside
            elif _OUTSIDE in dict(scope["headers"]):
                scope = {**scope, "headers": [pair for pair in scope["headers"] if pair[0] != _OUTSIDE]}
            if outside is not None:
                scope = _without(prefix_of(outside), scope)
        await app(scope, receive, send)

    return named


def seen_behind(proxies: tuple[str, ...], app: ASGIApp) -> ASGIApp:
    """Return an application whose client is whom trusted proxies say they saw; all else they say means nothing.

    A service in a process of its own has the gateway in front, or the ingress: the audit is to name neither.

    Args:
        proxies: as of `behind`.
    """
    trusted = [ip_network(proxy) for proxy in proxies]

    async def named(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (peer := scope.get("client")) is not None:
            client = client_of(peer[0], _header(scope, b"x-forwarded-for"), trusted)
            if client != peer[0]:
                scope = {**scope, "client": (client, 0)}
        await app(scope, receive, send)

    return named


def prefix_of(outside_url: str) -> str:
    """Return the path of an outside URL, without a trailing slash; empty for none, and for what is no URL."""
    try:
        return urlsplit(outside_url[:_MAX_URL]).path.rstrip("/")
    except ValueError:
        return ""


def _without(prefix: str, scope: Scope) -> Scope:
    """Return a request with its path below a prefix, which a proxy may have left there or not."""
    path, raw = scope["path"], scope.get("raw_path") or b""
    sent = prefix.encode("latin-1", "replace") + b"/"
    if not prefix or not path.startswith(f"{prefix}/") or not (raw.startswith(sent) or not raw):
        return scope
    return {**scope, "path": path[len(prefix) :], "raw_path": raw[len(prefix) :]}


def _header(scope: Scope, wanted: bytes) -> str:
    return b",".join(value for name, value in scope["headers"] if name == wanted).decode("latin-1")


def is_among(peer: str, trusted: Sequence[Network]) -> bool:
    """Return whether a peer's address is a trusted proxy's."""
    if not trusted:
        return False
    address = _address(peer)
    return address is not None and _among(address, trusted)


def client_of(peer: str, forwarded: str, trusted: Sequence[Network]) -> str:
    """Return the address that counts: the last in `forwarded` that is no trusted proxy's, if the peer is one.

    Each proxy adds at the end whom it saw; what stands further to the left may be the client's own words. So where all
    are trusted, or one is no address, it is the last: the one that the nearest proxy saw.

    Args:
        peer: address of the connection.
        forwarded: `X-Forwarded-For`, all of its lines in order; empty when there is none.
    """
    if not is_among(peer, trusted):
        return peer
    last = None
    for text in reversed(forwarded.rsplit(",", _MAX_HOPS)[-_MAX_HOPS:]):
        address = _address(text)
        if address is None:
            break
        if not _among(address, trusted):
            return str(address)
        last = last or str(address)
    return last or peer


def _among(address: IPv4Address | IPv6Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """Return the address, IPv4 also when it is written as IPv6; None for anything else, and for link-local scopes."""
    text = text.strip()
    if found := _WITH_PORT.fullmatch(text):
        text = found[1] or found[2] or ""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        return None if address.scope_id else address.ipv4_mapped or address
    return address
