"""The outbox table: jobs that were decided with a state change. The table is the truth, the queue only wakes
workers."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy import Text, cast, func, literal, or_, select, text, update
from sqlalchemy import insert as sql_insert
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.catalogue.tables import Outbox, Project
from shared.ids import IndexId, OutboxId, ProjectId
from shared.jobs.messages import Envelope, InvalidMessage, Message, PublishIndex, ids_of, message_from

log = structlog.get_logger()

CHANNEL = "countermark_outbox"
"""Postgres notification channel: a commit that added a job; no payload."""

_OPEN = (Outbox.done_at.is_(None), Outbox.dead_at.is_(None))


@dataclass(frozen=True, slots=True)
class JobState:
    """One row of the outbox as an operator sees it."""

    id: OutboxId
    kind: str
    ids: dict[str, str]
    created_at: datetime
    attempts: int
    sent_at: datetime | None
    done_at: datetime | None
    dead_at: datetime | None
    last_error: str | None


@dataclass(frozen=True, slots=True)
class Waiting:
    """An open `publish_index` row: a change of an index that waits for its publication."""

    id: OutboxId
    message: PublishIndex


async def insert(connection: AsyncConnection, message: Message) -> OutboxId:
    """Add a job to the transaction of `connection` and wake the relay when it commits; returns its number."""
    row = sql_insert(Outbox).values(kind=message.kind, ids=ids_of(message), index_id=message.index_id)
    added = (await connection.execute(row.returning(Outbox.id))).scalar_one()
    await connection.execute(text(f"NOTIFY {CHANNEL}"))
    return OutboxId(added)


async def insert_for_projects(connection: AsyncConnection, index_id: IndexId, life: int) -> None:
    """Add a publication for every project of one life of an index that was not removed, also without files."""
    living = Project.removed_at.is_(None)
    ids = func.jsonb_build_object("index_id", cast(Project.index_id, Text), "project_id", cast(Project.id, Text))
    rows = select(literal(PublishIndex.kind), ids, Project.index_id).where(
        Project.index_id == index_id, Project.life == life, living
    )
    await connection.execute(sql_insert(Outbox).from_select(["kind", "ids", "index_id"], rows))
    await connection.execute(text(f"NOTIFY {CHANNEL}"))


async def insert_all(connection: AsyncConnection, messages: Sequence[Message]) -> list[OutboxId]:
    """Add jobs in one statement, otherwise as `insert`; returns their numbers."""
    if not messages:
        return []
    rows = [{"kind": message.kind, "ids": ids_of(message), "index_id": message.index_id} for message in messages]
    added = await connection.scalars(sql_insert(Outbox).returning(Outbox.id), rows)
    await connection.execute(text(f"NOTIFY {CHANNEL}"))
    return [OutboxId(number) for number in added]


async def relax(connection: AsyncConnection) -> None:
    """Let the transaction commit without waiting for the disk: for marks whose loss has a job sent or done again."""
    await connection.execute(text("SET LOCAL synchronous_commit = off"))


async def claim(connection: AsyncConnection, *, limit: int, resend_after: timedelta) -> list[Envelope]:
    """Take at most `limit` open rows that are due and put off their next sending by `resend_after`.

    Several relays may run: a row goes to one of them. A row that is no message of this version is left open for a
    process of the version that wrote it, and said so in the log.
    """
    due = (
        select(Outbox.id)
        .where(*_OPEN, Outbox.available_at <= func.now())
        .order_by(Outbox.available_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    rows = await connection.execute(
        update(Outbox)
        .where(Outbox.id.in_(due.scalar_subquery()))
        .values(sent_at=func.now(), available_at=func.now() + resend_after)
        .returning(Outbox.id, Outbox.kind, Outbox.ids)
    )
    envelopes = []
    for row in sorted(rows, key=lambda row: row.id):
        try:
            envelopes.append(Envelope(OutboxId(row.id), message_from(row.kind, row.ids)))
        except InvalidMessage as error:
            log.error("outbox_row_not_understood", outbox_id=row.id, reason=str(error))
    return envelopes


async def postpone(connection: AsyncConnection, ids: list[OutboxId], delay: timedelta) -> None:
    """Make rows due again after `delay`: they could not be handed to the queue."""
    await connection.execute(
        update(Outbox).where(Outbox.id.in_(ids)).values(available_at=func.now() + delay, sent_at=None)
    )


async def seconds_to_next(connection: AsyncConnection) -> float | None:
    """Return the seconds until the next open row is due (0 or less: now), None when there is none."""
    next_at = select(func.min(Outbox.available_at)).where(*_OPEN)
    seconds = await connection.scalar(select(func.extract("epoch", next_at.scalar_subquery() - func.now())))
    return None if seconds is None else float(seconds)


async def is_open(connection: AsyncConnection, outbox_id: OutboxId) -> bool:
    """Return whether the job is neither done nor dead."""
    return await connection.scalar(select(Outbox.id).where(Outbox.id == outbox_id, *_OPEN)) is not None


async def mark_done(connection: AsyncConnection, ids: list[OutboxId]) -> None:
    """Settle rows: their work is done."""
    await connection.execute(update(Outbox).where(Outbox.id.in_(ids), *_OPEN).values(done_at=func.now()))


async def mark_failed(
    connection: AsyncConnection, outbox_id: OutboxId, error: str, *, retry_in: timedelta | None
) -> None:
    """Record a failed try; due again after `retry_in`, or dead when that is None."""
    values: dict[str, object] = {"attempts": Outbox.attempts + 1, "last_error": error[:2000]}
    if retry_in is None:
        values["dead_at"] = func.now()
    else:
        values["available_at"] = func.now() + retry_in
    await connection.execute(update(Outbox).where(Outbox.id == outbox_id, *_OPEN).values(**values))
    # The relay may be asleep until a later moment than the row is due now.
    await connection.execute(text(f"NOTIFY {CHANNEL}"))


async def attempts(connection: AsyncConnection, outbox_id: OutboxId) -> int:
    """Return how often the job failed so far."""
    return await connection.scalar(select(Outbox.attempts).where(Outbox.id == outbox_id)) or 0


async def revive(connection: AsyncConnection, outbox_id: OutboxId) -> bool:
    """Open a dead row again, with its attempts counted from zero; returns whether there was such a row."""
    result = await connection.execute(
        update(Outbox)
        .where(Outbox.id == outbox_id, Outbox.dead_at.is_not(None))
        .values(dead_at=None, attempts=0, available_at=func.now())
    )
    await connection.execute(text(f"NOTIFY {CHANNEL}"))
    return result.rowcount > 0


async def listing(connection: AsyncConnection, *, dead: bool, limit: int = 100) -> list[JobState]:
    """Return the newest dead rows, or the open ones, at most `limit`."""
    condition = Outbox.dead_at.is_not(None) if dead else or_(Outbox.done_at.is_(None) & Outbox.dead_at.is_(None))
    columns = (Outbox.id, Outbox.kind, Outbox.ids, Outbox.created_at, Outbox.attempts, Outbox.sent_at, Outbox.done_at)
    rows = await connection.execute(
        select(*columns, Outbox.dead_at, Outbox.last_error).where(condition).order_by(Outbox.id.desc()).limit(limit)
    )
    return [JobState(**row._mapping) for row in rows]


async def waiting_changes(connection: AsyncConnection, index_id: IndexId, *, limit: int) -> list[Waiting]:
    """Return the oldest open `publish_index` rows of an index: the batch that waits.

    Args:
        limit: how many; what one transaction asked for stays together, so that there may be more.
    """
    query = (
        select(Outbox.id, Outbox.kind, Outbox.ids, Outbox.created_at)
        .where(Outbox.index_id == index_id, Outbox.kind == PublishIndex.kind, *_OPEN)
        .order_by(Outbox.id)
    )
    rows = list(await connection.execute(query.limit(limit)))
    if len(rows) == limit:
        # Rows of one transaction have its time; the others of the last row's are about to follow.
        rest = query.where(Outbox.created_at == rows[-1].created_at, Outbox.id > rows[-1].id)
        rows += await connection.execute(rest)
    found = []
    for row in rows:
        message = message_from(row.kind, row.ids)
        assert isinstance(message, PublishIndex)
        found.append(Waiting(OutboxId(row.id), message))
    return found


async def open_changes(connection: AsyncConnection, index_id: IndexId, project_id: ProjectId) -> list[OutboxId]:
    """Return the newest open `publish_index` rows of a project, at most 1,000: changes that wait for a publication."""
    rows = await connection.scalars(
        select(Outbox.id)
        .where(
            Outbox.index_id == index_id,
            Outbox.kind == PublishIndex.kind,
            Outbox.ids["project_id"].astext == str(project_id),
            *_OPEN,
        )
        .order_by(Outbox.id.desc())
        .limit(1000)
    )
    return [OutboxId(row) for row in rows]


async def done(connection: AsyncConnection, ids: Collection[OutboxId]) -> set[OutboxId]:
    """Return which of some jobs are done."""
    rows = await connection.scalars(select(Outbox.id).where(Outbox.id.in_(ids), Outbox.done_at.is_not(None)))
    return {OutboxId(row) for row in rows}
