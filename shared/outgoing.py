"""GET requests to servers outside this deployment, at addresses that were checked before the connection is made.

A name is resolved here, every address it has is judged, and the connection goes to one that passed: a name that means
another address a moment later leads nowhere else. What it means is asked for again after half a minute. Redirects are
followed by the same rules, never to a lesser scheme, and without credentials when they lead to another place. Proxies
and the environment's other settings do not count.
Source: architecture section 10 ("private addresses are refused unless allowed"); contract devpi section 14.
"""

from __future__ import annotations

import asyncio
import ssl
import zlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from types import TracebackType
from typing import TYPE_CHECKING, Self
from urllib.parse import urljoin, urlsplit

import structlog

from shared.lasting import load
from shared.outside import PUBLIC, Outside, Server, server_of
from shared.resolving import Resolver

if TYPE_CHECKING:
    from shared.outgoing_connections import Connections, Reply

log = structlog.get_logger()

MOST_REDIRECTS = 5

USER_AGENT = f"countermark-server/{version('countermark-server')}"
"""Says who asks: nothing is passed off as an installer. Of the deployment it says nothing: its name may be private."""

_REDIRECTS = frozenset([301, 302, 303, 307, 308])
_PLACES = 64
"""Servers to which connections are kept at the same time."""

_CONNECTIONS = "shared.outgoing_connections"
"""Loaded by name, when something is asked for the first time."""


class Unreachable(Exception):
    """There is no answer: the message says why, and nothing of the networks here.

    Attributes:
        refused: the rules here forbid to ask at all.
        crowded: too much is being asked for here at the same time, which says nothing of the server.
    """

    def __init__(self, message: str, *, refused: bool = False, crowded: bool = False) -> None:
        self.refused = refused
        self.crowded = crowded
        super().__init__(message)


class NotConnected(Unreachable):
    """No address of a server takes a connection."""


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds: to connect; without a byte of a body, and beside connecting until its head is there; and for everything
    up to the end of the last head, with redirects."""

    connect: float = 5.0
    read: float = 15.0
    head: float = 30.0


@dataclass(frozen=True, slots=True)
class Answer:
    """The head of an answer, and its body as it arrives.

    Attributes:
        headers: names in lower case; fields of one name are one, joined by commas.
        url: where it came from, after redirects.
        body: the body as sent.
    """

    status: int
    headers: Mapping[str, str]
    url: str
    body: AsyncIterator[bytes]

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as sent: compressed when `Content-Encoding` says so.

        Raises:
            Unreachable: it breaks off.
        """
        return self.body

    async def read(self, most: int) -> bytes:
        """Return the whole body, unpacked where it is packed with gzip.

        Raises:
            Unreachable: it has more than `most` bytes, breaks off, or is packed in another way.
        """
        coding = self.headers.get("content-encoding", "identity").strip().lower()
        if coding not in ("identity", "gzip", "x-gzip"):
            raise Unreachable(f"the answer is packed in a way that was not asked for: {coding[:50]}")
        body, unpacking = bytearray(), None if coding == "identity" else _Unpacking()
        async for chunk in self.chunks():
            # One byte more than wanted, whatever the rest would become.
            body += chunk if unpacking is None else unpacking.feed(chunk, most + 1 - len(body))
            if len(body) > most:
                raise Unreachable(f"the answer has more than {most} bytes")
        if unpacking is not None and not unpacking.complete:
            raise Unreachable("the answer broke off: what is packed in it has no end")
        return bytes(body)


