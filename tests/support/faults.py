"""A TCP proxy that breaks what it carries, and answers in the place of the server, as a test asks."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

_READ = 64 * 1024
"""Bytes carried at a time."""

_LENGTH = re.compile(rb"^content-length: *(\d+)\r?$", re.IGNORECASE | re.MULTILINE)


@dataclass
class Fault:
    """What happens to requests, plain HTTP with Content-Length, that `matches` says yes to, `times` times.

    Attributes:
        matches: takes the request's first line, such as `PUT /bucket/key?partNumber=2 HTTP/1.1`.
        times: how often; None for always.
        status, code: answer with this status and S3 error code, instead of asking the server.
        after_sent: cut both sides after this many bytes of the request's body.
        after_answered: cut both sides after this many bytes of the answer, its head included; 0 loses the answer of a
            request that was carried out.
        hold: carry nothing of it any further, and answer nothing.
    """

    matches: Callable[[str], bool]
    times: int | None = 1
    status: int | None = None
    code: str = ""
    after_sent: int | None = None
    after_answered: int | None = None
    hold: bool = False
    met: int = 0

    def takes(self, line: str) -> bool:
        """Return whether this request is one of those, and count it."""
        if not self.matches(line) or (self.times is not None and self.met >= self.times):
            return False
        self.met += 1
        return True


@dataclass
class Proxy:
    """A running proxy: `requests` are the first lines that came by, `faults` what is to go wrong, the first match each.

    `open_now` is how many connections are open.
    """

    upstream: int
    port: int = 0
    requests: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    open_now: int = 0

    def fault(self, words: str, **what: object) -> Fault:
        """Let something go wrong with requests whose first line holds all of `words`; see `Fault`."""
        parts = words.split()
        made = Fault(lambda line: all(part in line for part in parts), **what)  # type: ignore[arg-type]
        self.faults.append(made)
        return made

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry the requests of one connection, one after the other."""
        self.open_now += 1
        try:
            onward_reader, onward = await asyncio.open_connection("127.0.0.1", self.upstream)
            try:
                while await self._carry(reader, writer, onward_reader, onward):
                    pass
            finally:
                onward.close()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open_now -= 1
            writer.close()

    async def _carry(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        onward_reader: asyncio.StreamReader,
        onward: asyncio.StreamWriter,
    ) -> bool:
        """Carry one request and its answer; returns whether the connection goes on."""
        head = await reader.readuntil(b"\r\n\r\n")
        line = head.split(b"\r\n", 1)[0].decode("latin-1")
        self.requests.append(line)
        fault = next((one for one in self.faults if one.takes(line)), None)
        found = _LENGTH.search(head)
        length = int(found[1]) if found else 0
        if fault is not None and fault.hold:
            await asyncio.sleep(3600)
        if b"100-continue" in head.lower():
            # Said at once, or nobody would begin with the body.
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if fault is not None and fault.status is not None:
            return await _answer(reader, writer, head, length, (fault.status, fault.code))
        onward.write(head)
        cut = None if fault is None else fault.after_sent
        await _copy(reader, onward, length if cut is None else min(cut, length))
        if cut is not None:
            return False
        return await _give_back(onward_reader, writer, line, None if fault is None else fault.after_answered)


async def _answer(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes, length: int, what: tuple[int, str]
) -> bool:
    """Take a request in and answer with a status and a code; returns that the connection ends."""
    await _copy(reader, None, length)
    status, code = what
    body = b"" if head.startswith(b"HEAD") else f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()
    lines = (f"HTTP/1.1 {status} Fault", "Content-Type: application/xml", f"Content-Length: {len(body)}")
    writer.write("\r\n".join([*lines, "Connection: close", "\r\n"]).encode() + body)
    await writer.drain()
    return False


async def _give_back(
    onward_reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: str, cut: int | None
) -> bool:
    while True:
        head = await onward_reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 100"):
            break
    found = _LENGTH.search(head)
    bodiless = line.startswith("HEAD") or head.split(b" ", 2)[1] in (b"204", b"304") or found is None
    length = 0 if bodiless or found is None else int(found[1])
    if cut is not None:
        if cut:
            writer.write(head[:cut])
            await _copy(onward_reader, writer, min(length, max(0, cut - len(head))))
        return False
    writer.write(head)
    await _copy(onward_reader, writer, length)
    return b"connection: close" not in head.lower()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter | None, length: int) -> None:
    while length:
        data = await reader.read(min(_READ, length))
        if not data:
            raise ConnectionResetError
        length -= len(data)
        if writer is not None:
            writer.write(data)
            await writer.drain()


@asynccontextmanager
async def faulty(upstream: int) -> AsyncIterator[Proxy]:
    """Run a proxy in front of a port of this machine that speaks plain HTTP."""
    proxy = Proxy(upstream)
    async with _serving(proxy.serve, "127.0.0.1") as proxy.port:
        yield proxy


@asynccontextmanager
async def relayed(upstream: int, host: str) -> AsyncIterator[int]:
    """Give a port of another address of this machine (127.0.0.2, say) that leads to a port of 127.0.0.1."""

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward_reader, onward = await asyncio.open_connection("127.0.0.1", upstream)
        with suppress(OSError):
            await asyncio.gather(_pour(reader, onward), _pour(onward_reader, writer))

    async with _serving(relay, host) as port:
        yield port


async def _pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_READ):
        writer.write(data)
        await writer.drain()
    writer.close()


@asynccontextmanager
async def _serving(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[None, None, None]], host: str
) -> AsyncIterator[int]:
    """Serve connections, each in a task that ends with the context; gives the port."""
    serving: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(serve(reader, writer))
        serving.add(task)
        task.add_done_callback(serving.discard)

    server = await asyncio.start_server(accept, host, 0, limit=1 << 20)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for task in list(serving):
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*serving, return_exceptions=True)
