"""A simple index for mirrors to ask, with its JSON API: an application with every field, and faults on demand."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from packaging.version import Version
from starlette.types import Receive, Scope, Send

from countermark.core.names import NormalizedName
from shared.formats.python.foreign import version_named

JSON = "application/vnd.pypi.simple.v1+json"


@dataclass(slots=True)
class Fault:
    """What goes wrong at a path: `delay` in seconds before the answer, `never` for none at all before `go` is set."""

    status: int = 0
    delay: float = 0.0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    never: bool = False
    cut: int = -1
    """Bytes after which the connection is cut; -1 for never."""
    held: int = -1
    """Bytes after which nothing comes until `go` is set; -1 for never."""
    go: asyncio.Event = field(default_factory=asyncio.Event)
    drip: float = 0.0
    """Seconds before each kilobyte."""
    endless: bytes = b""
    """Sent again and again, until the client goes away."""
    left: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the client of an endless answer has gone away."""
    times: int = -1
    """How often it goes wrong; -1 for always."""


@dataclass(slots=True)
class UpstreamFile:
    """A file; `fields` are further keys of its entry."""

    name: str
    content: bytes
    fields: dict[str, Any] = field(default_factory=dict)
    metadata: bytes | None = None
    provenance: bytes | None = None
    sha256: str = ""
    """As the page says; of the content when empty."""

    def entry(self) -> dict[str, Any]:
        """Return how the page lists it."""
        entry: dict[str, Any] = {
            "filename": self.name,
            "url": f"../../files/{self.name.replace('+', '%2B')}",
            "hashes": {"sha256": self.sha256 or hashlib.sha256(self.content).hexdigest()},
            "size": len(self.content),
            "upload-time": "2020-01-02T03:04:05.678901Z",
        }
        if self.metadata is not None:
            entry["core-metadata"] = {"sha256": hashlib.sha256(self.metadata).hexdigest()}
        if self.provenance is not None:
            entry["provenance"] = f"../../files/{self.name}.provenance"
        return entry | self.fields

    def json_entry(self) -> dict[str, Any]:
        """Return how the JSON API lists it."""
        moment = str(self.entry().get("upload-time") or "")
        return {
            "filename": self.name,
            "url": f"https://files.upstream.test/{self.name}",
            "digests": {
                "md5": hashlib.md5(self.content, usedforsecurity=False).hexdigest(),
                "sha256": self.sha256 or hashlib.sha256(self.content).hexdigest(),
                "blake2b_256": hashlib.blake2b(self.content, digest_size=32).hexdigest(),
            },
            "packagetype": "bdist_wheel" if self.name.endswith(".whl") else "sdist",
            "python_version": "py3" if self.name.endswith(".whl") else "source",
            "size": len(self.content),
            "upload_time_iso_8601": moment,
            "yanked": bool(self.fields.get("yanked")),
        }


