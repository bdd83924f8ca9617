"""What follows a head's commit into the object store: the timestamp, last of all, then the plain copies of the targets.

The head says how far the store has come (`stored_version`). What a killed process left undone is done by the next
holder of the lease, from the head and the intents alone. One that was paused and replaced cannot put its older
timestamp over a newer one; it may put older plain copies over newer ones, and says so when it sees the newer head: then
these are owed again.
Source: architecture section 5; trust contract section 2.6 (a sweeper puts what the store lacks).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog

from countermark.core.names import IndexName, TargetPath
from services.signing.publication import tree
from shared.catalogue import stored_heads
from shared.catalogue.outbox import relax
from shared.catalogue.publication_rows import IndexFacts
from shared.catalogue.stored_heads import Owed
from shared.catalogue.unit_of_work import UnitOfWork
from shared.faults import FaultPoint, reached
from shared.ids import IndexId
from shared.objects.interface import ObjectStore
from shared.resources import Resources

log = structlog.get_logger()

_PART = 200
"""Plain copies that are held in memory at a time."""


@dataclass(frozen=True, slots=True)
class Committed:
    """A head that was committed just now: the index, version and bytes of its timestamp, and the version before it, up
    to which the store had come."""

    index: IndexFacts
    version: int
    timestamp: bytes
    before: int


async def follow(
    resources: Resources, head: Committed, copies: Mapping[TargetPath, bytes], unset: Iterable[TargetPath]
) -> None:
    """Bring the store up to a head that was committed just now.

    Args:
        copies: the targets that the batch has set.
        unset: those it has unset.

    Raises:
        ObjectStoreError: the store cannot be used; the next holder of the lease makes it good.
    """
    store, name = resources.objects.side(public=head.index.public), head.index.name
    if not await tree.put_timestamp(store, name, head.timestamp):
        await _say_if_ahead(resources, head.index.id, name, head.version)
    else:
        reached(FaultPoint.STORE_TIMESTAMP)
        async with _noted(resources, head.index.id, head.version, head.before):
            await tree.put_plain(store, name, copies, unset)
            reached(FaultPoint.STORE_PLAIN)


async def make_good(resources: Resources, index_id: IndexId) -> None:
    """Put what an earlier holder of the lease committed and did not put: nothing, as a rule.

    Raises:
        ObjectStoreError: the store cannot be used.
    """
    async with resources.engine.connect() as connection:
        owed = await stored_heads.owed(connection, index_id)
    if owed is None:
        return
    store = resources.objects.side(public=owed.public)
    if await tree.put_timestamp(store, owed.name, owed.timestamp):
        async with _noted(resources, index_id, owed.version, owed.stored):
            await _copy_plain(store, owed)
        log.warning("store_made_good", index=str(owed.name), version=owed.version, targets=len(owed.changes))
    else:
        await _say_if_ahead(resources, index_id, owed.name, owed.version)


async def _say_if_ahead(resources: Resources, index_id: IndexId, name: IndexName, version: int) -> None:
    """Tell the operator when a newer timestamp in the store is of no head in the catalogue. As a rule it is: another
    signer has taken over, and with it what is owed."""
    async with resources.engine.connect() as connection:
        newest = await stored_heads.head_version(connection, index_id)
    if newest is not None and newest <= version:
        hint = "the catalogue is older than the object store: see 'After a restored backup' in docs/operating.md"
        log.error("store_is_ahead", index=str(name), version=version, hint=hint)


async def _copy_plain(store: ObjectStore, owed: Owed) -> None:
    paths = list(owed.changes)
    for start in range(0, len(paths), _PART):
        part = paths[start : start + _PART]
        copies: dict[TargetPath, bytes] = {}
        for path in part:
            digest = owed.changes[path]
            content = None if digest is None else await tree.read_target(store, owed.name, path, digest)
            if content is not None:
                copies[path] = content
        await tree.put_plain(store, owed.name, copies, [path for path in part if owed.changes[path] is None])


@asynccontextmanager
async def _noted(resources: Resources, index_id: IndexId, version: int, before: int) -> AsyncIterator[None]:
    """Note, after plain copies were put, that the store has come up to a head; or that newer ones are owed again, when
    another signer has committed one meanwhile. The latter also when putting failed, since some may have been put."""
    whole = False
    try:
        yield
        whole = True
    finally:
        async with UnitOfWork(resources.engine) as work:
            # Lost in a power cut, it has the same bytes put once more.
            await relax(work.connection)
            if await stored_heads.step_back(work.connection, index_id, version):
                log.warning("store_steps_back", index_id=str(index_id), version=version)
            elif whole:
                await stored_heads.mark_stored(work.connection, index_id, version, before=before)
            await work.commit()
