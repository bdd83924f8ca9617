"""From a committed outbox row to the handler and back, through real Postgres and Valkey."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable
from itertools import pairwise

from sqlalchemy.ext.asyncio import AsyncEngine

from shared.catalogue import outbox
from shared.catalogue.unit_of_work import UnitOfWork
from shared.ids import IndexId, OutboxId
from shared.jobs.arq_queue import ArqQueue
from shared.jobs.consumer import Consumer
from shared.jobs.memory_queue import MemoryQueue
from shared.jobs.messages import Envelope, LayPages, PublishIndex, RefreshIndex
from shared.jobs.relay import Relay, RelayOptions
from shared.service import Later
from tests.integration.outbox.loops import QUICK_RETRY, Jobs, machinery, running
from tests.support.outbox import enqueue, open_rows, row, until_settled


async def test_jobs_are_done_soon(
    database: str,
    engine: AsyncEngine,
    queue: ArqQueue,
    index_id: IndexId,
    record_property: Callable[[str, object], None],
) -> None:
    """From the commit to the handler pass a few tens of milliseconds, and the row is settled as done."""
    jobs = Jobs()
    waits = []
    async with machinery(database, queue, {LayPages: jobs}):
        for _ in range(30):
            await enqueue(engine, LayPages(index_id))
            committed = time.perf_counter()
            waits.append(await asyncio.wait_for(jobs.began.get(), 5) - committed)
        await until_settled(engine)
    assert jobs.done == [LayPages(index_id)] * 30
    median, worst = statistics.median(waits[5:]) * 1000, max(waits[5:]) * 1000
    record_property("commit_to_handler_ms", {"median": round(median, 1), "worst": round(worst, 1)})
    print(f"commit to handler: median {median:.1f} ms, worst {worst:.1f} ms")
    assert median < 100


async def test_nothing_is_sent_without_a_commit(
    database: str, engine: AsyncEngine, queue: ArqQueue, index_id: IndexId
) -> None:
    """A use case that leaves without committing asks for nothing."""
    jobs = Jobs()
    async with machinery(database, queue, {LayPages: jobs}):
        async with UnitOfWork(engine) as work:
            await work.enqueue(LayPages(index_id))
        await enqueue(engine, LayPages(index_id))
        await until_settled(engine)
        await asyncio.sleep(0.1)
    assert jobs.done == [LayPages(index_id)]


async def test_a_publication_settles_itself(
    database: str, engine: AsyncEngine, queue: ArqQueue, index_id: IndexId
) -> None:
    """A job of that kind stays open when its handler returns, and is sent again until its work says it is done."""
    jobs = Jobs()
    async with machinery(database, queue, {PublishIndex: jobs}):
        await enqueue(engine, PublishIndex(index_id))
        for _ in range(3):
            await asyncio.wait_for(jobs.began.get(), 5)
        assert await open_rows(engine) == 1
        assert (await row(engine)).attempts == 0
        async with UnitOfWork(engine) as work:
            await outbox.mark_done(work.connection, [(await row(engine)).id])
            await work.commit()
        await asyncio.sleep(0.2)
        seen = jobs.began.qsize()
        await asyncio.sleep(1.0)
        assert jobs.began.qsize() == seen


async def test_a_failed_job_is_tried_again(
    database: str, engine: AsyncEngine, queue: ArqQueue, index_id: IndexId
) -> None:
    """A handler that raises is called again; what it said is kept with the row."""
    jobs = Jobs(failures=2)
    async with machinery(database, queue, {LayPages: jobs}):
        await enqueue(engine, LayPages(index_id))
        await until_settled(engine)
    found = await row(engine)
    assert (found.attempts, found.last_error, found.dead_at) == (2, "RuntimeError: the disk is on fire", None)
    assert found.done_at is not None
    assert len(jobs.done) == 1


async def test_a_job_that_comes_later_has_not_failed(
    database: str, engine: AsyncEngine, queue: ArqQueue, index_id: IndexId
) -> None:
    """However often its handler puts it off, it comes again after the time that was said, with no failure counted."""
    began: list[float] = []

    async def put_off(_message: object) -> None:
        began.append(time.monotonic())
        if len(began) < 3:
            raise Later(0.3, "not yet")

    async with machinery(database, queue, {LayPages: put_off}):
        await enqueue(engine, LayPages(index_id))
        await until_settled(engine)
    found = await row(engine)
    assert (found.attempts, found.last_error) == (0, None)
    assert [later - earlier >= 0.3 for earlier, later in pairwise(began)] == [True, True]


async def test_a_hopeless_job_dies_and_can_be_revived(
    database: str, engine: AsyncEngine, queue: ArqQueue, index_id: IndexId
) -> None:
    """After its last try a job is dead, is listed as such with its error, and runs again when an operator says so."""
    jobs = Jobs(failures=3)
    async with machinery(database, queue, {LayPages: jobs}):
        await enqueue(engine, LayPages(index_id))
        await until_settled(engine)
        async with UnitOfWork(engine) as work:
            [dead] = await outbox.listing(work.connection, dead=True)
        assert (dead.attempts, dead.last_error) == (3, "RuntimeError: the disk is on fire")
        await asyncio.sleep(0.2)
        assert jobs.began.qsize() == 3
        async with UnitOfWork(engine) as work:
            assert await outbox.revive(work.connection, dead.id)
            await work.commit()
        await until_settled(engine)
    assert jobs.done == [LayPages(index_id)]
    assert (await row(engine)).done_at is not None


async def test_a_job_that_takes_too_long_fails(
    database: str, engine: AsyncEngine, queue: ArqQueue, index_id: IndexId
) -> None:
    """A handler that does not end is cancelled and counts as failed, with words."""
    jobs = Jobs(seconds=30)
    async with machinery(database, queue, {LayPages: jobs}):
        await enqueue(engine, LayPages(index_id))
        await asyncio.wait_for(jobs.began.get(), 5)
        jobs.seconds = 0
        await until_settled(engine)
    found = await row(engine)
    assert (found.attempts, found.last_error) == (1, "took longer than 1 seconds")
    assert len(jobs.done) == 1


async def test_a_job_nobody_here_does_is_marked(
    database: str, engine: AsyncEngine, queue: ArqQueue, index_id: IndexId
) -> None:
    """A message without a handler in the process that got it fails with words instead of vanishing."""
    async with machinery(database, queue, {PublishIndex: Jobs()}):
        await enqueue(engine, RefreshIndex(index_id))
        await until_settled(engine)
    assert (await row(engine)).last_error == "LookupError: this process has no handler for refresh_index"


async def test_settled_rows_are_skipped(engine: AsyncEngine, index_id: IndexId) -> None:
    """A job that arrives for a row that is done, dead or unknown is not run."""
    jobs = Jobs()
    consumer = Consumer(engine, {LayPages: jobs}, retry=QUICK_RETRY)
    await enqueue(engine, LayPages(index_id))
    envelope = Envelope(OutboxId((await row(engine)).id), LayPages(index_id))
    await consumer.handle(envelope)
    await consumer.handle(envelope)
    await consumer.handle(Envelope(OutboxId(envelope.outbox_id + 1), LayPages(index_id)))
    assert len(jobs.done) == 1


async def test_a_job_delivered_twice_at_once_runs_once(engine: AsyncEngine, index_id: IndexId) -> None:
    """While a job runs, the same job delivered again to the same consumer is dropped."""
    jobs = Jobs(seconds=0.1)
    consumer = Consumer(engine, {PublishIndex: jobs})
    await enqueue(engine, PublishIndex(index_id))
    envelope = Envelope(OutboxId((await row(engine)).id), PublishIndex(index_id))
    await asyncio.gather(consumer.handle(envelope), consumer.handle(envelope))
    assert len(jobs.done) == 1


async def test_two_relays_send_each_row_once(engine: AsyncEngine, index_id: IndexId) -> None:
    """Relays that look at the same time divide the rows among them."""
    await enqueue(engine, *[LayPages(index_id)] * 300)
    queue = MemoryQueue()
    sent: list[Envelope] = []
    options = RelayOptions(batch=20)
    relays = [Relay(engine, queue, options) for _ in range(3)]
    while any([await asyncio.gather(*(relay.send_due() for relay in relays))][0]):
        pass

    async def collect(envelope: Envelope) -> None:
        sent.append(envelope)

    async with running(lambda: queue.consume("index", collect)):
        await asyncio.sleep(0.05)
    assert len(sent) == len({envelope.outbox_id for envelope in sent}) == 300


async def test_two_relays_and_a_burst(database: str, engine: AsyncEngine, queue: ArqQueue, index_id: IndexId) -> None:
    """A burst larger than a batch is done once each, with two relays at work."""
    jobs = Jobs()
    async with machinery(database, queue, {LayPages: jobs}, relays=2):
        began = time.perf_counter()
        await enqueue(engine, *[LayPages(index_id)] * 250)
        await until_settled(engine)
        print(f"250 jobs in {time.perf_counter() - began:.2f} s")
    assert len(jobs.done) == 250
