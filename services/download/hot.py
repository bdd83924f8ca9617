"""Answers small files, `.metadata`, HEAD and 304 from memory, before any framework.

Ranges and large files are left to the application. Source: architecture section 9 (hot reads).
"""

from __future__ import annotations

from dataclasses import dataclass

from starlette.types import Scope

from services.download.entries import Entry
from services.download.reader import EntryKey, key_of
from services.download.routes import Reading
from services.download.rules import wanted_at
from shared.errors import ServiceError
from shared.faces import parse_face, service_for
from shared.reading.access import Access, Place
from shared.reading.headers import asked_by, not_modified
from shared.service import Prepared

_DEVPI = b"application/json"
"""Who asks for this may mean what devpi says of a file, and not its bytes."""

MAX_REMEMBERED = 20_000
"""Paths that are remembered with their meaning; beyond that, all are forgotten and read again."""


@dataclass(frozen=True, slots=True)
class _Route:
    where: Place
    key: EntryKey


class DownloadHotReader:
    """The download service's hot reader; see `shared.service.HotReader`."""

    def __init__(self, access: Access, reading: Reading) -> None:
        self._access = access
        self._reader = reading.reader
        self._downloads = reading.downloads
        self._uses = reading.uses
        self._guard = reading.guard
        self._routes: dict[str, _Route] = {}
        self._generation = access.generation

    def __call__(self, scope: Scope) -> Prepared | None:
        """Return the answer if it lies ready and the caller may read."""
        if self._generation != self._access.generation:
            self._routes.clear()
            self._generation = self._access.generation
        route = self._routes.get(scope["path"]) or self._find(scope["path"])
        if route is None:
            return None
        asked = asked_by(scope["headers"])
        if asked.accept is not None and _DEVPI in asked.accept:
            return None
        if not self._access.quick(route.where, asked.authorization):
            return None
        entry = self._reader.kept(route.key)
        if not isinstance(entry, Entry) or not self._guard.admits_at_once(route.where, entry):
            return None
        if not_modified(asked, entry.etag, entry.modified):
            return entry.not_modified
        # Range means something only with GET (RFC 9110 section 14.2).
        if scope["method"] == "HEAD":
            return entry.full
        if entry.body is None or asked.range is not None:
            return None
        if entry.counted is not None:
            self._downloads.count(entry.counted)
        if entry.source is not None:
            self._uses.note(entry.source.key)
        return entry.full

    def _find(self, path: str) -> _Route | None:
        face = parse_face(path)
        if face is None or service_for(face) != "download":
            return None
        wanted = wanted_at(face)
        if wanted is None:
            return None
        try:
            where = self._access.place(face)
        except ServiceError:
            return None
        if len(self._routes) >= MAX_REMEMBERED:
            self._routes.clear()
        route = _Route(where, key_of(where, wanted))
        self._routes[path] = route
        return route
