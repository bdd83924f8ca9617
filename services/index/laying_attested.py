"""Lays the documents about attestations: the provenance object of each file that is shown, and the list of the bundles
that such an object cannot hold.

Neither says of which serial it is, as pages do: a client that is not ours reads them. So each process looks first at
what lies there, then asks the catalogue, and replaces on condition that nobody else did meanwhile: what it replaces was
made of an older state of the catalogue, or of the same one. A document is never deleted, since no store does that on a
condition: of a file that is shown no more an empty one is left, which proves nothing. And of a file that has any
attestation both are laid, also empty ones, after a row has announced it: so whoever comes later has something to
replace, and whoever was overtaken does not find the place free.

Which names are due is told by the rows that say of what documents were laid, so that an attestation costs the documents
of its file and not those of all files of its project.
Source: architecture sections 5, 6 and 11.8.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.digest import sha256_of
from countermark.core.names import FileName, IndexName, NormalizedName
from services.index.attested_documents import Damaged, document_keys, documents_of
from services.index.replacing import TRIES, condition_of, seen_at
from shared.catalogue import laid_provenance
from shared.catalogue.engine import one_by_one
from shared.ids import IndexId
from shared.objects.interface import ObjectExists, ObjectStore, ObjectStoreError, PreconditionFailed

log = structlog.get_logger()

_AT_ONCE = 4
"""Files of which documents are made at the same time, of all projects: the largest take some 30 MiB."""


class AttestedLayer:
    """Lays the documents about attestations of one index's projects, those of a few files at a time."""

    def __init__(self, engine: AsyncEngine, store: ObjectStore, index_id: IndexId, index: IndexName) -> None:
        self.index = index
        self._engine = engine
        self._store = store
        self._index_id = index_id
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def lay(self, project: NormalizedName, *, full: bool) -> int:
        """Bring the documents about a project up to what is shown; returns how many names were looked at.

        Args:
            full: look at all names, also at those of which the documents are known to be right: for a rebuild.

        Raises:
            ExceptionGroup: the store failed, or other processes replace a document again and again.
        """
        async with one_by_one(self._engine) as connection:
            names = await laid_provenance.names_due(connection, self._index_id, project, full=full)
        rest = iter(names)
        async with asyncio.TaskGroup() as group:
            for _ in range(min(_AT_ONCE, len(names))):
                group.create_task(self._lay_names(project, rest))
        return len(names)

    async def _lay_names(self, project: NormalizedName, names: Iterator[FileName]) -> None:
        """Lay the documents of one name after the other of those that other tasks have not taken yet."""
        for name in names:
            try:
                async with self._turns:
                    await self._lay(project, name)
            except Damaged as error:
                # One damaged bundle must not keep pages back; the next publication of the project comes here again.
                log.error("provenance_not_laid", index=str(self.index), file_name=name, error=str(error))

    async def _lay(self, project: NormalizedName, name: FileName) -> None:
        """Lay both documents of a name.

        Raises:
            Damaged: the provenance object cannot be made.
            ObjectStoreError: the store failed, or other processes replace a document again and again.
        """
        keys = document_keys(self.index, project, name)
        # Each is one statement: transactions around them would cost as much again as all else here.
        async with one_by_one(self._engine) as connection:
            is_new = await laid_provenance.announce(connection, self._index_id, project, name)
        for number in range(TRIES):
            # In this order: what is replaced is never newer than what the catalogue says after it was looked at. Of a
            # name that nobody announced before there is nothing to look at; what comes meanwhile is not written over.
            unseen = is_new and number == 0
            seen = [None if unseen else await seen_at(self._store, key) for key in keys]
            async with one_by_one(self._engine) as connection:
                shown = await laid_provenance.shown_now(connection, self._index_id, project, name)
            made = await documents_of(self._store, name, shown.rows)
            try:
                for key, there, body in zip(keys, seen, made, strict=True):
                    if there is None or there.sha256 != sha256_of(body):
                        await self._store.put(key, body, condition_of(there))
            except (ObjectExists, PreconditionFailed):
                continue
            async with one_by_one(self._engine) as connection:
                await laid_provenance.mark(connection, self._index_id, project, name, shown)
            return
        raise ObjectStoreError(f"{keys[0]} is replaced again and again by other processes")
