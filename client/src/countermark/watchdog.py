"""A deadline for a whole HTTP exchange, whatever it is doing when the time is up.

HTTP libraries bound the gap between two bytes, not the sum of the gaps: a server that sends one byte now and then, of
the headers or of the body, holds its client for ever. The watchdog shuts the sockets down instead; the blocked read
then fails at once and `expired` tells why.

Source: trust contract section 1.3, hole (a); section 6 row 7 (slow retrieval).
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any


class Watchdog:
    """Ends the exchanges of one HTTP client that runs one request at a time.

    Give `trace` to each request as its `trace` extension, and run the request inside `armed`.
    """

    def __init__(self) -> None:
        self.expired = False
        self._sockets: list[socket.socket] = []

    def trace(self, event: str, info: dict[str, Any]) -> None:
        """Remember each new connection (called by the HTTP library at its steps)."""
        if not event.endswith("connect_tcp.complete"):
            return
        # A duplicate stays valid when TLS takes the socket over, and shutting it down ends the same connection.
        duplicate = info["return_value"].get_extra_info("socket").dup()
        self._sockets.append(duplicate)
        if self.expired:
            self._shut_down()

    @contextlib.contextmanager
    def armed(self, seconds: float) -> Iterator[None]:
        """Shut all connections down when the block takes longer than `seconds`."""
        timer = threading.Timer(max(seconds, 0.001), self._expire)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def close(self) -> None:
        """Let go of the connections."""
        for duplicate in self._sockets:
            duplicate.close()
        self._sockets.clear()

    def _expire(self) -> None:
        self.expired = True
        self._shut_down()

    def _shut_down(self) -> None:
        for duplicate in tuple(self._sockets):
            with contextlib.suppress(OSError):
                duplicate.shutdown(socket.SHUT_RDWR)
