"""Connections to one server outside, at addresses that its caller has judged: HTTP/1.1 through aiohttp (ADR 0047).

Loaded when something outside is asked for the first time: not every process does, and it takes a tenth of a second.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from functools import lru_cache

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from shared.outgoing import USER_AGENT, NotConnected, Patience, Unreachable
from shared.outside import Server

AT_ONCE = 64
"""Requests to one server, each with a connection of its own."""

_KEPT = 30.0
"""Seconds for which an idle connection is used again."""

_BUFFERED = 64 << 10
"""Bytes of a body from which on the server is made to wait; twice as many are held, and what one read brings."""

_LINE = 16 << 10
"""Bytes of a header field, or of the line before them."""

_FIELDS = 128

_DEFAULTS = {"user-agent": USER_AGENT, "accept": "*/*", "accept-encoding": "identity"}
"""What is said in place of what the library would say by itself."""


class _Nobody(AbstractResolver):
    """Resolves nothing: every URL that is asked for here has a judged address in place of the name."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        raise OSError("only judged addresses are connected to")

    async def close(self) -> None:
        """Nothing is open."""


class Reply:
    """An answer's head, and its body as sent, by iteration; it takes up one of the connections until it is closed.

    Attributes:
        headers: names in lower case; fields of one name are one, joined by commas (RFC 9110 section 5.3).
    """

    __slots__ = ("_done", "_response", "_silence", "headers", "status")

    def __init__(self, response: aiohttp.ClientResponse, done: Callable[[], None], silence: float) -> None:
        """Args: done: called when it is closed. silence: seconds that the next bytes of the body may take."""
        self.status = response.status
        self.headers: Mapping[str, str] = _headers(response.raw_headers)
        self._response = response
        self._done = done
        self._silence = silence

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives; once.

        Raises:
            Unreachable: it breaks off, or nothing of it comes for too long.
        """
        return self

    async def __anext__(self) -> bytes:
        content = self._response.content
        if content.at_eof():
            raise StopAsyncIteration
        try:
            chunk = content.read_nowait()
            if not chunk:
                # What is no body counts as silence too: the length of a chunk may be a line without an end.
                async with asyncio.timeout(self._silence):
                    chunk = await content.readany()
        except (aiohttp.ClientError, OSError) as error:
            raise Unreachable(f"the answer broke off: {_words(error)}") from error
        if not chunk:
            raise StopAsyncIteration
        return chunk

    def close(self) -> None:
        """Let the next one ask; a connection whose answer was not read to its end is closed. Call it once."""
        if not self._response.closed:
            self._response.close()
        self._done()


class Connections:
    """Connections to one server, kept for the next request.

    Attributes:
        asked: requests for which an answer is waited for, or is being read.
    """

    def __init__(self, server: Server, tls: ssl.SSLContext | None) -> None:
        """Args: tls: None for http."""
        self._server = server
        self._authority = server.authority
        self._headers = {"Host": self._authority, **_DEFAULTS}
        self.asked = 0
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                resolver=_Nobody(),
                use_dns_cache=False,
                happy_eyeballs_delay=None,
                limit=0,  # The semaphore's: the library does not tell waiting for a turn from connecting.
                keepalive_timeout=_KEPT,
                ssl=tls or True,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            read_bufsize=_BUFFERED,
            max_line_size=_LINE,
            max_field_size=_LINE,
            max_headers=_FIELDS,
        )

    async def ask(
        self, addresses: Sequence[str], target: str, headers: Mapping[str, str], patience: Patience, until: float
    ) -> Reply:
        """Send a GET to the first of the addresses that takes the connection.

        A connection that was kept may be closed by the server while the request is on its way: it is sent once more.

        Args:
            target: path and query, sent as they are.
            until: when there must be an answer, in seconds of the event loop.

        Raises:
            NotConnected: none does.
            Unreachable: there is no answer; `crowded` when no connection was free for too long.
            TimeoutError: there is none at that time.
        """
        self.asked += 1
        try:
            await self._turn(patience, until)
        except BaseException:
            self.asked -= 1
            raise
        try:
            response = await self._response(addresses, target, headers, patience, until)
            return Reply(response, self._done, patience.read)
        except BaseException:
            self._done()
            raise

    def _done(self) -> None:
        self.asked -= 1
        self._turns.release()

    async def _turn(self, patience: Patience, until: float) -> None:
        if not self._turns.locked():
            await self._turns.acquire()
            return
        end = min(until, asyncio.get_running_loop().time() + patience.read)
        try:
            async with asyncio.timeout_at(end):
                await self._turns.acquire()
        except TimeoutError as error:
            if end == until:
                raise
            words = f"too much is being asked of {self._authority} at the same time"
            raise Unreachable(words, crowded=True) from error

    async def aclose(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def _response(
        self, addresses: Sequence[str], target: str, headers: Mapping[str, str], patience: Patience, until: float
    ) -> aiohttp.ClientResponse:
        scheme, host, port = self._server
        own, loop = {**self._headers, **headers}, asyncio.get_running_loop()
        failure: Exception | None = None
        for address in addresses:
            literal = f"[{address}]" if ":" in address else address
            end = min(until, loop.time() + patience.connect + patience.read)
            try:
                async with asyncio.timeout_at(end) as limit:
                    return await self._session.get(
                        URL(f"{scheme}://{literal}:{port}{target}", encoded=True),
                        headers=own,
                        server_hostname=host if scheme == "https" else None,
                        allow_redirects=False,
                        timeout=_limits(patience.connect),
                    )
            except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
                failure = error
            except (aiohttp.ClientError, OSError) as error:
                if limit.expired() and end == until:
                    raise
                raise Unreachable(f"{self._authority} does not answer: {_words(error)}") from error
        raise NotConnected(f"{self._authority} cannot be reached: {_words(failure)}") from failure


@lru_cache(maxsize=16)
def _limits(connect: float) -> aiohttp.ClientTimeout:
    # No `sock_read`: the library goes on counting on connections that nobody uses, and fails their next answer.
    return aiohttp.ClientTimeout(sock_connect=connect, sock_read=None)


def _headers(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in raw:
        key, said = name.decode("latin-1").lower(), value.decode("latin-1")
        found[key] = f"{found[key]}, {said}" if key in found else said
    return found


_WORDS: tuple[tuple[type[Exception], str], ...] = (
    (aiohttp.ConnectionTimeoutError, "it does not take connections"),
    (TimeoutError, "nothing arrived in time"),
    (aiohttp.ServerDisconnectedError, "it closed the connection"),
    (aiohttp.ClientPayloadError, "it ended too early, or is no HTTP"),
    (aiohttp.ClientResponseError, "what it sends is no HTTP"),
)


def _words(error: Exception | None) -> str:
    """Return what is wrong. The library's own words name addresses, which are not for whoever reads a mirror."""
    if isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.os_error.verify_message}"
    if isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, ssl.SSLError):
        return f"TLS fails: {error.os_error.reason}"
    known = next((words for kind, words in _WORDS if isinstance(error, kind)), None)
    if known is None and isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return known or type(error).__name__
