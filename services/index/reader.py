"""Documents in memory: found there or loaded once, dropped when a publication changes them.

What is in memory is answered without a query; what a head changed is gone before anybody waiting for that head is told.
Source: architecture sections 9 and 11.2.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import datetime

from countermark.core.names import NormalizedName
from services.index import merged_lists, merging, usecases
from services.index.documents import Document, Variant, place
from services.index.json_documents import load_json
from services.index.list_documents import LISTED
from services.index.mirrored_json import MirroredJson
from services.index.mirroring import Mirroring
from services.index.rules import (
    SIGNED_ROOT,
    Coding,
    JsonWanted,
    ListWanted,
    Media,
    MetadataWanted,
    PageWanted,
    TargetWanted,
)
from services.index.settings import Limits
from shared.catalogue import advisories, fetches
from shared.catalogue.heads import Head
from shared.catalogue.mirror_pages import LIST
from shared.ids import IndexId
from shared.reading.access import Place
from shared.reading.shelf import Shelf
from shared.reading.views import View
from shared.resources import Resources
from shared.service import Prepared
from shared.threads import QUICK

Readable = ListWanted | PageWanted | JsonWanted | MetadataWanted | TargetWanted

DocumentKey = tuple[IndexId, bool, Readable, View | None]
"""An index, whether everyone may read it (that decides the headers), what is wanted of it, and what it is merged
with: a view that changed is another one."""

_LARGE = 4 << 20
"""Bytes of a document that is kept compressed from the beginning: it would take the place of many others meanwhile."""

TIMESTAMP = MetadataWanted("timestamp", None)


class Reader:
    """Finds documents, in memory first."""

    def __init__(self, resources: Resources, limits: Limits, mirroring: Mirroring, mirrored_json: MirroredJson) -> None:
        self._mirroring = mirroring
        self._mirrored_json = mirrored_json
        self._resources = resources
        self._limits = limits
        self._shelf: Shelf[DocumentKey, Document] = Shelf(limits.memory)
        self._known: set[IndexId] = set()
        self._respelling = asyncio.Semaphore(limits.respelled_at_once)
        resources.heads.subscribe(self._changed)
        self._snapshot: int | None = None
        resources.listener.subscribe(fetches.CHANNEL, self._mirrored)
        resources.answered.when_void(self.forget)
        resources.listener.subscribe(advisories.CHANNEL, self._advised)

    def kept(self, key: DocumentKey) -> Document | None:
        """Return a document that is in memory and up to date."""
        document = self._shelf.get(key)
        if document is None or (document.until is None and document.ends is None):
            return document
        now = time.monotonic()
        if document.ends is not None and document.ends <= now:
            return None
        if document.until is None or document.until > now:
            return document
        if document.lags is None or self._serial(key) != _serial_of(document):
            return None
        # A big list is looked at every few seconds, but rendered again only after a change.
        document.until = now + document.lags
        return document

    async def document(self, where: Place, wanted: Readable) -> Document:
        """Return what is wanted of an index; its status is 404 when it does not exist.

        Raises:
            ServiceError: UNAVAILABLE; the stored bytes cannot be served.
        """
        key = key_of(where, wanted)
        kept = self.kept(key)
        if kept is not None:
            return kept
        # One that is out of date by the clock alone still lies there.
        self._shelf.drop_kept(key)
        return await self._shelf.fetch(key, lambda: self._load(where, wanted))

    async def variant(self, key: DocumentKey, document: Document, media: Media, coding: Coding) -> Variant:
        """Return a form and coding of a document, made in a thread if it was never asked for."""
        return await made_variant(document, media, coding, lambda grown: self._shelf.grow(key, document, grown))

    async def absolute(self, where: Place, project: NormalizedName, root: str, form: tuple[Media, Coding]) -> Prepared:
        """Return a page whose links begin with a root that the client named. It is made anew each time and not kept:
        there are as many roots as clients can think of.

        Raises:
            ServiceError: as `document`.
        """
        signed = await self.document(where, PageWanted(project))
        async with self._respelling:
            return await asyncio.to_thread(_respelled, where, root, signed, form)

    async def _load(self, where: Place, wanted: Readable) -> Document:
        document = await self._loading(where, wanted)
        if document.length > _LARGE:
            document.size += await asyncio.to_thread(document.let_go)
        return document

    def _loading(self, where: Place, wanted: Readable) -> Awaitable[Document]:
        resources, limits = self._resources, self._limits
        match wanted:
            case PageWanted():
                return self._load_page(where, wanted)
            case JsonWanted():
                return self._load_json(where, wanted)
            case ListWanted():
                return self._load_list(where)
            case TargetWanted():
                return usecases.load_target(resources, limits, where, wanted)
            case MetadataWanted(version=None):
                return usecases.load_timestamp(resources, limits, where)
            case MetadataWanted():
                return usecases.load_metadata(resources, limits, where, wanted)

    async def _load_page(self, where: Place, wanted: PageWanted) -> Document:
        if wanted.root != SIGNED_ROOT:
            signed = await self.document(where, PageWanted(wanted.project))
            return await asyncio.to_thread(usecases.respelled_page, where, wanted.root, signed)
        if where.view is None:
            return await usecases.load_page(self._resources, self._limits, where, wanted)
        return await merging.load_merged_page(self._resources, self._limits, self._mirroring, where, where.view, wanted)

    async def _load_list(self, where: Place) -> Document:
        if where.view is None:
            return await usecases.load_list(self._resources, self._limits, where)
        return await merged_lists.load_merged_list(self._resources, self._limits, self._mirroring, where, where.view)

    async def _load_json(self, where: Place, wanted: JsonWanted) -> Document:
        """Make a document of the JSON API from the page that is served now."""
        signed = await self.document(where, PageWanted(wanted.project))
        return await load_json(self._resources, self._limits, self._mirrored_json, where, wanted, signed)

    def _changed(self, head: Head, projects: frozenset[str]) -> None:
        """Drop what a head changed, of its index and of those that are based on it."""
        index_id = head.index_id
        if index_id not in self._known:
            # The first head this process learns of comes without names: whatever was read before may be older.
            self._known.add(index_id)
            self._shelf.drop_if(lambda key: _shows(key, index_id))
            return
        for project in projects:
            self._shelf.drop_group((index_id, NormalizedName(project)))
        self._shelf.doubt(lambda key: _project_of(key[2]) in projects and _shows(key, index_id))
        for open_ in (True, False):
            self._shelf.drop((index_id, open_, TIMESTAMP, None))
        for key in self._shelf.in_group((index_id, LISTED)):
            listed = self._shelf.get(key)
            if listed is not None and listed.lags is None and _serial_of(listed) != self._serial(key):
                self._shelf.drop_kept(key)
        self._shelf.doubt(lambda key: isinstance(key[2], ListWanted) and _shows(key, index_id))
        self._shelf.drop_group((index_id, usecases.ABSENT))
        self._shelf.doubt(lambda key: isinstance(key[2], MetadataWanted) and key[0] == index_id)

    async def _mirrored(self, what: str) -> None:
        """Drop what a mirror's new page changed; on a tick nothing: every such page has its time."""
        if (changed := fetches.changed_page(what)) is not None:
            self.forget(changed.index_id, changed.project, changed.at)

    async def _advised(self, _what: str) -> None:
        """Drop documents of the JSON API when other advisories are served than they were made with."""
        async with self._resources.engine.connect() as connection:
            snapshot = await advisories.current(connection)
        number = None if snapshot is None else snapshot.number
        if number != self._snapshot:
            self._snapshot = number
            self._shelf.drop_if(lambda key: isinstance(key[2], JsonWanted))

    def forget(self, index_id: IndexId, project: NormalizedName, at: datetime | None = None) -> None:
        """Drop what shows a mirror's page of a project, or its list.

        Args:
            at: when the upstream was asked for what it is now: documents that were made from that answer, as by the
                process that asked, stay.
        """
        if project == LIST:
            self._shelf.drop_group((index_id, LISTED))
            self._shelf.doubt(lambda key: isinstance(key[2], ListWanted) and _shows(key, index_id))
            return

        def has(document: Document) -> bool:
            shown = document.upstreams.get(index_id)
            return at is not None and shown is not None and shown >= at

        self._shelf.drop_group((index_id, project), has)
        self._shelf.doubt(lambda key: _project_of(key[2]) == project and _shows(key, index_id), has)

    def _serial(self, key: DocumentKey) -> int:
        """Return the serial that a list is made with now."""
        if key[3] is not None:
            return merged_lists.view_serial(self._resources, key[3])
        head = self._resources.heads.get(key[0])
        return 0 if head is None else head.serial


