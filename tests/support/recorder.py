"""What tools ask on the wire: a proxy on loopback in front of a server, which keeps a record and may change answers."""

from __future__ import annotations

import http.client
import http.server
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "host", "date", "server"})
"""Headers that belong to one connection, or that each server writes itself."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and its answer; names of headers in lower case."""

    method: str
    path: str
    asked: dict[str, str]
    status: int
    answered: dict[str, str]
    length: int


@dataclass(slots=True)
class Recorder:
    """The record, and what is changed on the way.

    Attributes:
        url: the proxy's URL without a trailing slash.
        change: if set, called with an exchange and the body of its answer; returns the body to pass on.
        cut: if set, called with an exchange; returns the number of bytes after which the connection breaks, or None.
    """

    url: str
    exchanges: list[Exchange] = field(default_factory=list)
    change: Callable[[Exchange, bytes], bytes] | None = None
    cut: Callable[[Exchange], int | None] | None = None

    def of(self, suffix: str, method: str = "GET") -> list[Exchange]:
        """Return the exchanges of this method whose path ends so."""
        return [seen for seen in self.exchanges if seen.path.endswith(suffix) and seen.method == method]

    def forget(self) -> None:
        """Begin a new record."""
        self.exchanges.clear()


@contextmanager
def recording(upstream: str, tls: ssl.SSLContext | None = None) -> Iterator[Recorder]:
    """Run a proxy in front of `upstream`, over TLS with the certificate of `tls`."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.upstream = urlsplit(upstream).netloc
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    server.recorder = Recorder(f"{'http' if tls is None else 'https'}://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.recorder
    finally:
        server.shutdown()
        server.server_close()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    upstream: str
    recorder: Recorder


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        """Pass a GET on."""
        self._pass_on()

    def do_HEAD(self) -> None:
        """Pass a HEAD on."""
        self._pass_on()

    def do_POST(self) -> None:
        """Pass an upload on."""
        self._pass_on()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Write nothing."""

    def _pass_on(self) -> None:
        recorder = self.server.recorder
        asked = {name.lower(): value for name, value in self.headers.items()}
        sent = {name: value for name, value in asked.items() if name not in _HOP}
        if recorder.change is not None:
            # What is changed on the way has to be readable.
            sent["accept-encoding"] = "identity"
        upstream = http.client.HTTPConnection(self.server.upstream, timeout=60)
        try:
            body = self.rfile.read(int(asked.get("content-length", "0")))
            upstream.request(self.command, self.path, body or None, sent)
            answer = upstream.getresponse()
            content = answer.read()
        finally:
            upstream.close()
        answered = {name.lower(): value for name, value in answer.getheaders()}
        exchange = Exchange(self.command, self.path, asked, answer.status, answered, len(content))
        recorder.exchanges.append(exchange)
        self._answer(exchange, content if recorder.change is None else recorder.change(exchange, content))

    def _answer(self, exchange: Exchange, content: bytes) -> None:
        self.send_response(exchange.status)
        for name, value in exchange.answered.items():
            if name not in _HOP:
                self.send_header(name, value)
        if exchange.status != 304:
            whole = exchange.answered.get("content-length", "0") if exchange.method == "HEAD" else str(len(content))
            self.send_header("content-length", whole)
        cut = self.server.recorder.cut
        limit = None if cut is None else cut(exchange)
        self.end_headers()
        self.wfile.write(content if limit is None else content[:limit])
        if limit is not None:
            self.close_connection = True
