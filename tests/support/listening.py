"""Our own HTTP server in front of an application while a test runs, and bytes sent to it as they are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.types import ASGIApp

from deploy.listeners import HttpServer
from deploy.ports import port_of, take_port


@asynccontextmanager
async def listening(app: ASGIApp) -> AsyncIterator[int]:
    """Serve an application as every listener does; yields its port on 127.0.0.1."""
    taken = take_port("127.0.0.1", 0, "X")
    server = HttpServer(app, taken)
    task = asyncio.create_task(server.run_until_stopped())
    try:
        yield port_of(taken)
    finally:
        server.stop()
        await task


async def sent(port: int, *parts: bytes) -> bytes:
    """Send bytes in several writes, and return all that comes back until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for part in parts:
        writer.write(part)
        await writer.drain()
        await asyncio.sleep(0.01)
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    return answer
