"""Documents in memory: found there or loaded once, dropped when a publication changes them.

What is in memory is answered without a query; what a head changed is gone before anybody waiting for that head is told.
Source: architecture sections 9 and 11.2.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from countermark.core.names import NormalizedName
from services.index import usecases
from services.index.documents import Document, Variant, place
from services.index.rules import Coding, JsonWanted, ListWanted, Media, MetadataWanted, PageWanted, TargetWanted
from services.index.settings import Limits
from shared.catalogue.heads import Head
from shared.ids import IndexId
from shared.reading.access import Place
from shared.reading.shelf import Shelf
from shared.resources import Resources

Readable = ListWanted | PageWanted | JsonWanted | MetadataWanted | TargetWanted

DocumentKey = tuple[IndexId, bool, Readable]
"""An index, whether everyone may read it (that decides the headers), and what is wanted of it."""

TIMESTAMP = MetadataWanted("timestamp", None)


class Reader:
    """Finds documents, in memory first."""

    def __init__(self, resources: Resources, limits: Limits) -> None:
        self._resources = resources
        self._limits = limits
        self._shelf: Shelf[DocumentKey, Document] = Shelf(limits.memory)
        self._known: set[IndexId] = set()
        resources.heads.subscribe(self._changed)

    def kept(self, key: DocumentKey) -> Document | None:
        """Return a document that is in memory and up to date."""
        document = self._shelf.get(key)
        if document is None or document.until is None or document.until > time.monotonic():
            return document
        if document.lags is None:
            return None
        head = self._resources.heads.get(key[0])
        if head is None or head.serial != document.shape.serial:
            return None
        # A big list is looked at every few seconds, but rendered again only after a change.
        document.until = time.monotonic() + document.lags
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
        return await self._shelf.fetch(key, self._loader(where, wanted))

    async def variant(self, key: DocumentKey, document: Document, media: Media, coding: Coding) -> Variant:
        """Return a form and coding of a document, made in a thread if it was never asked for."""
        at = place(media, coding)
        if (made := document.variants[at]) is not None:
            return made
        async with document.making:
            if document.variants[at] is None:
                grown = await asyncio.to_thread(document.make, media, coding)
                self._shelf.grow(key, document, grown)
        made = document.variants[at]
        assert made is not None
        return made

    def _loader(self, where: Place, wanted: Readable) -> Callable[[], Awaitable[Document]]:
        resources, limits = self._resources, self._limits
        match wanted:
            case PageWanted():
                return lambda: usecases.load_page(resources, limits, where, wanted)
            case JsonWanted():
                return lambda: self._load_json(where, wanted)
            case ListWanted():
                return lambda: usecases.load_list(resources, limits, where)
            case TargetWanted():
                return lambda: usecases.load_target(resources, limits, where, wanted)
            case MetadataWanted(version=None):
                return lambda: usecases.load_timestamp(resources, limits, where)
            case MetadataWanted():
                return lambda: usecases.load_metadata(resources, limits, where, wanted)

    async def _load_json(self, where: Place, wanted: JsonWanted) -> Document:
        """Make a document of the JSON API from the page that is served now."""
        signed = await self.document(where, PageWanted(wanted.project))
        return await usecases.load_json(self._resources, self._limits, where, wanted, signed)

    def _changed(self, head: Head, projects: frozenset[str]) -> None:
        """Drop what a head changed."""
        index_id = head.index_id
        if index_id not in self._known:
            # The first head this process learns of comes without names: whatever was read before may be older.
            self._known.add(index_id)
            self._shelf.drop_if(lambda key: key[0] == index_id)
            return
        for project in projects:
            self._shelf.drop_group((index_id, NormalizedName(project)))
        self._shelf.doubt(lambda key: key[0] == index_id and _project_of(key[2]) in projects)
        for open_ in (True, False):
            self._shelf.drop((index_id, open_, TIMESTAMP))
            listed = self._shelf.get((index_id, open_, ListWanted()))
            if listed is None or (listed.lags is None and listed.shape.serial != head.serial):
                self._shelf.drop((index_id, open_, ListWanted()))
        self._shelf.drop_group((index_id, usecases.ABSENT))
        self._shelf.doubt(lambda key: key[0] == index_id and isinstance(key[2], MetadataWanted))


def _project_of(wanted: Readable) -> str | None:
    return wanted.project if isinstance(wanted, PageWanted | JsonWanted) else None


def key_of(where: Place, wanted: Readable) -> DocumentKey:
    """Return under what a document is kept."""
    return where.record.id, where.open, wanted
