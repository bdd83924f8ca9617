"""Answers pages, lists and metadata from memory, before any framework: the way of nearly every request.

It knows no answer of its own: what it finds was made by the application once, and anything unusual is left to it.
Source: architecture section 9 (hot reads); infrastructure facts (CPU per request).
"""

from __future__ import annotations

from dataclasses import dataclass

from starlette.types import Scope

from services.index.documents import place
from services.index.reader import DocumentKey, Reader, key_of
from services.index.rules import Elsewhere, ListWanted, Media, PageWanted, choose_coding, choose_media, wanted_at
from shared.errors import ServiceError
from shared.faces import parse_face, service_for
from shared.reading.access import Access, Place
from shared.reading.headers import asked_by, etag_matches
from shared.service import Prepared

MAX_REMEMBERED = 5_000
"""Paths that are remembered with their meaning, half a kilobyte each; beyond that, all are forgotten and read again."""

MAX_CHOICES = 2_000
"""Pairs of Accept and Accept-Encoding that are remembered; real clients send a dozen."""

MAX_CHOICE = 1_024
"""Bytes of such a header that is remembered; longer ones are left to the application."""


@dataclass(frozen=True, slots=True)
class _Route:
    """What a path means: `forms` says whether the Accept header chooses among forms."""

    where: Place
    key: DocumentKey
    forms: bool


class IndexHotReader:
    """The index service's hot reader; see `shared.service.HotReader`."""

    def __init__(self, access: Access, reader: Reader) -> None:
        self._access = access
        self._reader = reader
        self._routes: dict[str, _Route] = {}
        self._generation = access.generation
        self._choices: dict[tuple[bool, bytes | None, bytes | None], int] = {}

    def __call__(self, scope: Scope) -> Prepared | None:
        """Return the answer if it lies ready: the path is canonical, the caller may read, the form was made before."""
        if self._generation != self._access.generation:
            self._routes.clear()
            self._generation = self._access.generation
        route = self._routes.get(scope["path"]) or self._find(scope["path"])
        if route is None or scope["query_string"]:
            return None
        asked = asked_by(scope["headers"])
        if asked.absolute or not self._access.quick(route.where, asked.authorization):
            return None
        document = self._reader.kept(route.key)
        if document is None:
            return None
        choice = (route.forms, asked.accept, asked.accept_encoding)
        at = self._choices.get(choice)
        if at is None:
            at = self._choose(choice)
        variant = document.variants[at] if at >= 0 else None
        if variant is None:
            return None
        match = asked.if_none_match
        if match is not None and variant.etag and etag_matches(match, variant.etag):
            return variant.not_modified
        return variant.full

    def _find(self, path: str) -> _Route | None:
        face = parse_face(path)
        if face is None or service_for(face) != "index":
            return None
        wanted = wanted_at(path, face)
        if wanted is None or isinstance(wanted, Elsewhere):
            return None
        try:
            where = self._access.place(face)
        except ServiceError:
            return None
        if len(self._routes) >= MAX_REMEMBERED:
            self._routes.clear()
        route = _Route(where, key_of(where, wanted), isinstance(wanted, PageWanted | ListWanted))
        self._routes[path] = route
        return route

    def _choose(self, choice: tuple[bool, bytes | None, bytes | None]) -> int:
        """Return where the chosen variant stands, -1 when the application must say."""
        forms, accept, coding = choice
        if len(accept or b"") > MAX_CHOICE or len(coding or b"") > MAX_CHOICE:
            return -1
        media = choose_media(_text(accept)) if forms else Media.JSON
        at = -1 if media is None else place(media, choose_coding(_text(coding)))
        if len(self._choices) >= MAX_CHOICES:
            self._choices.clear()
        self._choices[choice] = at
        return at


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")
