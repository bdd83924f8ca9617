"""A generated simple index that mirrors are measured against: `python -m bench.upstream PORT MILLISECONDS MEGABYTES`.

It is made up as it is asked: `page-F-N` has F files that nobody can fetch; `graph-N` is a package of three releases
that needs up to three later ones, with wheels and metadata; `blob` has one file of some megabytes. Every answer waits
for the given milliseconds, as an upstream far away does; `/+delay/MILLISECONDS` changes that. `/+counts` says how often
each path was asked for.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import sys
from collections import Counter
from functools import lru_cache

from bench.wheels import graph_wheel

PACKAGES = 100
"""Packages of the graph."""

RELEASES = ("1.0", "1.1", "2.0")

JSON_TYPE = "application/vnd.pypi.simple.v1+json"

_BACKLOG = 1024
"""Connections that may wait to be accepted: a crowd is not to be told to come again a second later."""

_DELAY = re.compile(r"/\+delay/(\d+)\Z")
_PAGE = re.compile(r"/simple/page-(\d+)-(\d+)/\Z")
_GRAPH = re.compile(r"/simple/graph-(\d+)/\Z")
_FILE = re.compile(r"/files/graph_(\d+)-([\d.]+)-py3-none-any\.whl(\.metadata)?\Z")
_BLOB = "blob-1.0-py3-none-any.whl"
_BLOCK = bytes(range(256)) * 4096
_UPLOADED = "2020-01-02T03:04:05.678901Z"


def needs(number: int) -> list[str]:
    """Return what a package of the graph needs, as requirements."""
    return [f"graph-{later}>=1.0" for later in (number * 2 + 1, number * 2 + 2, number + 7) if later < PACKAGES]


class Upstream:
    """What it answers."""

    def __init__(self, delay: float, megabytes: int) -> None:
        self._delay = delay
        self._blob = megabytes * 1_000_000
        self._counts: Counter[str] = Counter()
        digest = hashlib.sha256()
        for chunk in self._blob_chunks():
            digest.update(chunk)
        self._blob_sha256 = digest.hexdigest()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        try:
            while line := await reader.readline():
                path, etag, close = line.split(b" ")[1].decode(), b"", False
                while (header := (await reader.readline()).strip()) != b"":
                    name, _, value = header.partition(b":")
                    if name.lower() == b"if-none-match":
                        etag = value.strip()
                    close = close or (name.lower() == b"connection" and value.strip().lower() == b"close")
                await self._answer(writer, path.partition("?")[0], etag)
                if close:
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answer(self, writer: asyncio.StreamWriter, path: str, etag: bytes) -> None:
        if (delay := _DELAY.match(path)) is not None:
            self._delay = int(delay[1]) / 1000
            _write(writer, 200, "text/plain", b"")
            return
        if path == "/+counts":
            _write(writer, 200, "application/json", json.dumps(self._counts).encode())
            return
        self._counts[path] += 1
        await asyncio.sleep(self._delay)
        if path == f"/files/{_BLOB}":
            writer.write(_head(200, "application/octet-stream", self._blob))
            for chunk in self._blob_chunks():
                writer.write(chunk)
                await writer.drain()
            return
        found = self._found(path)
        if found is None:
            _write(writer, 404, "text/plain", b"nothing here")
            return
        media, body = found
        tag = b'"%s"' % hashlib.sha256(body).hexdigest()[:16].encode()
        _write(writer, 304 if etag == tag else 200, media, body, tag)
        await writer.drain()

    def _found(self, path: str) -> tuple[str, bytes] | None:
        if path == "/simple/":
            names = [{"name": f"{kind}-{number}"} for kind in ("graph", "page-100") for number in range(PACKAGES)]
            return JSON_TYPE, json.dumps({"meta": {"api-version": "1.4"}, "projects": names}).encode()
        if (match := _PAGE.match(path)) is not None:
            return JSON_TYPE, _made_up_page(int(match[1]), int(match[2]))
        if (match := _GRAPH.match(path)) is not None and int(match[1]) < PACKAGES:
            return JSON_TYPE, _graph_page(int(match[1]))
        if (match := _FILE.match(path)) is not None and int(match[1]) < PACKAGES:
            content, metadata = _graph_file(int(match[1]), match[2])
            return "application/octet-stream", metadata if match[3] else content
        if path == "/simple/blob/":
            entry = _entry(_BLOB, self._blob_sha256, self._blob)
            return JSON_TYPE, _page("blob", ["1.0"], [entry])
        return None

    def _blob_chunks(self) -> list[bytes]:
        whole, rest = divmod(self._blob, len(_BLOCK))
        return [_BLOCK] * whole + [_BLOCK[:rest]]


def _entry(name: str, sha256: str, size: int, metadata: str | None = None) -> dict[str, object]:
    entry: dict[str, object] = {
        "filename": name,
        "url": f"../../files/{name}",
        "hashes": {"sha256": sha256},
        "requires-python": ">=3.9",
        "size": size,
        "upload-time": _UPLOADED,
        "yanked": False,
    }
    return entry if metadata is None else entry | {"core-metadata": {"sha256": metadata}}


def _page(name: str, versions: list[str], files: list[dict[str, object]]) -> bytes:
    head = {"meta": {"api-version": "1.4", "_last-serial": 7}, "name": name, "versions": versions}
    return json.dumps(head | {"files": files}, separators=(",", ":")).encode()


@lru_cache(maxsize=64)
def _made_up_page(files: int, number: int) -> bytes:
    name = f"page-{files}-{number}"
    names = [f"page_{files}_{number}-1.{one}-py3-none-any.whl" for one in range(files)]
    entries = [_entry(file, hashlib.sha256(file.encode()).hexdigest(), 1000) for file in names]
    return _page(name, [f"1.{one}" for one in range(files)], entries)


@lru_cache(maxsize=2 * PACKAGES)
def _graph_page(number: int) -> bytes:
    entries = []
    for release in RELEASES:
        content, metadata = _graph_file(number, release)
        digests = [hashlib.sha256(part).hexdigest() for part in (content, metadata)]
        entries.append(_entry(f"graph_{number}-{release}-py3-none-any.whl", digests[0], len(content), digests[1]))
    return _page(f"graph-{number}", list(RELEASES), entries)


@lru_cache(maxsize=4 * PACKAGES)
def _graph_file(number: int, release: str) -> tuple[bytes, bytes]:
    return graph_wheel(f"graph-{number}", release, needs(number))


_PHRASES = {200: "OK", 304: "Not Modified", 404: "Not Found"}


def _head(status: int, media: str, length: int, etag: bytes = b"") -> bytes:
    lines = [f"HTTP/1.1 {status} {_PHRASES[status]}", f"content-type: {media}", f"content-length: {length}"]
    lines += [f"etag: {etag.decode()}", "cache-control: max-age=600, public"] if etag else []
    return "\r\n".join([*lines, "x-pypi-last-serial: 7", "", ""]).encode()


def _write(writer: asyncio.StreamWriter, status: int, media: str, body: bytes, etag: bytes = b"") -> None:
    sent = b"" if status == 304 else body
    writer.write(_head(status, media, len(sent), etag) + sent)


async def main() -> None:
    """Serve until ended."""
    port, milliseconds, megabytes = map(int, sys.argv[1:4])
    upstream = Upstream(milliseconds / 1000, megabytes)
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", port, backlog=_BACKLOG)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
