"""Removes what an index's tree holds and nobody needs any more: superseded metadata and targets after the time of
readers in flight, and what batches left behind that were never published.

Metadata: a version's number is never used again, so nothing can name a superseded one anew, and no lease is needed.
Targets: their names are digests, and a later batch may name the same bytes again (a file that comes back). So they are
removed under the index's lease, in small parts that end long before its term: whoever was paused in between removes
nothing when it wakes. What slips through all the same is put again (`services.signing.upkeep.sweeping`).
Objects go before the rows that tell of them: killed anywhere, the next run goes on.

Roots and the other shared files are kept for ever.
Source: trust contract section 2.6; docs/adr/0036-retention.md.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy.ext.asyncio import AsyncConnection

from services.signing.publication import tree
from shared.catalogue import leases, tidying
from shared.catalogue.leases import Held, LeaseLost
from shared.catalogue.publication_rows import IndexFacts
from shared.catalogue.tidying import OldTarget
from shared.catalogue.unit_of_work import UnitOfWork
from shared.ids import IndexId
from shared.jobs.messages import RefreshIndex
from shared.objects.interface import Key, ObjectStore
from shared.objects.keys import metadata_key, target_key
from shared.resources import Resources

ORPHANED_AFTER = timedelta(days=1)
"""Age from which a file that no head ever named is removed. Source: trust contract section 2.6."""

MOST = 2000
"""Files of each kind that one run removes of an index at the most."""

_PART = 100
"""Files between two looks at the catalogue; under the lease publications wait for about as many deletes."""

_UNDER_LEASE = leases.TERM.total_seconds() / 2
"""Seconds from taking the lease in which targets are removed."""

_PUBLICATIONS, _STEPS = 50, 50
"""Publications that are looked at together, and how often in one run at the most."""


@dataclass(frozen=True, slots=True)
class Removed:
    """What a run removed; `more` when its bounds ended it."""

    metadata: int = 0
    targets: int = 0
    more: bool = False


async def remove_superseded(resources: Resources, index: IndexFacts, *, most: int = MOST) -> Removed:
    """Remove what was superseded long enough ago, and targets that were never published.

    Raises:
        ObjectStoreError: the store cannot be used; what is left is removed by a later run.
    """
    now = resources.clock.now()
    before = now - timedelta(hours=resources.settings.signing.keep_hours)
    metadata = await _remove_metadata(resources, index, before, most)
    targets, more = await _remove_targets(resources, index, before, most)
    orphans, more_orphans = await _remove_orphans(resources, index, now - ORPHANED_AFTER, most)
    return Removed(metadata, targets + orphans, more or more_orphans or metadata >= most)


async def _remove_metadata(resources: Resources, index: IndexFacts, before: datetime, most: int) -> int:
    store, removed, snapshots = resources.objects.side(public=index.public), 0, True
    while removed < most:
        limit = min(_PART, most - removed)
        async with resources.engine.connect() as connection:
            files = await tidying.superseded_metadata(connection, index.id, before, limit, snapshots=snapshots)
        if not files:
            # Snapshots go first, so that each that is there is whole.
            if not snapshots:
                break
            snapshots = False
            continue
        await tree.remove(store, [metadata_key(index.name, role, version) for role, version in files])
        async with UnitOfWork(resources.engine) as work:
            await tidying.forget_metadata(work.connection, index.id, files)
            await work.commit()
        removed += len(files)
    return removed


async def _remove_targets(resources: Resources, index: IndexFacts, before: datetime, most: int) -> tuple[int, bool]:
    """Go through the publications of before a moment, oldest first; returns how many lines went, and whether there are
    more."""
    removed = steps = 0
    while removed < most and steps < _STEPS:
        async with resources.engine.connect() as connection:
            span = await tidying.next_publications(connection, index.id, before, _PUBLICATIONS)
            if span is None:
                return removed, False
            (after, upto), limit = span, min(_PART, most - removed)
            read = partial(tidying.superseded_targets, index_id=index.id, after=after, upto=upto, limit=limit)
            lines = await read(connection)
        if lines:
            done = await _under_lease(resources, index, read)
            if not done:
                break
            removed += done
            continue
        async with UnitOfWork(resources.engine) as work:
            await tidying.note_publication(work.connection, index.id, upto)
            await work.commit()
        steps += 1
    return removed, True


async def _remove_orphans(resources: Resources, index: IndexFacts, before: datetime, most: int) -> tuple[int, bool]:
    """Remove targets of batches that were never published, once they lie there long enough."""
    store, removed, after = resources.objects.side(public=index.public), 0, (0, "")
    while removed < most:
        async with resources.engine.connect() as connection:
            lines = await tidying.orphaned_targets(connection, index.id, after, _PART)
        if not lines:
            return removed, False
        old = {(line.version, line.path) for line in lines if await _is_old(store, index, line, before)}
        if old:
            done = await _under_lease(resources, index, partial(_orphans, index_id=index.id, after=after, old=old))
            if not done:
                break
            removed += done
        after = (lines[-1].version, lines[-1].path)
    return removed, True


async def _orphans(
    connection: AsyncConnection, index_id: IndexId, after: tuple[int, str], old: Collection[tuple[int, str]]
) -> list[OldTarget]:
    """Read lines of unpublished batches again, now that nobody else signs."""
    lines = await tidying.orphaned_targets(connection, index_id, after, _PART)
    return [line for line in lines if (line.version, line.path) in old]


async def _is_old(store: ObjectStore, index: IndexFacts, line: OldTarget, before: datetime) -> bool:
    """Whether a line's object is older than a moment, or there is none that it alone stands for."""
    key = _key(index, line)
    if key is None:
        return True
    info = await store.head(key)
    return info is None or info.modified <= before


async def _under_lease(
    resources: Resources, index: IndexFacts, read: Callable[[AsyncConnection], Awaitable[Sequence[OldTarget]]]
) -> int:
    """Take the lease, read lines of intents, remove their objects and then the lines; returns how many.

    None, when another holds the lease: there will be another run.
    """
    until = time.monotonic() + _UNDER_LEASE
    async with UnitOfWork(resources.engine) as work:
        held = await leases.acquire(work.connection, index.id)
        await work.commit()
    if held is None:
        return 0
    try:
        async with UnitOfWork(resources.engine) as work:
            # Its commit waits for the disk: a lease that a power cut took back would be another's meanwhile.
            await leases.guard(work.connection, held)
            lines = await read(work.connection)
            await work.commit()
        store = resources.objects.side(public=index.public)
        done = [line for line in lines if await _removed(store, _key(index, line), until)]
        async with UnitOfWork(resources.engine) as work:
            await leases.guard(work.connection, held)
            await tidying.forget_targets(work.connection, index.id, done)
            await work.commit()
    except LeaseLost:
        resources.metrics.signing.fence_conflicts.inc()
        return 0
    finally:
        await _release(resources, held)
    return len(done)


async def _removed(store: ObjectStore, key: Key | None, until: float) -> bool:
    if time.monotonic() >= until:
        return False
    if key is not None:
        await store.delete(key)
    return True


async def _release(resources: Resources, held: Held) -> None:
    async with UnitOfWork(resources.engine) as work:
        if await leases.release(work.connection, held) is not None:
            # Somebody came for the lease meanwhile: it is let go of, and they are called back.
            await leases.release(work.connection, held, even_if_requested=True)
            await work.enqueue(RefreshIndex(held.index_id))
        await work.commit()


def _key(index: IndexFacts, line: OldTarget) -> Key | None:
    """Return the object that a line alone stands for."""
    return None if line.sha256 is None or line.wanted else target_key(index.name, line.path, line.sha256)
