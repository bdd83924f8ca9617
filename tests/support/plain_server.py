"""A server outside that answers with the bytes it is told to, and what asks it."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from shared.outgoing import Outgoing, Patience, Unreachable

HELLO = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Heard:
    """What a server noticed.

    Attributes:
        requests: the heads of requests, for each connection.
        open: connections that are not closed, at the moment and at most.
    """

    def __init__(self) -> None:
        self.requests: list[list[bytes]] = []
        self.open = self.most = 0


@asynccontextmanager
async def plain_server(
    answer: bytes | Callable[[int, int], bytes] = HELLO,
    *,
    serve: Serve | None = None,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[tuple[int, Heard]]:
    """Serve on a free port.

    Args:
        answer: to every request; or of the numbers of the connection and of the request on it, nothing closes it.
        serve: in its place, what follows the head of a connection's first request.
    """
    heard = Heard()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number, requests = len(heard.requests), list[bytes]()
        heard.requests.append(requests)
        heard.open += 1
        heard.most = max(heard.open, heard.most)
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                requests.append(await reader.readuntil(b"\r\n\r\n"))
                if serve is not None:
                    await serve(reader, writer)
                    break
                said = answer if isinstance(answer, bytes) else answer(number, len(requests))
                if not said:
                    break
                writer.write(said)
                await writer.drain()
        heard.open -= 1
        writer.transport.abort()

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1], heard
    finally:
        server.close()


def let_names_mean(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Let all names mean these addresses."""

    async def resolve(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)


async def read_all(outgoing: Outgoing, url: str, most: int = 1 << 20, *, read: float = 5.0) -> bytes:
    """Ask for a URL and return the body."""
    async with outgoing.get(url, {}, patience=Patience(connect=0.5, read=read)) as answer:
        return await answer.read(most)


async def failure_of(outgoing: Outgoing, url: str, *, read: float = 5.0) -> str:
    """Ask for a URL that gives no whole answer, and return the words for that."""
    with pytest.raises(Unreachable) as caught:
        await read_all(outgoing, url, read=read)
    return str(caught.value)
