"""HTTP servers that stop when they are told to; what they speak is in `deploy.protocol`.

Source: infrastructure facts, "HTTP" (uvicorn with httptools; what a request costs).
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from deploy.ports import BACKLOG
from deploy.protocol import RegistryHttp

GRACE = 3
"""Seconds that requests under way get to end when the server is told to stop, unless it is given others."""


class HttpServer(uvicorn.Server):
    """A uvicorn server that leaves signals to the process: one process has several of them."""

    def __init__(self, app: ASGIApp, listening: socket.socket, *, grace: int = GRACE) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=RegistryHttp,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                backlog=BACKLOG,
                timeout_keep_alive=30,
                timeout_graceful_shutdown=grace,
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
        """Take no more requests, and end when those under way have ended or the grace is over."""
        self.should_exit = True
