"""An upstream as a process of its own: `python -m tests.support.upstream_process PORT FILE`; it says when it listens.

What was published is noted in the file: started again, it has it.

It is told what to have by POST to `/+do`: a pickled callable would do anything, so it is a list of plain words.
"""

from __future__ import annotations

import asyncio
import base64
import json
import signal
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from starlette.types import Receive, Scope, Send

from tests.support.processes import Process
from tests.support.reading import served
from tests.support.upstream import Fault, Upstream


@dataclass(frozen=True, slots=True)
class UpstreamProcess:
    """The process, and where it listens; without a slash at the end."""

    process: Process
    url: str

    def add(self, project: str, name: str, content: bytes, *, metadata: bytes | None = None, **fields: Any) -> None:
        """Publish a file; `fields` are further keys of its entry, with `_` for `-`."""
        told = {key.replace("_", "-"): value for key, value in fields.items()}
        self._do("add", project=project, name=name, content=_text(content), metadata=_text(metadata), fields=told)

    def break_at(self, path: str, **fault: Any) -> None:
        """Have something go wrong at a path, "" for every path, or nothing any more; see `Fault`."""
        self._do("fault", path=path, fault=fault)

    def asked(self) -> Mapping[str, int]:
        """Return how often each path was asked for."""
        found: dict[str, int] = self._do("asked")
        return found

    def kill(self) -> None:
        """End it without a word, in the middle of whatever it does."""
        self.process.send(signal.SIGKILL)
        self.process.wait()

    def start(self) -> None:
        """Start it; a second time where it was before, with all that was published and without faults."""
        self.process.start()
        self.process.until_written("listens at ")

    def _do(self, what: str, **told: Any) -> Any:
        return httpx2.post(f"{self.url}/+do", json={"what": what, **told}, timeout=10).raise_for_status().json()


@contextmanager
def upstream_process(folder: Path) -> Iterator[UpstreamProcess]:
    """Run one until the block is left."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    argv = (sys.executable, "-m", "tests.support.upstream_process", str(port), str(folder / "published"))
    upstream = UpstreamProcess(Process(argv, folder / "upstream.log"), f"http://127.0.0.1:{port}")
    upstream.start()
    try:
        yield upstream
    finally:
        upstream.process.end()


class _Told:
    """The application, which also does what it is told."""

    def __init__(self, published: Path) -> None:
        self.upstream = Upstream()
        self._published = published
        published.touch()
        for line in published.read_text().splitlines():
            self._do(json.loads(line))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != "/+do":
            await self.upstream(scope, receive, send)
            return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        told = json.loads(body)
        answer = json.dumps(self._do(told)).encode()
        if told["what"] == "add":
            with self._published.open("a") as file:
                file.write(f"{json.dumps(told)}\n")
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    def _do(self, told: dict[str, Any]) -> object:
        match told["what"]:
            case "add":
                content, metadata = _bytes(told["content"]), _bytes(told["metadata"])
                assert content is not None
                self.upstream.add(told["project"], told["name"], content, metadata=metadata, fields=told["fields"])
            case "fault":
                fault = Fault(**told["fault"]) if told["fault"] else None
                before = self.upstream.faults.get(told["path"])
                if before is not None:
                    # What it held goes on.
                    before.go.set()
                if not told["path"]:
                    self.upstream.down = fault
                elif fault is None:
                    self.upstream.faults.pop(told["path"], None)
                else:
                    self.upstream.faults[told["path"]] = fault
        return dict(self.upstream.asked)


def _text(content: bytes | None) -> str | None:
    return None if content is None else base64.b64encode(content).decode()


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)


async def _serve(port: int, published: Path) -> None:
    async with served(_Told(published), port) as url:
        print(f"listens at {url}", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), Path(sys.argv[2])))
