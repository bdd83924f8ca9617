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
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from types import TracebackType
from typing import Self
from urllib.parse import urljoin, urlsplit

import httpx2
import structlog

from shared.outside import PUBLIC, Outside, Server, server_of
from shared.resolving import Resolver

log = structlog.get_logger()

MOST_REDIRECTS = 5

USER_AGENT = f"countermark-server/{version('countermark-server')}"
"""Says who asks: nothing is passed off as an installer. Of the deployment it says nothing: its name may be private."""

_REDIRECTS = frozenset([301, 302, 303, 307, 308])
_PLACES = 64
"""Servers to which connections are kept at the same time."""

_CONNECTIONS = httpx2.Limits(max_connections=64, max_keepalive_connections=16, keepalive_expiry=30.0)
"""To one server."""


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


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds: to connect, without a byte, and for everything up to the end of the answer's head."""

    connect: float = 5.0
    read: float = 15.0
    head: float = 30.0


@dataclass(frozen=True, slots=True)
class Answer:
    """The head of an answer, and its body as it arrives; `url` is where it came from, after redirects."""

    status: int
    headers: httpx2.Headers
    url: str
    response: httpx2.Response

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as sent: compressed when `Content-Encoding` says so."""
        return self.response.aiter_raw()

    async def read(self, most: int) -> bytes:
        """Return the whole body, decoded.

        Raises:
            Unreachable: it has more than `most` bytes, or breaks off.
        """
        body = bytearray()
        try:
            async for chunk in self.response.aiter_bytes(65536):
                body += chunk
                if len(body) > most:
                    raise Unreachable(f"the answer has more than {most} bytes")
        except httpx2.HTTPError as error:
            raise Unreachable(f"the answer broke off: {_words(error)}") from error
        return bytes(body)


class Outgoing:
    """Sends requests; connections to a server are kept for the next one. Use it as an async context manager."""

    def __init__(self, outside: Outside = PUBLIC) -> None:
        """Args: outside: its networks may be asked though they are not public."""
        self._outside = outside
        self._transports: OrderedDict[Server, httpx2.AsyncHTTPTransport] = OrderedDict()
        self._busy: dict[Server, int] = {}
        self._resolver = Resolver()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for transport in self._transports.values():
            await transport.aclose()

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        # Reading the system's certificates takes tens of milliseconds: once, and only where it is needed.
        return ssl.create_default_context()

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
                    async with self._asked(place, url, own, waits) as response:
                        if response.status_code not in _REDIRECTS or "location" not in response.headers:
                            limit.reschedule(None)
                            yield Answer(response.status_code, response.headers, url, response)
                            return
                        url = _redirected(url, response.headers["location"])
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise Unreachable(f"{first.authority} did not answer within {waits.head:g} s") from error
        raise Unreachable(f"{first.authority} redirects more than {MOST_REDIRECTS} times")

    @asynccontextmanager
    async def _asked(
        self, place: Server, url: str, headers: Mapping[str, str], waits: Patience
    ) -> AsyncIterator[httpx2.Response]:
        # Before anything is waited for: connections that somebody is about to use are not closed.
        self._busy[place] = self._busy.get(place, 0) + 1
        try:
            transport = await self._transport(place)
            response = await self._sent(transport, place, url, headers, waits)
            try:
                yield response
            finally:
                await response.aclose()
        finally:
            self._busy[place] -= 1
            if not self._busy[place]:
                del self._busy[place]

    async def _sent(
        self,
        transport: httpx2.AsyncHTTPTransport,
        place: Server,
        url: str,
        headers: Mapping[str, str],
        waits: Patience,
    ) -> httpx2.Response:
        """Send a request to the first address of a place that takes the connection."""
        addresses = await self._addresses(place)
        timeout = httpx2.Timeout(waits.read, connect=waits.connect)
        parts = urlsplit(url)
        failure: Exception | None = None
        for address in addresses:
            target = httpx2.URL(scheme=place.scheme, host=address, port=place.port)
            request = httpx2.Request(
                "GET",
                target.copy_with(raw_path=f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}".encode()),
                headers={"host": place.authority, "user-agent": USER_AGENT, **headers},
                extensions={"timeout": timeout.as_dict(), "sni_hostname": place.host},
            )
            try:
                return await transport.handle_async_request(request)
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
                failure = error
            except httpx2.PoolTimeout as error:
                words = f"too much is being asked of {place.authority} at the same time"
                raise Unreachable(words, crowded=True) from error
            except (httpx2.HTTPError, OSError) as error:
                raise Unreachable(f"{place.authority} does not answer: {_words(error)}") from error
        self._resolver.forget(place.host, place.port)
        raise Unreachable(f"{place.authority} cannot be reached: {_words(failure)}") from failure

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

    async def _transport(self, place: Server) -> httpx2.AsyncHTTPTransport:
        """Return the connections to a place; those of places that nobody asked for longest are closed."""
        transport = self._transports.get(place)
        if transport is None:
            tls = self._tls if place.scheme == "https" else False
            transport = httpx2.AsyncHTTPTransport(verify=tls, trust_env=False, limits=_CONNECTIONS)
            self._transports[place] = transport
            # Taken away all at once: while one is being closed, others come by and would take away the same.
            unused = [one for one in self._transports if not self._busy.get(one)][:-_PLACES]
            for old in [self._transports.pop(one) for one in unused]:
                await old.aclose()
        self._transports.move_to_end(place)
        return transport


def _server(url: str) -> Server:
    """Return the server of a URL.

    Raises:
        Unreachable: the URL is none that is asked.
    """
    server = server_of(url)
    if server is None or "@" in urlsplit(url).netloc or not url.isascii() or not url.isprintable():
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
