"""Pages and lists of an index as it stood at a moment in the past; `shared.reading.asof` says what they show.

Each is cut from what is served now, and kept with the number of what it was cut from: whatever changes the plain page
changes this one. They have a memory of their own, since anybody may name as many moments as they like.
Source: architecture section 3; ADR 0030.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime

from services.index import merged_lists
from services.index.documents import Document, Variant
from services.index.list_documents import list_document
from services.index.mirroring import Mirroring
from services.index.reader import DocumentKey, Readable, Reader, key_of, made_variant
from services.index.rules import SIGNED_ROOT, Coding, ListWanted, Media, PageWanted
from services.index.settings import Limits
from services.index.usecases import page_of_signed, respelled_page
from shared.catalogue.first_published import first_published, published_until
from shared.catalogue.heads import current_pages
from shared.errors import ErrorKind, ServiceError
from shared.faces import Face, FaceKind
from shared.reading.access import Place
from shared.reading.asof import FORM, Published, cut, dated_files, parse_moment
from shared.reading.resolution import MIRROR
from shared.reading.shelf import Shelf
from shared.resources import Resources

_AT_ONCE = 4
"""Pages and lists that a process puts together at the same time; others wait."""

_MAX_SHOWN = 40
"""Characters of a moment that is told back to whoever wrote it."""

PastKey = tuple[DocumentKey, datetime, int]


class Pasts:
    """Finds documents as of a moment."""

    def __init__(self, resources: Resources, limits: Limits, mirroring: Mirroring, reader: Reader) -> None:
        self._resources = resources
        self._limits = limits
        self._mirroring = mirroring
        self._reader = reader
        self._shelf: Shelf[PastKey, Document] = Shelf(limits.past_memory)
        self._turns = asyncio.Semaphore(_AT_ONCE)

    def enter(self, face: Face) -> tuple[Past, Face]:
        """Return the past that an address means, and the face of simple pages that follows.

        Raises:
            ServiceError: INVALID, it names no moment; MALFORMED, the moment has not come yet; NOT_FOUND, what follows
                is no simple page.
        """
        text, _, rest = face.rest.partition("/")
        at = parse_moment(text)
        if at is None:
            said = text[:_MAX_SHOWN].encode("ascii", "backslashreplace").decode()
            raise ServiceError(ErrorKind.INVALID, f"{said!r} is no moment. Write it as {FORM}.")
        now = self._resources.clock.now()
        if at > now:
            written = now.replace(tzinfo=None).isoformat(timespec="seconds")
            detail = f"{text} has not come yet: it is {written}Z here, and only what was can be shown."
            raise ServiceError(ErrorKind.MALFORMED, detail)
        segment, _, rest = rest.partition("/")
        if segment != FaceKind.SIMPLE:
            detail = "There is nothing at this address: an index of the past has simple pages, +at/<moment>/+simple/."
            raise ServiceError(ErrorKind.NOT_FOUND, detail)
        return Past(self, at), Face(face.index, FaceKind.SIMPLE, rest, face.base)

    async def document(self, where: Place, wanted: Readable, at: datetime) -> Document:
        """Return what is wanted of an index as it stood; errors and absences are those of the index as it is."""
        if isinstance(wanted, ListWanted):
            return await self._kept((key_of(where, wanted), at, 0), lambda: self._list(where, at))
        assert isinstance(wanted, PageWanted), "`enter` lets simple pages through alone"
        plain = await self._reader.document(where, PageWanted(wanted.project))
        if plain.status != 200:
            return plain
        key = (key_of(where, wanted), at, plain.number)
        return await self._kept(key, lambda: self._page(where, wanted, plain, at))

    async def variant(self, key: PastKey, document: Document, media: Media, coding: Coding) -> Variant:
        """Return a form and coding of a document."""
        return await made_variant(document, media, coding, lambda grown: self._shelf.grow(key, document, grown))

    async def _kept(self, key: PastKey, load: Callable[[], Awaitable[Document]]) -> Document:
        async def in_turn() -> Document:
            async with self._turns:
                return await load()

        kept = self._shelf.get(key)
        if kept is not None and kept.until is not None and kept.until <= time.monotonic():
            self._shelf.drop_kept(key)
        return await self._shelf.fetch(key, in_turn)

    async def _page(self, where: Place, wanted: PageWanted, plain: Document, at: datetime) -> Document:
        record, project = where.record, wanted.project
        members = (record,) if where.view is None else where.view.order
        stages = {member.id: member.name for member in members if member.type != MIRROR}
        mirrors = frozenset(member.name for member in members if member.type == MIRROR)
        published: Published = {}
        if stages:
            async with self._resources.engine.connect() as connection:
                published = await first_published(connection, stages, project)

        def made() -> Document:
            whole = plain.body
            body = cut(whole, dated_files(whole, record.name, project, mirrors, published), at)
            shape = plain.shape
            page = page_of_signed(where, project, shape.serial or 0, body, shape.stale_since)
            return page if wanted.root == SIGNED_ROOT else respelled_page(where, wanted.root, page)

        document = await asyncio.to_thread(made)
        # A plain page that changed is another one, so that this one is not asked for again.
        document.groups, document.made_of = (), plain.number
        return document

    async def _list(self, where: Place, at: datetime) -> Document:
        begun, resources, record = time.monotonic(), self._resources, where.record
        if where.view is not None:
            document = await merged_lists.load_merged_list(
                resources, self._limits, self._mirroring, where, where.view, at
            )
        else:
            async with resources.engine.connect() as connection:
                then = await published_until(connection, record.id, at)
                pages = await current_pages(connection, record.id)
            head = resources.heads.get(record.id)
            rows = [(page.project, page.serial) for page in pages if page.project in then]
            document = await list_document(self._limits, where, 0 if head is None else head.serial, rows, begun)
        document.groups = ()
        document.until = max(document.until or 0.0, begun + self._limits.list_seconds)
        return document


class Past:
    """An index at one moment: asked as `Reader` is."""

    def __init__(self, pasts: Pasts, at: datetime) -> None:
        self._pasts = pasts
        self._at = at

    async def document(self, where: Place, wanted: Readable) -> Document:
        """See `Reader.document`."""
        return await self._pasts.document(where, wanted, self._at)

    async def variant(self, key: DocumentKey, document: Document, media: Media, coding: Coding) -> Variant:
        """See `Reader.variant`."""
        return await self._pasts.variant((key, self._at, document.made_of), document, media, coding)


def below_moment(wanted: PageWanted) -> PageWanted:
    """Return a page whose links hold from below `+at/<moment>/`: they lead to the index itself, for ever."""
    return replace(wanted, root=f"../../{wanted.root}")
