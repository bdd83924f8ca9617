"""Lays the documents about attestations: the provenance object of each file that is shown, and the list of the bundles
that such an object cannot hold.

Neither says of which serial it is, as pages do: a client that is not ours reads them. So each process looks first at
what lies there, then asks the catalogue, and replaces on condition that nobody else did meanwhile: what it replaces was
made of an older state of the catalogue, or of the same one. A document is never deleted, since no store does that on a
condition: of a file that is shown no more an empty one is left, which proves nothing. And of an attested file that ever
was shown both are laid, also empty ones, and also when it was hidden before anybody came to lay them: so whoever was
overtaken does not find the place free.

Looked at are the names that a publication showed or hid since the index was laid the last time, and those of which a
mark says that a file got an attestation (`shared.catalogue.provenance_due`). That serial is recorded, and marks are
taken away, only after the documents were laid: whoever is killed before leaves them to the next.
Source: architecture sections 5, 6 and 11.8; ADR 0042.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.digest import sha256_of
from countermark.core.names import IndexName, NormalizedName
from services.index.attested_documents import Damaged, document_keys, documents_of
from services.index.replacing import TRIES, condition_of, seen_at
from shared.catalogue import attestations, provenance_due
from shared.catalogue.engine import one_by_one
from shared.catalogue.provenance_due import DueName
from shared.ids import FileId, IndexId
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

    async def lay(self, project: NormalizedName, *, since: int | None) -> int:
        """Bring the documents about a project up to what is shown; returns how many names were looked at.

        Args:
            since: up to which serial the index was laid; None to look at all names, for a rebuild.

        Raises:
            ExceptionGroup: the store failed, or other processes replace a document again and again.
        """
        async with one_by_one(self._engine) as connection:
            due = await provenance_due.names_due(connection, self._index_id, project, since=since)
        laid: list[int] = []
        damaged: list[FileId] = []
        rest = iter(due)
        async with asyncio.TaskGroup() as group:
            for _ in range(min(_AT_ONCE, len(due))):
                group.create_task(self._lay_names(project, rest, laid, damaged))
        # Each is one statement: transactions around them would cost as much again as all else here.
        if damaged:
            async with one_by_one(self._engine) as connection:
                await connection.execute(provenance_due.marking(damaged))
        if laid:
            async with one_by_one(self._engine) as connection:
                await provenance_due.settle(connection, laid)
        return len(due)

    async def _lay_names(
        self, project: NormalizedName, due: Iterator[DueName], laid: list[int], damaged: list[FileId]
    ) -> None:
        """Lay the documents of one name after the other of those that other tasks have not taken yet.

        Args:
            laid: gets the marks of those that were.
            damaged: gets a file of each of those that could not be, and have no mark.
        """
        for one in due:
            try:
                async with self._turns:
                    if one.ever_shown:
                        await self._lay(project, one)
            except Damaged as error:
                # One damaged bundle must not keep pages back; the next publication of the project comes here again.
                log.error("provenance_not_laid", index=str(self.index), file_name=one.name, error=str(error))
                damaged += [] if one.marks else [one.file_id]
            else:
                laid += one.marks

    async def _lay(self, project: NormalizedName, due: DueName) -> None:
        """Lay both documents of a name.

        Raises:
            Damaged: the provenance object cannot be made.
            ObjectStoreError: the store failed, or other processes replace a document again and again.
        """
        name = due.name
        keys = document_keys(self.index, project, name)
        for number in range(TRIES):
            # In this order: what is replaced is never newer than what the catalogue says after it was looked at. Of a
            # name that is new there is nothing to look at, as a rule; what is there all the same is not written over.
            unseen = due.is_new and number == 0
            seen = [None if unseen else await seen_at(self._store, key) for key in keys]
            async with one_by_one(self._engine) as connection:
                rows = await attestations.of_shown_file(connection, self._index_id, project, name)
            made = await documents_of(self._store, name, rows)
            try:
                for key, there, body in zip(keys, seen, made, strict=True):
                    if there is None or there.sha256 != sha256_of(body):
                        await self._store.put(key, body, condition_of(there))
            except (ObjectExists, PreconditionFailed):
                continue
            return
        raise ObjectStoreError(f"{keys[0]} is replaced again and again by other processes")
