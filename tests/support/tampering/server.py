"""A server that passes on what a registry answers, until a test has it tamper with some paths."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx2

_PASSED_ON = ("accept", "accept-encoding", "authorization", "range", "user-agent")
_KEPT = ("cache-control", "content-encoding", "content-type", "etag", "retry-after")


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer in full; `body` is as it travels, `headers` by lower-case name."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


Honest = Callable[[str, Mapping[str, str]], Reply]
"""What the real registry answers: path with query, and headers by lower-case name."""

Answer = Callable[[BaseHTTPRequestHandler, Callable[[], Reply]], None]
"""Writes an answer; may ask for the honest one, which is not compressed then."""


class TamperingServer:
    """Answers as `honest` does, but for the paths that were tampered with.

    Attributes:
        url: where it listens, without a trailing slash.
        seen: the paths that were asked for, in order.
        honest: what is behind it; tests may put another one in its place.
    """

    def __init__(self, url: str, honest: Honest) -> None:
        self.url = url
        self.honest = honest
        self.seen: list[str] = []
        self._answers: list[tuple[str, Answer]] = []
        self._laid: list[tuple[str, Mapping[str, bytes]]] = []

    def on(self, pattern: str, answer: Answer) -> None:
        """Answer the paths that a pattern matches (`*`, also across `/`); the rule that was made last goes first."""
        self._answers.insert(0, (pattern, answer))

    def lay(self, prefix: str, files: Mapping[str, bytes]) -> None:
        """Serve files over the honest ones: what is below `prefix`, by the rest of its path. May be changed later."""
        self._laid.insert(0, (prefix, files))

    def relent(self) -> None:
        """Stop answering by rules; what was laid stays."""
        self._answers.clear()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        path = handler.path
        self.seen.append(path)

        headers = {name: handler.headers[name] for name in _PASSED_ON if name in handler.headers}
        for pattern, answer in tuple(self._answers):
            if fnmatchcase(unquote(path), pattern):
                answer(handler, lambda: self._honestly(path, headers | {"accept-encoding": "identity"}))
                return
        send(handler, self._honestly(path, headers))

    def _honestly(self, path: str, headers: Mapping[str, str]) -> Reply:
        for prefix, files in self._laid:
            data = files.get(unquote(path).removeprefix(prefix)) if path.startswith(prefix) else None
            if data is not None:
                return Reply(200, data)
        return self.honest(path, headers)


def send(handler: BaseHTTPRequestHandler, reply: Reply) -> None:
    """Write an answer in full."""
    handler.send_response(reply.status)
    for name, value in reply.headers.items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(reply.body)))
    handler.end_headers()
    handler.wfile.write(reply.body)


class _Listening(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Stay silent about clients that hang up between two requests; anything else is a fault of ours."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def tampering(honest: Honest) -> Iterator[TamperingServer]:
    """Yield a server on this machine in front of `honest`; it ends with the block."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            # Clients that have seen enough hang up; that is what they are tested for.
            with suppress(ConnectionError):
                server.answer(self)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
            """Stay silent."""

    listening = _Listening(("127.0.0.1", 0), Handler)
    server = TamperingServer(f"http://127.0.0.1:{listening.server_port}", honest)
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listening.shutdown()
        listening.server_close()
        thread.join()


def through(client: httpx2.Client) -> Honest:
    """Return what asks a running registry, bytes as they travel.

    Args:
        client: asks; its base URL is the registry's. It may be used by several threads.
    """

    def ask(path: str, headers: Mapping[str, str]) -> Reply:
        with client.stream("GET", path, headers=dict(headers)) as response:
            body = b"".join(response.iter_raw())
            kept = {name: response.headers[name] for name in _KEPT if name in response.headers}
            return Reply(response.status_code, body, kept)

    return ask


def in_folder(folder: Path) -> Honest:
    """Return what reads a static tree, as any web server or bucket serves it."""

    def read(path: str, _headers: Mapping[str, str]) -> Reply:
        file = folder / unquote(urlsplit(path).path).lstrip("/")
        return Reply(200, file.read_bytes()) if file.is_file() else Reply(404)

    return read
