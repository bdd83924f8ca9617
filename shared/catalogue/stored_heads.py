"""How far the object store has come behind the heads. Writer: signing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import exists, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from countermark.core.digest import Sha256
from countermark.core.names import IndexName, TargetPath
from shared.catalogue.tables import IndexRow, Intent, Outbox, TufHead
from shared.ids import IndexId
from shared.jobs.messages import RefreshIndex


@dataclass(frozen=True, slots=True)
class Owed:
    """What the store lacks of an index's head.

    Attributes:
        stored: how far the store has come.
        version: of the head's timestamp.
        timestamp: its bytes.
        changes: target path -> its digest now, None for one that stopped existing; of all batches that are owed.
    """

    name: IndexName
    public: bool
    stored: int
    version: int
    timestamp: bytes
    changes: Mapping[TargetPath, Sha256 | None]


async def owed(connection: AsyncConnection, index_id: IndexId) -> Owed | None:
    """Return what was committed and is not known to be in the store; None when nothing is owed."""
    columns = (IndexRow.owner, IndexRow.name, IndexRow.visibility, TufHead.timestamp_version, TufHead.stored_version)
    head = (
        await connection.execute(
            select(*columns, TufHead.timestamp)
            .join(IndexRow, IndexRow.id == TufHead.index_id)
            .where(TufHead.index_id == index_id, TufHead.stored_version < TufHead.timestamp_version)
        )
    ).first()
    if head is None:
        return None
    rows = await connection.execute(
        select(Intent.path, Intent.sha256)
        # Those without a serial were never committed.
        .where(Intent.index_id == index_id, Intent.version > head.stored_version, Intent.serial.is_not(None))
        .order_by(Intent.version)
    )
    changes = {TargetPath(row.path): None if row.sha256 is None else Sha256(row.sha256) for row in rows}
    name = IndexName(head.owner, head.name)
    public = head.visibility == "public"
    return Owed(name, public, head.stored_version, head.timestamp_version, head.timestamp, changes)


async def mark_stored(connection: AsyncConnection, index_id: IndexId, version: int, *, before: int) -> None:
    """Note that the store holds a head and all before it.

    Args:
        before: how far the store had come when this was begun. When somebody stepped back since, nothing is noted.
    """
    await connection.execute(
        update(TufHead)
        .where(TufHead.index_id == index_id, TufHead.stored_version == before, TufHead.timestamp_version == version)
        .values(stored_version=version)
    )


async def step_back(connection: AsyncConnection, index_id: IndexId, version: int) -> bool:
    """Say that the plain copies of a head, and of those after it, are owed again, when a newer one was committed: the
    older copies may have been put over the newer. Returns whether that is so.

    The number changes each time, so that whoever is at work on the newer ones notices (`mark_stored`).
    """
    stepped = await connection.execute(
        update(TufHead)
        .where(TufHead.index_id == index_id, TufHead.timestamp_version > version)
        .values(stored_version=func.least(TufHead.stored_version, version) - 1)
    )
    return stepped.rowcount > 0


async def head_version(connection: AsyncConnection, index_id: IndexId) -> int | None:
    """Return the version of an index's timestamp, None before its first publication."""
    return await connection.scalar(select(TufHead.timestamp_version).where(TufHead.index_id == index_id))


async def waiting_heads(connection: AsyncConnection, expiring: datetime, committed: datetime) -> list[IndexId]:
    """Return the indexes whose timestamp runs out before a time, or whose head was committed before another and is not
    in the store; without those for which a refresh is asked already."""
    asked = exists().where(
        Outbox.index_id == TufHead.index_id,
        Outbox.kind == RefreshIndex.kind,
        Outbox.done_at.is_(None),
        Outbox.dead_at.is_(None),
    )
    behind = (TufHead.stored_version < TufHead.timestamp_version) & (TufHead.committed_at <= committed)
    due = or_(TufHead.timestamp_expires_at <= expiring, behind)
    rows = await connection.execute(select(TufHead.index_id).where(due, ~asked))
    return [IndexId(row.index_id) for row in rows]
