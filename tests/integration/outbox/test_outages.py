"""Queue or database go away and come back, and no job is lost."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta

from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from deploy.postgres import PostgresServer
from deploy.valkey import ValkeyServer
from shared.catalogue.engine import open_engine
from shared.ids import IndexId
from shared.jobs.arq_queue import ArqQueue
from shared.jobs.memory_queue import MemoryQueue
from shared.jobs.messages import LayPages
from shared.jobs.relay import Relay, RelayOptions
from tests.integration.outbox.loops import QUICK_RELAY, Jobs, machinery, running
from tests.support.outbox import enqueue, make_index, row, until_settled
from tests.support.servers import copy_database, make_template, server_folder


async def test_rows_wait_while_the_queue_is_away(engine: AsyncEngine, index_id: IndexId) -> None:
    """What cannot be sent is due again soon, not only after the time for sending again."""
    queue = MemoryQueue()
    queue.available = False
    relay = Relay(engine, queue, RelayOptions(resend_after=timedelta(hours=1), first_pause=timedelta(milliseconds=50)))
    await enqueue(engine, LayPages(index_id))
    async with running(relay.run):
        await asyncio.sleep(0.3)
        assert (await row(engine)).sent_at is None
        queue.available = True
        async with asyncio.timeout(5):
            while (await row(engine)).sent_at is None:
                await asyncio.sleep(0.02)


async def test_an_emptied_queue_loses_nothing(
    database: str, engine: AsyncEngine, queue: ArqQueue, valkey_url: str, index_id: IndexId
) -> None:
    """Jobs that were sent and lost by the queue are sent again."""
    await enqueue(engine, *[LayPages(index_id)] * 5)
    assert await Relay(engine, queue, QUICK_RELAY).send_due() == 5
    async with Redis.from_url(valkey_url) as redis:
        await redis.flushall()
    jobs = Jobs()
    async with machinery(database, queue, {LayPages: jobs}):
        await until_settled(engine)
    assert len(jobs.done) == 5


async def test_emptied_again_and_again_under_load(
    database: str, engine: AsyncEngine, queue: ArqQueue, valkey_url: str, index_id: IndexId
) -> None:
    """A queue that is emptied while jobs are sent and run still loses nothing."""
    jobs = Jobs(seconds=0.01)
    async with machinery(database, queue, {LayPages: jobs}), Redis.from_url(valkey_url) as redis:
        for _ in range(10):
            await enqueue(engine, *[LayPages(index_id)] * 10)
            await asyncio.sleep(0.05)
            await redis.flushall()
        await until_settled(engine)
    assert len(jobs.done) == 100


async def test_valkey_goes_and_comes_back(database: str, engine: AsyncEngine, index_id: IndexId) -> None:
    """Relay and consumer outlive an outage of the queue; what was committed meanwhile is done afterwards."""
    jobs = Jobs()
    with server_folder() as folder:
        valkey = ValkeyServer(folder)
        await valkey.start()
        queue = ArqQueue(valkey.url)
        async with machinery(database, queue, {LayPages: jobs}):
            await enqueue(engine, LayPages(index_id))
            await until_settled(engine)
            await valkey.stop()
            await enqueue(engine, *[LayPages(index_id)] * 3)
            await asyncio.sleep(1.5)
            assert len(jobs.done) == 1
            await valkey.start()
            began = time.perf_counter()
            await until_settled(engine)
            print(f"done {time.perf_counter() - began:.2f} s after Valkey was back")
        assert len(jobs.done) == 4
        await queue.close()
        await valkey.stop()


async def test_postgres_goes_and_comes_back() -> None:
    """Relay and consumer outlive a restart of the catalogue."""
    jobs = Jobs()
    with server_folder() as folder:
        postgres = PostgresServer(folder / "postgres")
        valkey = ValkeyServer(folder / "valkey")
        await asyncio.gather(postgres.start(), valkey.start())
        await make_template(postgres.superuser_url)
        database = await copy_database(postgres.superuser_url, "test")
        queue = ArqQueue(valkey.url)
        engine = open_engine(database)
        index_id = await make_index(engine)
        async with machinery(database, queue, {LayPages: jobs}):
            await enqueue(engine, LayPages(index_id))
            await until_settled(engine)
            await engine.dispose()
            await postgres.stop()
            await asyncio.sleep(0.5)
            await postgres.start()
            await enqueue(engine, LayPages(index_id))
            began = time.perf_counter()
            await until_settled(engine)
            print(f"done {time.perf_counter() - began:.2f} s after Postgres was back")
        assert len(jobs.done) == 2
        await engine.dispose()
        await queue.close()
        await asyncio.gather(postgres.stop(), valkey.stop())
