"""A proxy in front of a registry that flips one byte of the answers a test names."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx2

_DIGIT = re.compile(rb"[0-9a-f]{64}")


@dataclass
class Flipping:
    """A running proxy.

    Attributes:
        url: its own, without a slash at the end.
        where: a pattern of paths; in their answers the last digit of the first sha256 becomes another one. None: all
            stays as it is.
        flipped: the paths whose answers were changed.
    """

    url: str
    where: str | None = None
    flipped: list[str] = field(default_factory=list)

    def changed(self, path: str, body: bytes) -> bytes:
        """Return what goes out for a path."""
        found = _DIGIT.search(body)
        if self.where is None or found is None or not re.search(self.where, path):
            return body
        self.flipped.append(path)
        last = found.end() - 1
        return body[:last] + (b"1" if body[last:][:1] == b"0" else b"0") + body[last + 1 :]


@contextmanager
def flipping(upstream: str) -> Iterator[Flipping]:
    """Run a proxy in front of `upstream`, a URL without a slash at its end."""
    with httpx2.Client(timeout=20, headers={"Accept-Encoding": "identity"}) as client:

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                answer = client.get(f"{upstream}{self.path}")
                body = proxy.changed(self.path, answer.content)
                self.send_response(answer.status_code)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
                """Write nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        proxy = Flipping(f"http://127.0.0.1:{server.server_port}")
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            yield proxy
        finally:
            server.shutdown()
            server.server_close()
