"""A small web server on this machine whose paths answer as a test says."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.support.simulator import RepositorySimulator

Answer = Callable[[BaseHTTPRequestHandler], None]


class Loopback:
    """Paths to answers; `seen` holds each request as (path, headers)."""

    def __init__(self) -> None:
        self.paths: dict[str, Answer | bytes] = {}
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.url = ""

    def serve_index(self, sim: RepositorySimulator) -> str:
        """Serve an index as the registry does, below `+tuf`, with its document; return its URL."""
        self.describe(str(sim.index))
        for key, data in sim.objects.items():
            mine = f"indexes/{sim.index}/"
            path = key.removeprefix(mine) if key.startswith(mine) else key
            self.paths[f"/{sim.index}/+tuf/{path}"] = data
        return f"{self.url}/{sim.index}"

    def describe(self, index: str, *bases: str, kind: str = "stage") -> None:
        """Answer an index's document as devpi does."""
        document = {"type": "indexconfig", "result": {"type": kind, "bases": bases}}
        self.paths[f"/{index}?no_projects="] = json.dumps(document).encode()

    def serve_tree(self, sim: RepositorySimulator) -> str:
        """Serve the static tree; return the URL of its index."""
        self.paths |= {f"/{key}": data for key, data in sim.objects.items()}
        return f"{self.url}/indexes/{sim.index}"


@contextmanager
def serving() -> Iterator[Loopback]:
    """Yield a running server; it ends with the block."""
    loopback = Loopback()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            loopback.seen.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
            answer = loopback.paths.get(self.path)
            if answer is None:
                reply(self, 404)
            elif isinstance(answer, bytes):
                reply(self, 200, answer)
            else:
                answer(self)

        do_POST = do_DELETE = do_GET  # noqa: N815 - the library's names

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
            """Stay silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    loopback.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield loopback
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def reply(handler: BaseHTTPRequestHandler, status: int, body: bytes = b"", **headers: str) -> None:
    """Answer in full; header names are given with `_` for `-`."""
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def reply_json(handler: BaseHTTPRequestHandler, document: object, status: int = 200, **headers: str) -> None:
    """Answer a JSON document."""
    reply(handler, status, json.dumps(document).encode(), Content_Type="application/json", **headers)


def read_json(handler: BaseHTTPRequestHandler) -> Any:
    """Return the document that was sent, None without one."""
    length = int(handler.headers.get("content-length") or 0)
    return json.loads(handler.rfile.read(length)) if length else None
