"""Rows and states of the outbox for tests."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.catalogue.tables import Account, IndexRow, Outbox
from shared.catalogue.unit_of_work import UnitOfWork
from shared.ids import IndexId, OutboxId, new_uuid
from shared.jobs.messages import Message


async def make_index(engine: AsyncEngine, name: str = "stable") -> IndexId:
    """Make an index that jobs can be about."""
    index_id, now = IndexId(new_uuid()), datetime.now(UTC)
    owner = f"owner-{name}"
    index = {"id": index_id, "owner": owner, "name": name, "life": 1, "type": "stage", "visibility": "public"}
    async with engine.begin() as connection:
        await connection.execute(insert(Account).values(name=owner, created_at=now))
        await connection.execute(
            insert(IndexRow).values(**index, volatile=False, admission="strict", settings={}, created_at=now)
        )
    return index_id


async def enqueue(engine: AsyncEngine, *messages: Message) -> None:
    """Commit jobs as a use case does."""
    async with UnitOfWork(engine) as work:
        for message in messages:
            await work.enqueue(message)
        await work.commit()


async def row(engine: AsyncEngine, outbox_id: OutboxId | None = None) -> Any:
    """Return one row of the outbox: the given one, or the only one."""
    async with engine.connect() as connection:
        query = select(Outbox.__table__)
        return (await connection.execute(query if outbox_id is None else query.where(Outbox.id == outbox_id))).one()


async def open_rows(engine: AsyncEngine) -> int:
    """Return how many jobs are open."""
    query = select(Outbox.id).where(Outbox.done_at.is_(None), Outbox.dead_at.is_(None))
    async with engine.connect() as connection:
        return len((await connection.execute(query)).all())


async def until_settled(engine: AsyncEngine, *, seconds: float = 20) -> None:
    """Wait until no job is open."""
    async with asyncio.timeout(seconds):
        while await open_rows(engine):
            await asyncio.sleep(0.02)
