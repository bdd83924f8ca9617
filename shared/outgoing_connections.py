"""Connections to one server outside, at addresses that its caller has judged: HTTP/1.1 through aiohttp (ADR 0047).

Loaded when something outside is asked for the first time: not every process does, and it takes a tenth of a second.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from shared.outgoing import NotConnected, Patience, Unreachable
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

_UNASKED = ("accept", "accept-encoding", "user-agent")
"""Headers that the library would send by itself."""


class _Nobody(AbstractResolver):
    """Resolves nothing: every URL that is asked for here has a judged address in place of the name."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        raise OSError("only judged addresses are connected to")

    async def close(self) -> None:
        """Nothing is open."""


class Reply:
    """An answer's head, and its body as sent; it takes up one of the connections until it is closed.

    Attributes:
        headers: names in lower case; fields of one name are one, joined by commas (RFC 9110 section 5.3).
    """

    def __init__(self, response: aiohttp.ClientResponse, turns: asyncio.Semaphore, silence: float) -> None:
        self.status = response.status
        self.headers: Mapping[str, str] = _headers(response.raw_headers)
        self._response = response
        self._turns = turns
        self._silence = silence

    async def body(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives.

        Raises:
            Unreachable: it breaks off, or nothing of it comes for too long.
        """
        content = self._response.content
        try:
            while not content.at_eof():
                # What is no body counts as silence too: the length of a chunk may be a line without an end.
                async with asyncio.timeout(self._silence):
                    chunk = await content.readany()
                if not chunk:
                    return
                yield chunk
        except (aiohttp.ClientError, OSError) as error:
            raise Unreachable(f"the answer broke off: {_words(error)}") from error

    def close(self) -> None:
        """Let the next one ask; a connection whose answer was not read to its end is closed. Call it once."""
        self._response.close()
        self._turns.release()


class Connections:
    """Connections to one server, kept for the next request."""

    def __init__(self, server: Server, tls: ssl.SSLContext | None) -> None:
        """Args: tls: None for http."""
        self._server = server
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
            skip_auto_headers=_UNASKED,
            auto_decompress=False,
            trust_env=False,
            read_bufsize=_BUFFERED,
            max_line_size=_LINE,
            max_field_size=_LINE,
            max_headers=_FIELDS,
        )

    async def ask(self, addresses: Sequence[str], target: str, headers: Mapping[str, str], patience: Patience) -> Reply:
        """Send a GET to the first of the addresses that takes the connection.

        A connection that was kept may be closed by the server while the request is on its way: it is sent once more.

        Args:
            target: path and query, sent as they are.

        Raises:
            NotConnected: none does.
            Unreachable: there is no answer; `crowded` when no connection was free for too long.
        """
        await self._turn(patience)
        try:
            response = await self._response(addresses, target, headers, patience)
        except BaseException:
            self._turns.release()
            raise
        return Reply(response, self._turns, patience.read)

    async def _turn(self, patience: Patience) -> None:
        if not self._turns.locked():
            await self._turns.acquire()
            return
        try:
            async with asyncio.timeout(patience.read):
                await self._turns.acquire()
        except TimeoutError as error:
            words = f"too much is being asked of {self._server.authority} at the same time"
            raise Unreachable(words, crowded=True) from error

    async def aclose(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def _response(
        self, addresses: Sequence[str], target: str, headers: Mapping[str, str], patience: Patience
    ) -> aiohttp.ClientResponse:
        scheme, host, port = self._server
        # No `sock_read`: the library goes on counting on connections that nobody uses, and fails their next answer.
        timeout = aiohttp.ClientTimeout(sock_connect=patience.connect, sock_read=None)
        failure: Exception | None = None
        for address in addresses:
            literal = f"[{address}]" if ":" in address else address
            try:
                async with asyncio.timeout(patience.connect + patience.read):
                    return await self._session.get(
                        URL(f"{scheme}://{literal}:{port}{target}", encoded=True),
                        headers={"Host": self._server.authority, **headers},
                        server_hostname=host if scheme == "https" else None,
                        allow_redirects=False,
                        timeout=timeout,
                    )
            except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
                failure = error
            except (aiohttp.ClientError, OSError) as error:
                raise Unreachable(f"{self._server.authority} does not answer: {_words(error)}") from error
        raise NotConnected(f"{self._server.authority} cannot be reached: {_words(failure)}") from failure


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