class Upstream:
    """The application; tests change what it has, and count what it was asked for."""

    def __init__(self) -> None:
        self.projects: dict[str, dict[str, UpstreamFile]] = {}
        self.heads: dict[str, dict[str, Any]] = {}
        self.serials: dict[str, int] = {}
        self.faults: dict[str, Fault] = {}
        self.down: Fault | None = None
        self.asked: Counter[str] = Counter()
        self.requests: list[dict[str, str]] = []
        self.page_headers: dict[str, str] = {}
        self.more_names: list[str] = []
        """Names of the list beside those of `projects`, as they are written there."""
        self.list_serial = 0
        self.simple = "simple"
        """Where the simple index is."""
        self.json_api = True
        self.infos: dict[tuple[str, str], dict[str, Any]] = {}
        """By project and version: what `info` says beside name and version."""
        self.vulnerabilities: dict[tuple[str, str], list[Any]] = {}
        self.json_heads: dict[str, dict[str, Any]] = {}
        """By path of the JSON API: what a document says instead, key by key."""

    def add(self, project: str, name: str, content: bytes = b"", **options: Any) -> UpstreamFile:
        """Publish a file."""
        file = UpstreamFile(name, content or name.encode(), **options)
        self.projects.setdefault(project, {})[name] = file
        self.serials[project] = self.serials.get(project, 0) + 1
        return file

    def page(self, project: str) -> bytes:
        """Return the page of a project."""
        files = self.projects[project].values()
        head = {"meta": {"api-version": "1.4", "_last-serial": self.serials[project]}, "name": project}
        return json.dumps(head | {"files": [file.entry() for file in files]} | self.heads.get(project, {})).encode()

    def json(self, path: str, project: str, version: str | None) -> bytes | None:
        """Return a document of the JSON API."""
        releases: dict[str, list[dict[str, Any]]] = {}
        for file in self.projects[project].values():
            named = version_named(file.name, NormalizedName(project))
            releases.setdefault(str(named), []).append(file.json_entry())
        shown = max(releases, key=Version) if version is None else version
        if shown not in releases:
            return None
        document = {
            "info": {"name": project, "version": shown, **self.infos.get((project, shown), {})},
            "last_serial": self.serials[project],
            **({"releases": releases} if version is None else {}),
            "urls": releases[shown],
            "vulnerabilities": self.vulnerabilities.get((project, shown), []),
        }
        return json.dumps(document | self.json_heads.get(path, {})).encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        path = scope["path"]
        headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
        self.asked[path] += 1
        self.requests.append(headers | {":path": path})
        fault = self.faults.get(path) or self.down
        if fault is not None and fault.times == 0:
            fault = None
        if fault is not None:
            fault.times -= 1
            await (fault.go.wait() if fault.never else asyncio.sleep(fault.delay))
            if fault.status:
                await _send(send, fault.status, fault.headers, fault.body)
                return
        status, found, body = self._found(path, headers)
        if fault is not None and fault.endless:
            await _endlessly(fault, receive, send)
            return
        if fault is not None:
            found |= fault.headers
            body = fault.body or body
            if fault.held >= 0 or fault.drip:
                await self._slowly(send, fault, status, _raw(found, len(body)), body)
                return
            if 0 <= fault.cut < len(body):
                await send({"type": "http.response.start", "status": status, "headers": _raw(found, len(body))})
                await send({"type": "http.response.body", "body": body[: fault.cut], "more_body": True})
                raise ConnectionError("cut")
        await _send(send, status, found, body)

    async def _slowly(
        self, send: Send, fault: Fault, status: int, headers: list[tuple[bytes, bytes]], body: bytes
    ) -> None:
        await send({"type": "http.response.start", "status": status, "headers": headers})
        sent = 0
        if fault.held >= 0:
            sent = fault.held
            await send({"type": "http.response.body", "body": body[:sent], "more_body": True})
            await fault.go.wait()
        step = 1024 if fault.drip else len(body)
        while sent < len(body):
            await asyncio.sleep(0 if fault.go.is_set() else fault.drip)
            await send({"type": "http.response.body", "body": body[sent : sent + step], "more_body": True})
            sent += step
        await send({"type": "http.response.body", "body": b""})

    def _found(self, path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        parts = path.strip("/").split("/")
        if parts == [self.simple]:
            names = [{"name": name} for name in [*self.projects, *self.more_names]]
            body = json.dumps({"meta": {"api-version": "1.4"}, "projects": names}).encode()
            return self._tagged(body, str(self.list_serial or ""), headers)
        if len(parts) == 2 and parts[0] == self.simple and parts[1] in self.projects:
            return self._tagged(self.page(parts[1]), str(self.serials[parts[1]]), headers)
        if parts[0] == "pypi" and parts[-1] == "json" and self.json_api and parts[1] in self.projects:
            document = self.json(path, parts[1], parts[2] if len(parts) == 4 else None)
            if document is not None:
                return self._tagged(document, str(self.serials[parts[1]]), headers, "application/json")
        if len(parts) == 2 and parts[0] == "files":
            for files in self.projects.values():
                for file in files.values():
                    if file.name == parts[1]:
                        return _part(file.content, headers.get("range"))
                    if f"{file.name}.metadata" == parts[1] and file.metadata is not None:
                        return 200, {"content-type": "text/plain"}, file.metadata
                    if f"{file.name}.provenance" == parts[1] and file.provenance is not None:
                        return 200, {"content-type": "application/json"}, file.provenance
        return 404, {"content-type": "text/plain"}, b"nothing here"

    def _tagged(
        self, body: bytes, serial: str, headers: dict[str, str], kind: str = JSON
    ) -> tuple[int, dict[str, str], bytes]:
        """Return a page, the list or a document, or that the client has it."""
        etag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
        found = {"content-type": kind, "etag": etag} | ({"x-pypi-last-serial": serial} if serial else {})
        if headers.get("if-none-match") == etag:
            return 304, found | self.page_headers, b""
        return 200, found | self.page_headers, body


def _part(content: bytes, range_: str | None) -> tuple[int, dict[str, str], bytes]:
    """Return a file, or the rest of it."""
    found = {"content-type": "application/octet-stream"}
    if range_ is None:
        return 200, found, content
    start = int(range_.removeprefix("bytes=").removesuffix("-"))
    return 206, found | {"content-range": f"bytes {start}-{len(content) - 1}/{len(content)}"}, content[start:]


async def _endlessly(fault: Fault, receive: Receive, send: Send) -> None:
    """Answer without an end, and without saying how long the answer is."""

    async def leaving() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        fault.left.set()

    watching = asyncio.create_task(leaving())
    headers = _raw(fault.headers | {"transfer-encoding": "chunked"}, 0)
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    while not fault.left.is_set():
        await send({"type": "http.response.body", "body": fault.endless, "more_body": True})
        await asyncio.sleep(fault.drip)
    await watching


async def _send(send: Send, status: int, headers: dict[str, str], body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": _raw(headers, len(body))})
    await send({"type": "http.response.body", "body": body})


def _raw(headers: dict[str, str], length: int) -> list[tuple[bytes, bytes]]:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    framed = {b"content-length", b"transfer-encoding"}.intersection(name for name, _ in raw)
    return raw if framed else [*raw, (b"content-length", b"%d" % length)]
