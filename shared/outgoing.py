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
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import cached_property, lru_cache
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

_JUDGED = 1024
"""Addresses of which it is remembered whether they may be asked."""

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


class Answer:
    """The head of an answer, and its body as it arrives.

    Attributes:
        headers: names in lower case; fields of one name are one, joined by commas.
        url: where it came from, after redirects.
    """

    __slots__ = ("_reply", "headers", "status", "url")

    def __init__(self, reply: Reply, url: str) -> None:
        self.status: int = reply.status
        self.headers: Mapping[str, str] = reply.headers
        self.url = url
        self._reply = reply

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as sent: compressed when `Content-Encoding` says so.

        Raises:
            Unreachable: it breaks off.
        """
        return self._reply

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
        # Of an address and what does not change while this runs: a name is judged each time by what it means then.
        self._admits = lru_cache(maxsize=_JUDGED)(outside.admits)
        self._connections: OrderedDict[Server, Connections] = OrderedDict()
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

    def get(
        self,
        url: str,
        headers: Mapping[str, str],
        *,
        authorization: str | None = None,
        patience: Patience | None = None,
        stays: bool = False,
    ) -> AbstractAsyncContextManager[Answer]:
        """Return what asks for a URL when it is entered; its connection is free for others when it is left.

        Args:
            authorization: header for the place that the URL names, and for no other.
            patience: how long to wait.
            stays: whether redirects to another server are refused.

        Raises:
            Unreachable: when entered; there is no answer, or there may be none.
        """
        return _Get(self._ask, url, headers, authorization, patience or Patience(), stays)

    async def _ask(
        self, place: Server, target: str, headers: Mapping[str, str], patience: Patience, until: float
    ) -> Reply:
        """Ask for one thing.

        Args:
            target: path and query.
            until: when there must be an answer, in seconds of the event loop.

        Raises:
            Unreachable: there is no answer, or there may be none.
            TimeoutError: there is none at that time.
        """
        addresses = self._resolver.known(place.host, place.port)
        if addresses is None:
            async with asyncio.timeout_at(until):
                addresses = await self._resolved(place)
        self._judge(place, addresses)
        while (connections := self._connections.get(place)) is None:
            async with asyncio.timeout_at(until):
                await self._connect(place)
        self._connections.move_to_end(place)
        try:
            # They are in use from here on: nothing was waited for since they were found.
            return await connections.ask(addresses, target, headers, patience, until)
        except NotConnected:
            self._resolver.forget(place.host, place.port)
            raise

    async def _resolved(self, place: Server) -> list[str]:
        """Return the addresses of a place.

        Raises:
            Unreachable: its name is none that anybody knows.
        """
        try:
            return await self._resolver.addresses(place.host, place.port)
        except (OSError, UnicodeError) as error:
            raise Unreachable(f"the name {place.host} cannot be resolved: {_words(error)}") from error

    def _judge(self, place: Server, addresses: list[str]) -> None:
        """Look at the addresses of a place.

        Raises:
            Unreachable: it has none, or one that must not be asked.
        """
        if not addresses:
            raise Unreachable(f"the name {place.host} has no address")
        if all(map(self._admits, addresses)):
            return
        # Which ones is for operators: whoever may set a mirror's upstream could ask for any name inside.
        refused = [address for address in addresses if not self._admits(address)]
        log.warning("address_refused", host=place.host, addresses=refused)
        words = f"{place.host} has an address that is not public: the operator can allow its network (mirrors.networks)"
        raise Unreachable(words, refused=True)

    async def _connect(self, place: Server) -> None:
        """Keep connections to a place; those of places that nobody asked for longest are closed."""
        module = await asyncio.to_thread(load, _CONNECTIONS)
        if place not in self._connections:  # By somebody else, meanwhile.
            self._connections[place] = module.Connections(place, self._tls if place.scheme == "https" else None)
        # Taken away all at once: while one is being closed, others come by and would take away the same.
        unused = [which for which, one in self._connections.items() if not one.asked][:-_PLACES]
        for old in [self._connections.pop(which) for which in unused]:
            await old.aclose()


@dataclass(slots=True, eq=False)
class _Get:
    """A GET with its redirects: it is sent when this is entered; left, the connection is free for another.

    Attributes:
        ask: `Outgoing._ask`; the others are as `Outgoing.get` is told.
    """

    ask: Callable[[Server, str, Mapping[str, str], Patience, float], Awaitable[Reply]]
    url: str
    headers: Mapping[str, str]
    authorization: str | None
    patience: Patience
    stays: bool
    _reply: Reply | None = None

    async def __aenter__(self) -> Answer:
        url, headers = self.url, self.headers
        place, target = first, _ = _taken_apart(url)
        until = asyncio.get_running_loop().time() + self.patience.head
        try:
            for _ in range(MOST_REDIRECTS + 1):
                if self.stays and place != first:
                    raise Unreachable("it redirects to another server, which is not followed", refused=True)
                if self.authorization and place == first:
                    headers = {**self.headers, "authorization": self.authorization}
                reply = await self.ask(place, target, headers, self.patience, until)
                if reply.status not in _REDIRECTS or "location" not in reply.headers:
                    self._reply = reply
                    return Answer(reply, url)
                reply.close()
                url, headers = _redirected(url, reply.headers["location"]), self.headers
                place, target = _taken_apart(url)
        except TimeoutError as error:
            raise Unreachable(f"{first.authority} did not answer within {self.patience.head:g} s") from error
        raise Unreachable(f"{first.authority} redirects more than {MOST_REDIRECTS} times")

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._reply is not None:
            self._reply.close()


def _taken_apart(url: str) -> tuple[Server, str]:
    """Return the server of a URL, and what it is asked for: path and query as they are.

    Raises:
        Unreachable: the URL is none that is asked.
    """
    server = server_of(url)
    plain = url.isascii() and url.isprintable() and " " not in url
    if server is None or not plain or "@" in (parts := urlsplit(url)).netloc:
        raise Unreachable("a link is no plain http(s) URL", refused=True)
    return server, f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"


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
