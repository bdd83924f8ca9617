"""Compares the laid documents about attestations with what an index shows; changes nothing.

Beside each attested file lie its provenance object and the list of its other bundles, of a file that is shown no more
empty ones. They are no targets, so that no signature tells when one is lost, or is another's. A running server lays
while this looks: what differs is looked at once more after a while, and is told when it differs still.
Source: architecture sections 6 and 11.8; ADR 0042.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.digest import sha256_of
from countermark.core.names import FileName, IndexName, NormalizedName
from services.index.attested_documents import EMPTY, Damaged, document_keys, documents_of
from services.index.replacing import seen_at
from shared.catalogue import attestations, provenance_due
from shared.catalogue.engine import one_by_one
from shared.catalogue.reading import laid_state
from shared.ids import IndexId
from shared.objects.interface import Key, ObjectStore
from shared.objects.keys import attested_prefix
from shared.resources import Resources

PATIENCE = 3.0
"""Seconds after which what differs is looked at once more; a publication is laid within one."""

_AT_ONCE = 4
"""Files of which documents are made at the same time."""

_EMPTY = {sha256_of(body) for body in EMPTY}

_MISSING = "not laid, of a file that is shown"
_OTHER = "laid with other bytes than what is shown"
_LEFT = "left over, of a file that is not shown"
_STRANGE = "laid of a name that the index never had: delete it from the object store"


@dataclass(frozen=True, slots=True)
class CheckedDocuments:
    """What a comparison found.

    Attributes:
        documents: how many there should be.
        faults: key -> what is wrong with what lies there, for people.
    """

    documents: int
    faults: Mapping[Key, str]

    @property
    def mendable(self) -> bool:
        """Whether laying them all again mends something."""
        return any(said != _STRANGE for said in self.faults.values())


Name = tuple[NormalizedName, FileName]


@dataclass(slots=True)
class _Look:
    """One look at the documents of an index.

    Attributes:
        suspects: keys that are looked at; None for all.
    """

    engine: AsyncEngine
    store: ObjectStore
    index_id: IndexId
    index: IndexName
    suspects: Collection[Key] | None = None
    documents: int = 0
    faults: dict[Key, str] = field(default_factory=dict)

    async def look(self) -> CheckedDocuments:
        """Look at all names that have documents, or should have, and at whatever else lies there.

        Raises:
            ObjectStoreError: the store failed.
        """
        async with one_by_one(self.engine) as connection:
            names = await provenance_due.names_laid(connection, self.index_id)
        keys = {key for name in names for key in document_keys(self.index, *name)}
        async for info in self.store.list(attested_prefix(self.index)):
            if info.key not in keys and self._is_meant(info.key) and await self._says_something(info.key):
                self.faults[info.key] = _STRANGE
        rest = iter(names)
        async with asyncio.TaskGroup() as group:
            for _ in range(_AT_ONCE):
                group.create_task(self._compare_names(rest))
        return CheckedDocuments(self.documents, dict(sorted(self.faults.items())))

    async def _compare_names(self, rest: Iterator[Name]) -> None:
        for name in rest:
            if any(map(self._is_meant, document_keys(self.index, *name))):
                await self._compare(*name)

    async def _compare(self, project: NormalizedName, name: FileName) -> None:
        keys = document_keys(self.index, project, name)
        # In this order, as when they are laid: what is shown is never older than what lies there.
        seen = [await seen_at(self.store, key) for key in keys]
        async with one_by_one(self.engine) as connection:
            rows = await attestations.of_shown_file(connection, self.index_id, project, name)
        if not rows:
            self.faults |= {
                key: _LEFT for key, there in zip(keys, seen, strict=True) if there and there.sha256 not in _EMPTY
            }
            return
        self.documents += len(keys)
        try:
            made = await documents_of(self.store, name, rows)
        except Damaged as error:
            self.faults[keys[0]] = f"cannot be compared, and not be laid again before that is put back: {error}"
            return
        for key, there, body in zip(keys, seen, made, strict=True):
            if there is None:
                self.faults[key] = _MISSING
            elif there.sha256 != sha256_of(body):
                self.faults[key] = _OTHER

    def _is_meant(self, key: Key) -> bool:
        return self.suspects is None or key in self.suspects

    async def _says_something(self, key: Key) -> bool:
        there = await seen_at(self.store, key)
        return there is not None and there.sha256 not in _EMPTY


async def check_attested(
    resources: Resources, index_id: IndexId, *, patience: float = PATIENCE
) -> CheckedDocuments | None:
    """Compare the documents about attestations of an index with what it shows; None when it was never published.

    Args:
        patience: seconds until what differs is looked at once more.

    Raises:
        ExceptionGroup: the store failed.
        ObjectStoreError: the same.
    """
    async with resources.engine.connect() as connection:
        state = await laid_state(connection, index_id)
    if state is None or state.serial == 0:
        return None
    store = resources.objects.side(public=state.public)
    found = await _Look(resources.engine, store, index_id, state.name).look()
    if not found.faults:
        return found
    await asyncio.sleep(patience)
    again = await _Look(resources.engine, store, index_id, state.name, suspects=set(found.faults)).look()
    return CheckedDocuments(found.documents, again.faults)