async def made_variant(document: Document, media: Media, coding: Coding, grow: Callable[[int], None]) -> Variant:
    """Return a form and coding of a document, made if it was never asked for; in a thread when it is big.

    Args:
        grow: told by how many bytes the document grew.
    """
    at = place(media, coding)
    if (made := document.variants[at]) is not None:
        return made
    if document.length <= QUICK:
        grow(document.make(media, coding))
    else:
        document.making = document.making or asyncio.Lock()
        async with document.making:
            if document.variants[at] is None:
                grow(await asyncio.to_thread(_made, document, media, coding))
    made = document.variants[at]
    assert made is not None
    return made


def _made(document: Document, media: Media, coding: Coding) -> int:
    return document.make(media, coding) + document.let_go()


def _serial_of(document: Document) -> int | None:
    """Return the serial of stages that a list was made with."""
    return document.shape.serial if document.heads is None else document.heads


def _respelled(where: Place, root: str, signed: Document, form: tuple[Media, Coding]) -> Prepared:
    document = usecases.respelled_page(where, root, signed)
    document.make(*form)
    variant = document.variants[place(*form)]
    assert variant is not None
    return variant.full


def _project_of(wanted: Readable) -> str | None:
    return wanted.project if isinstance(wanted, PageWanted | JsonWanted) else None


def _shows(key: DocumentKey, index_id: IndexId) -> bool:
    """Return whether what is kept under a key shows something of an index."""
    return key[0] == index_id or (key[3] is not None and index_id in key[3].ids)


def key_of(where: Place, wanted: Readable) -> DocumentKey:
    """Return under what a document is kept. Metadata and targets are an index's own, whatever its bases."""
    merged = isinstance(wanted, PageWanted | ListWanted | JsonWanted)
    return where.record.id, where.open, wanted, where.view if merged else None