class _Unpacking:
    """Unpacks gzip as it arrives: one member after another. Source: RFC 1952 section 2.2."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(zlib.MAX_WBITS | 16)
        self.complete = True
        """Whether what was fed ends with a member, or is nothing."""

    def feed(self, packed: bytes, most: int) -> bytes:
        """Return at most `most` bytes, which is more than 0; the rest is lost then.

        Raises:
            Unreachable: it is no gzip.
        """
        unpacked = bytearray()
        try:
            while packed and len(unpacked) < most:
                if self._member.eof:
                    self._member = zlib.decompressobj(zlib.MAX_WBITS | 16)
                unpacked += self._member.decompress(packed, most - len(unpacked))
                packed = self._member.unused_data
                self.complete = self._member.eof
        except zlib.error as error:
            raise Unreachable("the answer is no gzip, though it says so") from error
        return bytes(unpacked)


class Outgoing:
    """Sends requests; connections to a server are kept for the next one. Use it as an async context manager."""

    def __init__(self, outside: Outside = PUBLIC) -> None:
        """Args: outside: its networks may be asked though they are not public."""
        self._outside = outside
        self._connections: OrderedDict[Server, Connections] = OrderedDict()
        self._busy: dict[Server, int] = {}
        self._resolver = Resolver()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connections in self._connections.values():
            await connections.aclose()

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        # Reading the system's certificates takes tens of milliseconds: once, and only where it is needed.
        context = ssl.create_default_context()
        context.set_alpn_protocols(["http/1.1"])
        return context

    @asynccontextmanager
    async def get(
        self,
        url: str,
        headers: Mapping[str, str],
        *,
        authorization: str | None = None,
        patience: Patience | None = None,
        stays: bool = False,
    ) -> AsyncIterator[Answer]:
        """Ask for a URL.

        Args:
            authorization: header for the place that the URL names, and for no other.
            patience: how long to wait.
            stays: whether redirects to another server are refused.

        Raises:
            Unreachable: there is no answer, or there may be none.
        """
        waits = patience or Patience()
        first = _server(url)
        limit = asyncio.timeout(waits.head)
        try:
            async with limit:
                for _ in range(MOST_REDIRECTS + 1):
                    place = _server(url)
                    if stays and place != first:
                        raise Unreachable("it redirects to another server, which is not followed", refused=True)
                    own = dict(headers) | ({"authorization": authorization} if authorization and place == first else {})
                    async with self._asked(place, url, own, waits) as reply:
                        if reply.status not in _REDIRECTS or "location" not in reply.headers:
                            limit.reschedule(None)
                            yield Answer(reply.status, reply.headers, url, reply.body())
                            return
                        url = _redirected(url, reply.headers["location"])
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise Unreachable(f"{first.authority} did not answer within {waits.head:g} s") from error
        raise Unreachable(f"{first.authority} redirects more than {MOST_REDIRECTS} times")

    @asynccontextmanager
    async def _asked(
        self, place: Server, url: str, headers: Mapping[str, str], waits: Patience
    ) -> AsyncIterator[Reply]:
        # Before anything is waited for: connections that somebody is about to use are not closed.
        self._busy[place] = self._busy.get(place, 0) + 1
        try:
            connections = await self._connected(place)
            reply = await self._sent(connections, place, url, headers, waits)
            try:
                yield reply
            finally:
                reply.close()
        finally:
            self._busy[place] -= 1
            if not self._busy[place]:
                del self._busy[place]

    async def _sent(
        self, connections: Connections, place: Server, url: str, headers: Mapping[str, str], waits: Patience
    ) -> Reply:
        addresses = await self._addresses(place)
        parts = urlsplit(url)
        target = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
        try:
            return await connections.ask(addresses, target, {"user-agent": USER_AGENT, **headers}, waits)
        except NotConnected:
            self._resolver.forget(place.host, place.port)
            raise

    async def _addresses(self, place: Server) -> list[str]:
        """Return the addresses of a place.

        Raises:
            Unreachable: it has none, or one that must not be asked.
        """
        try:
            addresses = await self._resolver.addresses(place.host, place.port)
        except (OSError, UnicodeError) as error:
            raise Unreachable(f"the name {place.host} cannot be resolved: {_words(error)}") from error
        refused = [address for address in addresses if not self._outside.admits(address)]
        if not addresses:
            raise Unreachable(f"the name {place.host} has no address")
        if refused:
            # Which ones is for operators: whoever may set a mirror's upstream could ask for any name inside.
            log.warning("address_refused", host=place.host, addresses=refused)
            words = (
                f"{place.host} has an address that is not public: the operator can allow its network (mirrors.networks)"
            )
            raise Unreachable(words, refused=True)
        return addresses

    async def _connected(self, place: Server) -> Connections:
        """Return the connections to a place; those of places that nobody asked for longest are closed."""
        if place not in self._connections:
            module = await asyncio.to_thread(load, _CONNECTIONS)
            if place not in self._connections:  # By somebody else, meanwhile.
                self._connections[place] = module.Connections(place, self._tls if place.scheme == "https" else None)
            # Taken away all at once: while one is being closed, others come by and would take away the same.
            unused = [one for one in self._connections if not self._busy.get(one)][:-_PLACES]
            for old in [self._connections.pop(one) for one in unused]:
                await old.aclose()
        self._connections.move_to_end(place)
        return self._connections[place]


def _server(url: str) -> Server:
    """Return the server of a URL.

    Raises:
        Unreachable: the URL is none that is asked.
    """
    server = server_of(url)
    plain = url.isascii() and url.isprintable() and " " not in url
    if server is None or not plain or "@" in urlsplit(url).netloc:
        raise Unreachable("a link is no plain http(s) URL", refused=True)
    return server


def _redirected(url: str, location: str) -> str:
    """Return where a redirect leads.

    Raises:
        Unreachable: to a lesser scheme.
    """
    try:
        target = urljoin(url, location).partition("#")[0]
    except ValueError as error:
        raise Unreachable("it redirects to what is no URL", refused=True) from error
    if urlsplit(url).scheme == "https" and urlsplit(target).scheme != "https":
        raise Unreachable("it redirects from https to another scheme, which is not followed", refused=True)
    return target


def _words(error: Exception | None) -> str:
    return f"{type(error).__name__}: {str(error)[:200]}" if str(error) else type(error).__name__
