"""Fifteen days of two signing processes on one catalogue, watched by stock clients whose clocks step with theirs."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.signing.jobs import RefreshLoop
from services.signing.publication.usecases import Publisher
from services.signing.upkeep.tidying import TidyLoop
from shared.catalogue.engine import open_engine
from shared.catalogue.tables import TufFile, TufHead
from shared.ids import IndexId
from shared.jobs.messages import PublishIndex
from shared.resources import Resources
from tests.integration.signing.changes import enqueue, upload
from tests.support import tree_audit
from tests.support.clock import SettableClock
from tests.support.factories import make_index
from tests.support.resources import service_resources
from tests.support.tree_audit import folder_reader
from tests.support.tuf_reader import TreeReader

DAYS = 15
STEP = timedelta(minutes=92)
"""More than the hour after which a timestamp is due, so that it is by either clock."""

BEHIND = timedelta(seconds=40)
"""By which the second process's clock is behind; a minute is what processes allow."""

SHARE = 37
"""A seventh of 256 bins."""


@pytest.fixture
async def second(
    resources: Resources, database: str, tmp_path: Path, clock: SettableClock
) -> AsyncIterator[tuple[Resources, SettableClock]]:
    """A second process on the same catalogue and store, with connections and a clock of its own."""
    engine, behind = open_engine(database, pool=5), SettableClock(clock.now() - BEHIND)
    async with service_resources(engine, tmp_path, clock=behind) as opened:
        yield opened, behind
    await engine.dispose()


async def taken_jobs(engine: AsyncEngine) -> list[IndexId]:
    """Take the refreshes that were asked for, as the relay does."""
    query = "update outbox set done_at = now() where done_at is null and kind = 'refresh_index' returning index_id"
    async with engine.begin() as connection:
        return [IndexId(row.index_id) for row in await connection.execute(text(query))]


async def signed_at(engine: AsyncEngine, version: int) -> list[str]:
    """Return the bins that a batch has signed."""
    async with engine.connect() as connection:
        query = select(TufFile.role).where(TufFile.version == version, TufFile.role != "snapshot")
        return list(await connection.scalars(query))


async def shortest(engine: AsyncEngine, now: datetime) -> dict[str, timedelta]:
    """Return how long the timestamp, the snapshot and the oldest bin are still good."""
    async with engine.connect() as connection:
        head = await connection.scalar(select(TufHead.timestamp_expires_at))
        bins = select(func.min(TufFile.expires_at)).where(TufFile.current, TufFile.role != "snapshot")
        snapshot = select(TufFile.expires_at).where(TufFile.current, TufFile.role == "snapshot")
        ends = {"bins": await connection.scalar(bins), "snapshot": await connection.scalar(snapshot)}
    return {role: end - now for role, end in (ends | {"timestamp": head}).items() if end is not None}


async def version_of(engine: AsyncEngine) -> int:
    """Return the head's version."""
    async with engine.connect() as connection:
        return await connection.scalar(select(TufHead.timestamp_version)) or 0


@pytest.mark.timeout(300)
async def test_no_client_fails_in_fifteen_days(
    resources: Resources, second: tuple[Resources, SettableClock], clock: SettableClock, tmp_path: Path
) -> None:
    """Two processes with clocks apart get every job, uploads come in between, trees are tidied; a warm
    client, before and while they sign, and a cold one each day never fail, and no signature comes near its end."""
    others, behind = second
    index = await make_index(resources.engine)
    await enqueue(resources, PublishIndex(index.id))
    publishers = [Publisher(resources), Publisher(others)]
    await publishers[0].publish(index.id)
    reader = TreeReader(tmp_path / "public/indexes/root/stable", tmp_path / "warm")
    by_day: Counter[int] = Counter()
    seen = await version_of(resources.engine)
    for step in range(1, int(timedelta(days=DAYS) / STEP) + 1):
        clock.advance(STEP)
        behind.advance(STEP)
        now = clock.now()
        reader.refreshed(now)
        assert min((await shortest(resources.engine, now)).values()) > timedelta(hours=22)
        if step % 50 == 0:
            await upload(resources, index, f"widget-1.{step}-py3-none-any.whl")
        await asyncio.gather(RefreshLoop(resources).look(), RefreshLoop(others).look())
        assert set(await taken_jobs(resources.engine)) == {index.id}
        both = (publisher.publish(index.id) for publisher in publishers)
        await asyncio.gather(*both, asyncio.to_thread(reader.refreshed, now))
        version = await version_of(resources.engine)
        assert version == seen + 1, "one refresh, whoever made it"
        seen = version
        by_day[int(step * STEP / timedelta(days=1))] += len(await signed_at(resources.engine, version))
        if step % 16 == 0:
            await asyncio.gather(TidyLoop(resources).look(), TidyLoop(others).look())
            TreeReader(reader.tree, tmp_path / f"cold-{step}").refreshed(now)
            left = await shortest(resources.engine, now)
            assert left["timestamp"] > timedelta(hours=12)
            assert left["snapshot"] > timedelta(days=2)
            assert left["bins"] > timedelta(days=5)
    assert all(SHARE - 4 <= by_day[day] <= SHARE + 4 for day in range(1, DAYS)), by_day
    found = tree_audit.audit(folder_reader(tmp_path / "public", "root/stable"))
    assert (found.faults, len(found.listed("widget"))) == ([], 4)
    async with resources.engine.connect() as connection:
        oldest = await connection.scalar(select(func.min(TufFile.superseded_at)).where(~TufFile.current))
    assert oldest is not None
    assert clock.now() - oldest < timedelta(hours=48) + 16 * STEP, "what was superseded earlier is gone"
