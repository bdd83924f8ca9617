"""Whom a request is from when proxies stand in front: what limits are counted for, and nothing else rests on it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from starlette.types import ASGIApp, Receive, Scope, Send

_MAX_HOPS = 16
"""Addresses that are looked at: a client may write thousands."""

_WITH_PORT = re.compile(r"\[([^\[\]]*)\](?::\d+)?|([^:]+):\d+")
"""An IPv6 address in brackets, or an IPv4 address with a port, as some proxies write them."""

Network = IPv4Network | IPv6Network


def behind(proxies: tuple[str, ...], app: ASGIApp) -> ASGIApp:
    """Return `app` with the client's address in place of a trusted proxy's; other headers of proxies mean nothing.

    Args:
        proxies: addresses and networks that are trusted; none: no header is read.
    """
    if not proxies:
        return app
    trusted = [ip_network(proxy) for proxy in proxies]

    async def named(scope: Scope, receive: Receive, send: Send) -> None:
        peer = scope.get("client")
        if scope["type"] == "http" and peer is not None:
            written = b",".join(value for name, value in scope["headers"] if name == b"x-forwarded-for")
            client = client_of(peer[0], written.decode("latin-1"), trusted)
            if client != peer[0]:
                scope = {**scope, "client": (client, 0)}
        await app(scope, receive, send)

    return named


def client_of(peer: str, forwarded: str, trusted: Sequence[Network]) -> str:
    """Return the address that counts: the last in `forwarded` that is no trusted proxy's, if the peer is one.

    Each proxy adds at the end whom it saw; what stands further to the left may be the client's own words. So where all
    are trusted, or one is no address, it is the last: the one that the nearest proxy saw.

    Args:
        peer: address of the connection.
        forwarded: `X-Forwarded-For`, all of its lines in order; empty when there is none.
    """
    address = _address(peer)
    if address is None or not _among(address, trusted):
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
