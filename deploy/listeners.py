"""HTTP servers that stop when they are told to, with a bound on what a request's head may hold.

Source: infrastructure facts, "HTTP" (uvicorn with httptools; what a request costs).
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD = 64 << 10
"""Bytes that may follow the first read while a request's line and headers are still incomplete."""

GRACE = 3
"""Seconds that requests under way get to end when the server is told to stop."""

_BACKLOG = 1024
"""Connections that may wait to be accepted."""


class BoundedHttp(HttpToolsProtocol):
    """uvicorn's protocol with a bound on the size of a request's head, which it does not have itself."""

    _in_head = False
    _head_bytes = 0

    def data_received(self, data: bytes) -> None:
        """Parse what arrived; a head that does not end is answered 400 and the connection closed."""
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD:
                self.send_400_response("The request line and headers are too large.")
                return
        super().data_received(data)

    def on_message_begin(self) -> None:
        """Begin to count."""
        self._in_head, self._head_bytes = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Stop counting."""
        self._in_head = False
        super().on_headers_complete()


class HttpServer(uvicorn.Server):
    """A uvicorn server that leaves signals to the process: one process has several of them."""

    def __init__(self, app: ASGIApp, listening: socket.socket) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=BoundedHttp,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                backlog=_BACKLOG,
                timeout_keep_alive=30,
                timeout_graceful_shutdown=GRACE,
            )
        )
        self._listening = listening

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield

    async def run_until_stopped(self) -> None:
        """Serve until `stop`."""
        await self.serve(sockets=[self._listening])

    def stop(self) -> None:
        """Take no more requests, and end when those under way have ended or `GRACE` is over."""
        self.should_exit = True
