"""Consumers that are killed, stopped or slow: each job is done by one, and left to the next in time."""

from __future__ import annotations

import asyncio
import sys
import time
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncEngine

from shared.ids import IndexId
from shared.jobs.arq_queue import ArqQueue, WorkerOptions
from shared.jobs.consumer import Consumer
from shared.jobs.messages import LayPages
from shared.jobs.relay import Relay, RelayOptions
from tests.integration.outbox.loops import QUICK_RELAY, Jobs, machinery, running
from tests.support.outbox import enqueue, open_rows, row, until_settled


async def test_a_killed_consumer_leaves_its_job_to_the_next(
    database: str, engine: AsyncEngine, queue: ArqQueue, valkey_url: str, index_id: IndexId
) -> None:
    """A job whose process was killed in the middle is run by another once its claim has run out."""
    await enqueue(engine, LayPages(index_id))
    relay = Relay(engine, queue, QUICK_RELAY)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.hanging_consumer", database, valkey_url, "1"),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    async with running(relay.run):
        # Lines of the log may come first.
        while (line := await asyncio.wait_for(process.stdout.readline(), 20)).strip() != b"began":
            assert line
    process.kill()
    await process.wait()
    assert (await row(engine)).done_at is None
    jobs = Jobs()
    killed = time.perf_counter()
    async with machinery(database, queue, {LayPages: jobs}):
        await until_settled(engine)
    print(f"done {time.perf_counter() - killed:.2f} s after the kill")
    assert jobs.done == [LayPages(index_id)]


async def test_a_stopped_consumer_hands_over_at_once(
    database: str, engine: AsyncEngine, queue: ArqQueue, index_id: IndexId
) -> None:
    """A job that is interrupted by an orderly end is run by the next process without waiting for a claim."""
    slow = Jobs(seconds=30)
    await enqueue(engine, LayPages(index_id))
    relay = Relay(engine, queue, RelayOptions(resend_after=timedelta(hours=1)))
    async with running(relay.run, lambda: Consumer(engine, {LayPages: slow}).run(queue)):
        await asyncio.wait_for(slow.began.get(), 5)
    found = await row(engine)
    assert (found.attempts, found.done_at) == (0, None)
    quick = Jobs()
    async with running(lambda: Consumer(engine, {LayPages: quick}).run(queue)):
        await asyncio.wait_for(quick.began.get(), 0.9)
        await until_settled(engine)


async def test_a_job_under_way_may_end_within_the_patience(
    database: str, engine: AsyncEngine, valkey_url: str, index_id: IndexId
) -> None:
    """An orderly end lets a job finish that needs no longer than it is given, and takes no other."""
    queue = ArqQueue(valkey_url, WorkerOptions(at_once=1, patience=timedelta(seconds=10)))
    slow = Jobs(seconds=1)
    await enqueue(engine, LayPages(index_id), LayPages(index_id))
    async with running(Relay(engine, queue).run, lambda: Consumer(engine, {LayPages: slow}).run(queue)):
        await asyncio.wait_for(slow.began.get(), 5)
    assert (len(slow.done), slow.began.qsize()) == (1, 0)
    assert await open_rows(engine) == 1
    await queue.close()


async def test_a_job_that_outlasts_the_patience_is_put_back(
    database: str, engine: AsyncEngine, valkey_url: str, index_id: IndexId
) -> None:
    """It is interrupted, counts as no failure, and the next consumer does it at once."""
    queue = ArqQueue(valkey_url, WorkerOptions(patience=timedelta(seconds=0.5)))
    slow, quick = Jobs(seconds=30), Jobs()
    await enqueue(engine, LayPages(index_id))
    relay = Relay(engine, queue, RelayOptions(resend_after=timedelta(hours=1)))
    async with running(relay.run, lambda: Consumer(engine, {LayPages: slow}).run(queue)):
        await asyncio.wait_for(slow.began.get(), 5)
    found = await row(engine)
    assert (slow.done, found.attempts, found.done_at) == ([], 0, None)
    async with running(lambda: Consumer(engine, {LayPages: quick}).run(queue)):
        await until_settled(engine)
    await queue.close()


async def test_a_long_job_is_not_run_twice(
    database: str, engine: AsyncEngine, queue: ArqQueue, index_id: IndexId
) -> None:
    """A job that outlasts claim and sending again is kept from other consumers while it runs."""
    jobs = Jobs(seconds=2.5)
    relay = Relay(engine, queue, QUICK_RELAY)
    consumers = [Consumer(engine, {LayPages: jobs}) for _ in range(2)]
    await enqueue(engine, LayPages(index_id))
    async with running(relay.run, *(lambda each=each: each.run(queue) for each in consumers)):
        await until_settled(engine)
        await asyncio.sleep(0.3)
    assert len(jobs.done) == 1
    assert jobs.began.qsize() == 1


async def test_claims_end_with_their_jobs(engine: AsyncEngine, valkey_url: str, index_id: IndexId) -> None:
    """A claim that is just being renewed when its job ends is not renewed for ever after."""
    queue = ArqQueue(valkey_url, WorkerOptions(claim_lifetime=timedelta(milliseconds=3)))
    jobs = Jobs(seconds=0.004)
    await enqueue(engine, *[LayPages(index_id)] * 100)
    async with running(Relay(engine, queue).run, lambda: Consumer(engine, {LayPages: jobs}).run(queue)):
        await until_settled(engine)
        async with asyncio.timeout(2):
            while any("renew" in str(task.get_coro()) for task in asyncio.all_tasks()):
                await asyncio.sleep(0.01)
    await queue.close()
