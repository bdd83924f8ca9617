"""Files in memory: found there or looked up once, dropped when a publication changes their project.

Source: architecture sections 9 and 11.2.
"""

from __future__ import annotations

import time
from datetime import datetime

from countermark.core.names import NormalizedName
from services.download import usecases
from services.download.attached import or_attached
from services.download.entries import ABSENT, Entry, Refused
from services.download.rules import FileWanted
from services.download.settings import Limits
from services.download.usecases import Finding
from shared.catalogue import fetches
from shared.catalogue.heads import Head
from shared.fetching.asking import Questions
from shared.fetching.fetching import Fetching
from shared.formats.python.foreign import projects_named
from shared.ids import IndexId
from shared.reading.access import Place
from shared.reading.shelf import Shelf
from shared.reading.views import View
from shared.resources import Resources

EntryKey = tuple[IndexId, bool, bool, FileWanted, View | None]
"""An index, whether everyone may read it, whether it keeps its files on the public side, the file, and what the index
is merged with: a view that changed is another one."""


class Reader:
    """Finds files, in memory first."""

    def __init__(self, resources: Resources, limits: Limits, fetching: Fetching) -> None:
        self._resources = resources
        self._finding = Finding(resources, limits, fetching, Questions(resources, limits.page_seconds))
        self._limits = limits
        self._shelf: Shelf[EntryKey, Entry | Refused] = Shelf(limits.memory)
        self._known: set[IndexId] = set()
        resources.answered.followed = True
        resources.heads.subscribe(self._changed)
        resources.listener.subscribe(fetches.CHANNEL, self._mirrored)

    def kept(self, key: EntryKey) -> Entry | Refused | None:
        """Return what is in memory and up to date."""
        entry = self._shelf.get(key)
        if entry is not None and entry.until is not None and entry.until <= time.monotonic():
            return None
        return entry

    async def entry(self, where: Place, wanted: FileWanted) -> Entry:
        """Return a file that is served.

        Raises:
            ServiceError: it is not, and why; or why a small file's bytes cannot be had.
        """
        key = key_of(where, wanted)
        found = self.kept(key)
        if found is None:
            self._shelf.drop_kept(key)
            found = await self._shelf.fetch(key, lambda: self._find(where, wanted))
        if isinstance(found, Refused):
            raise found.error.again()
        return found

    async def _find(self, where: Place, wanted: FileWanted) -> Entry | Refused:
        found = await usecases.find(self._finding, where, wanted)
        return await or_attached(self._resources, self._limits, where, wanted, found)

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
        self._shelf.drop_group((index_id, ABSENT))
        # Which project a look-up under way will find is not known yet; doing it again costs one query.
        self._shelf.doubt(lambda key: _shows(key, index_id))

    async def _mirrored(self, what: str) -> None:
        """Drop what a mirror's new page changed; on a tick nothing: all that comes from mirrors has its time."""
        if (changed := fetches.changed_page(what)) is None:
            return
        index_id, project, at = changed.index_id, changed.project, changed.at

        def has(entry: Entry | Refused) -> bool:
            return at is not None and isinstance(entry, Entry) and _is_of_page(entry, index_id, at)

        self._shelf.drop_group((index_id, project), has)
        self._shelf.drop_group((index_id, ABSENT))
        self._shelf.doubt(lambda key: _shows(key, index_id) and _may_be_of(key, project), has)


def _is_of_page(entry: Entry, index_id: IndexId, at: datetime) -> bool:
    """Return whether a file was found on a mirror's page that is as new as a moment."""
    return entry.page is not None and entry.page[0] == index_id and entry.page[1] >= at


def _may_be_of(key: EntryKey, project: NormalizedName) -> bool:
    """Return whether mirrors are looked into for a file under a project's name: a crowd of installers has pages of
    other projects come in all the time, and none of them is to have it look again."""
    return project in projects_named(key[3].file_name)


def _shows(key: EntryKey, index_id: IndexId) -> bool:
    """Return whether what is kept under a key may be a file of an index."""
    return key[0] == index_id or (key[4] is not None and index_id in key[4].ids)


def key_of(where: Place, wanted: FileWanted) -> EntryKey:
    """Return under what a file is kept."""
    return where.record.id, where.open, where.record.public, wanted, where.view
