"""Which servers outside this deployment it may be told to speak to, and at which addresses. Pure.

A request that names a URL is a way to reach what only this machine can reach. So nothing may be named that the operator
did not list, and a name that is listed still does not lead to loopback, link-local or private addresses, since whoever
answers for the name could point it there: such addresses are listed themselves, as networks, or in the URL.

Source: architecture section 10 ("no redirects to hosts that are not configured; private addresses are refused unless
allowed"); contract devpi section 11.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

MAX_URL = 2000
"""Characters of a URL."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

LOOPBACK: tuple[Network, ...] = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
"""Addresses that stand for one of IPv4. Source: RFC 6052 section 2.1."""

_EMBEDDING = (
    ipaddress.IPv6Network("::/96"),
    ipaddress.IPv6Network("64:ff9b:1::/48"),
    ipaddress.IPv6Network("2001::/32"),
)
"""Addresses that lead to one of IPv4 which is not plain to see: compatible ones, NAT64 of a local network, Teredo.
Source: RFC 4291 section 2.5.5.1, RFC 8215, RFC 4380."""

_DEFAULT_PORTS = {"http": 80, "https": 443}
_PATH = re.compile(r"[A-Za-z0-9/._~!$&'()*+,;=:@-]*\Z")
_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?\Z|[0-9a-f:.]+\Z")


class InvalidDestination(ValueError):
    """A URL that is not plainly that of one place; the message says why."""


def is_loopback(host: str) -> bool:
    """Return whether a host name or address can only mean this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Server(NamedTuple):
    """Whom a URL speaks to: `host` in lower case, an IPv6 address without brackets."""

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        """Host and port as the Host header has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


def server_of(url: str) -> Server | None:
    """Return the server of an http(s) URL, whatever user it names; None for what is none."""
    try:
        parts = urlsplit(url)
        return _server(parts.scheme, parts.netloc)
    except ValueError:
        return None


# Many URLs are those of a few servers.
@lru_cache(maxsize=256)
def _server(scheme: str, netloc: str) -> Server | None:
    """Return a server.

    Raises:
        ValueError: its port is none.
    """
    parts = SplitResult(scheme, netloc, "", "", "")
    host, port = (parts.hostname or "").lower(), parts.port
    if scheme not in _DEFAULT_PORTS or not host:
        return None
    return Server(scheme, host, _DEFAULT_PORTS[scheme] if port is None else port)


@dataclass(frozen=True, slots=True)
class Destination:
    """A URL taken apart: `host` in lower case, an IPv6 address without brackets, `path` beginning with a slash."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def literal(self) -> bool:
        """Whether the host is an address, or a name that means this machine: nobody can point it elsewhere."""
        return self.host == "localhost" or _address(self.host) is not None

    @property
    def authority(self) -> str:
        """Host and port as the Host header has them."""
        return Server(self.scheme, self.host, self.port).authority

    def covers(self, other: Destination) -> bool:
        """Whether `other` is this place or one below it."""
        same = (self.scheme, self.host, self.port) == (other.scheme, other.host, other.port)
        return same and (other.path == self.path or other.path.startswith(f"{self.path.rstrip('/')}/"))


@dataclass(frozen=True, slots=True)
class Outside:
    """What may be spoken to: places, and networks that are not public and yet may be the address of a listed name."""

    places: tuple[Destination, ...] = ()
    networks: tuple[Network, ...] = ()

    def place_of(self, destination: Destination) -> Destination | None:
        """Return the listed place that a destination belongs to, None when there is none."""
        return next((place for place in self.places if place.covers(destination)), None)

    def allows(self, destination: Destination, address: str) -> bool:
        """Whether a listed destination may be reached at an address that its host has."""
        return (destination.literal and _address(address) is not None) or self.admits(address)

    def admits(self, address: str) -> bool:
        """Whether an address may be reached, whatever name it has: it is public, or in a listed network."""
        found = _address(address)
        if found is None:
            return False
        if any(found in network for network in self.networks):
            return True
        return found.is_global and not found.is_multicast and not any(found in network for network in _EMBEDDING)


PUBLIC = Outside()
"""What is public, and nothing else."""


def parse_destination(text: str) -> Destination:
    """Take a URL apart.

    Only plain URLs are taken, so that no two programs read one differently: no user, query or fragment, no escapes, no
    empty, `.` or `..` segment.

    Raises:
        InvalidDestination: it is none.
    """
    if len(text) > MAX_URL:
        raise InvalidDestination(f"it is longer than {MAX_URL} characters")
    try:
        parts = urlsplit(text)
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError as error:
        raise InvalidDestination("it is no URL") from error
    if parts.scheme not in _DEFAULT_PORTS or not text.isascii() or not _HOST.match(host):
        raise InvalidDestination("it must be http(s)://host[:port]/path")
    if "@" in parts.netloc or "?" in text or "#" in text:
        raise InvalidDestination("it must hold no user, query or fragment")
    path = parts.path or "/"
    segments = path.removesuffix("/").split("/")[1:]
    if not _PATH.match(path) or any(segment in {"", ".", ".."} for segment in segments):
        raise InvalidDestination("its path must be plain: no escapes, no empty, '.' or '..' segment")
    return Destination(parts.scheme, host, port or _DEFAULT_PORTS[parts.scheme], path)


def parse_outside(texts: Iterable[str]) -> Outside:
    """Read a list of URLs and networks.

    Raises:
        InvalidDestination: one is neither; the message names it.
    """
    places, networks = [], []
    for text in texts:
        if "://" not in text:
            try:
                networks.append(ipaddress.ip_network(text))
            except ValueError as error:
                raise InvalidDestination(f"{text[:100]!r} is no URL and no network such as 10.0.0.0/8") from error
            continue
        try:
            places.append(parse_destination(text))
        except InvalidDestination as error:
            raise InvalidDestination(f"{text[:100]!r}: {error}") from error
    return Outside(tuple(places), tuple(networks))


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return an address; one of IPv4 in the clothes of IPv6 is what it stands for."""
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(found, ipaddress.IPv4Address):
        return found
    if found in _NAT64:
        return ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
    return found.ipv4_mapped or found.sixtofour or found
