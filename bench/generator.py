"""Our own load generator, for machines without wrk: `python -m bench.generator URL STATUS SECONDS CONNECTIONS
HEADER...`.

It prints one line of JSON as `wrk.lua` does. It costs more CPU than wrk, so it may be slower than the server.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit

import uvloop

_LAST_CHUNK = b"0\r\n\r\n"

_HEAD_LIMIT = 64 << 10
"""Bytes of status line and headers that are read."""


@dataclass(slots=True)
class _Count:
    """What all connections have seen so far."""

    requests: int = 0
    received: int = 0
    faults: int = 0
    seconds: list[float] = field(default_factory=list)


class _Connection(asyncio.Protocol):
    """Sends a request, reads its answer to the end, and so on until the time is up or the server closes."""

    def __init__(self, request: bytes, status: bytes, count: _Count, until: float) -> None:
        self._request = request
        self._status = status
        self._count = count
        self._until = until
        self._head = b""
        self._missing: int | None = None
        self._tail = b""
        self._reading = False
        self._sent = 0.0
        self._transport: asyncio.WriteTransport
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        self._transport = cast("asyncio.WriteTransport", transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        """Read on; send the next request once an answer is complete."""
        self._count.received += len(data)
        if self._reading:
            body = data
        else:
            self._head += data
            head, found, body = self._head.partition(b"\r\n\r\n")
            if not found:
                if len(head) > _HEAD_LIMIT:
                    self._fail()
                return
            if not self._begin(head):
                self._fail()
                return
        if self._complete(body):
            self._count.requests += 1
            self._reading, self._head, self._tail = False, b"", b""
            now = time.perf_counter()
            self._count.seconds.append(now - self._sent)
            if now < self._until:
                self._send()
            else:
                self._transport.close()

    def _send(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(self._request)

    def connection_lost(self, exc: Exception | None) -> None:
        """Count a connection that ended within an answer as a fault."""
        self._count.faults += self._reading or self._head != b""
        self.ended.set_result(None)

    def _begin(self, head: bytes) -> bool:
        """Read the head of an answer; returns whether it has the expected status and says how its body ends."""
        status, _, lines = head.partition(b"\r\n")
        headers = {
            name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines.split(b"\r\n"))
        }
        length = headers.get(b"content-length")
        bodiless = self._status == b"304"
        self._missing = 0 if bodiless else None if length is None else int(length)
        self._reading = True
        chunked = headers.get(b"transfer-encoding", b"").lower() == b"chunked"
        return status.split(b" ", 2)[1:2] == [self._status] and (bodiless or chunked or length is not None)

    def _complete(self, body: bytes) -> bool:
        """Take a part of the body; returns whether the answer is complete."""
        if self._missing is not None:
            self._missing -= len(body)
            return self._missing == 0
        self._tail = (self._tail + body)[-len(_LAST_CHUNK) :]
        return self._tail == _LAST_CHUNK

    def _fail(self) -> None:
        self._reading = True
        self._transport.close()


async def _ask(url: str, status: int, headers: Sequence[str], count: _Count, until: float) -> None:
    """Keep one connection busy; another follows where the server closes it."""
    parts = urlsplit(url)
    host, port = str(parts.hostname), parts.port or 80
    head = (f"GET {parts.path} HTTP/1.1", f"Host: {parts.netloc}", *headers)
    request = ("\r\n".join(head) + "\r\n\r\n").encode()
    expected = str(status).encode()
    loop = asyncio.get_running_loop()
    while time.perf_counter() < until and not count.faults:
        _, connection = await loop.create_connection(lambda: _Connection(request, expected, count, until), host, port)
        await connection.ended


async def _load(url: str, status: int, headers: Sequence[str], seconds: float, connections: int) -> dict[str, float]:
    count, begun = _Count(), time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(_ask(url, status, headers, count, begun + seconds))
    taken = time.perf_counter() - begun
    p99 = sorted(count.seconds)[int(len(count.seconds) * 0.99)] * 1e3 if count.seconds else 0.0
    return {
        "requests": count.requests,
        "seconds": taken,
        "received": count.received,
        "faults": count.faults,
        "p99": p99,
    }


def main() -> None:
    """Load the server and print what came of it."""
    url, status, seconds, connections, *headers = sys.argv[1:]
    print(json.dumps(uvloop.run(_load(url, int(status), headers, float(seconds), int(connections)))))


if __name__ == "__main__":
    main()
