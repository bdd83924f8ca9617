"""From a committed outbox row to the handler and back, through real Postgres and Valkey, also while these fail."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise

import pytest
from redis.asyncio import Redis
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from deploy.postgres import PostgresServer
from deploy.valkey import ValkeyServer
from shared.catalogue import outbox
from shared.catalogue.engine import open_engine
from shared.catalogue.listener import Listener
from shared.catalogue.tables import Outbox
from shared.catalogue.unit_of_work import UnitOfWork
from shared.ids import IndexId, OutboxId
from shared.jobs.arq_queue import ArqQueue, WorkerOptions
from shared.jobs.consumer import Consumer, RetryPolicy
from shared.jobs.memory_queue import MemoryQueue
from shared.jobs.messages import Envelope, LayPages, Message, PublishIndex, RefreshIndex
from shared.jobs.queue import JobQueue
from shared.jobs.relay import Relay, RelayOptions
from shared.service import JobHandler, Later
from tests.support.outbox import enqueue, make_index, open_rows, row, until_settled
from tests.support.servers import copy_database, make_template, server_folder

QUICK_RETRY = RetryPolicy(
    first=timedelta(milliseconds=20), longest=timedelta(milliseconds=50), tries=3, longest_self_settling=timedelta(0)
)
QUICK_RELAY = RelayOptions(
    resend_after=timedelta(milliseconds=700),
    first_pause=timedelta(milliseconds=50),
    longest_pause=timedelta(milliseconds=400),
)


@dataclass
class Jobs:
    """A handler that remembers what it was asked to do, and fails as often as told."""

    failures: int = 0
    seconds: float = 0

    def __post_init__(self) -> None:
        self.done: list[Message] = []
        self.began: asyncio.Queue[float] = asyncio.Queue()

    async def __call__(self, message: Message) -> None:
        """Do a job."""
        self.began.put_nowait(time.perf_counter())
        await asyncio.sleep(self.seconds)
        if self.failures > 0:
            self.failures -= 1
            raise RuntimeError("the disk is on fire")
        self.done.append(message)


@asynccontextmanager
async def running(*loops: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Run loops while the context is open."""
    tasks = [asyncio.ensure_future(loop()) for loop in loops]
    try:
        yield
        for task in tasks:
            assert not task.done(), task
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task


@asynccontextmanager
async def machinery(
    database_url: str, queue: JobQueue, handlers: Mapping[type[Message], JobHandler], *, relays: int = 1
) -> AsyncIterator[None]:
    """Run listener, relays and a consumer as a process does."""
    engine = open_engine(database_url, pool=5)
    listener = Listener(database_url, tick=timedelta(seconds=2))
    started = [Relay(engine, queue, QUICK_RELAY) for _ in range(relays)]
    for relay in started:
        listener.subscribe(outbox.CHANNEL, relay.wake)
    consumer = Consumer(engine, handlers, retry=QUICK_RETRY, job_timeout=timedelta(seconds=1))
    try:
        async with running(listener.run, *(relay.run for relay in started), lambda: consumer.run(queue)):
            yield
    finally:
        await engine.dispose()


@pytest.fixture
async def queue(valkey_url: str) -> AsyncIterator[ArqQueue]:
    """The real queue, empty."""
    queue = ArqQueue(valkey_url, WorkerOptions(claim_lifetime=timedelta(seconds=1)))
    yield queue
    await queue.close()


@pytest.fixture
async def index_id(engine: AsyncEngine) -> IndexId:
    """An index that jobs can be about."""
    return await make_index(engine)


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


async def test_strange_things_in_the_queue(
    database: str, engine: AsyncEngine, queue: ArqQueue, valkey_url: str, index_id: IndexId
) -> None:
    """Whatever somebody writes into the queue, nothing of it is run and jobs still get through."""
    jobs = Jobs()
    key = "countermark:queue:index"
    async with machinery(database, queue, {LayPages: jobs}), Redis.from_url(valkey_url) as redis:
        await enqueue(engine, LayPages(index_id))
        await until_settled(engine)
        strange: list[tuple[bytes, float, bytes]] = [
            (
                b"pickled",
                1,
                b"\x80\x04\x95\x17\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94.",
            ),
            (b"json", 1, b'{"f": ["deliver"], "a": {}, "k": [], "t": "x", "et": {}}'),
            (b"message", 1, b'{"t": null, "f": "deliver", "a": [{"outbox_id": 1, "kind": "x", "ids": {}}], "et": 1}'),
            (b"\xff\xfe", 1, b"{}"),
            (b"endless", float("-inf"), b"{}"),
        ]
        for member, score, body in strange:
            await redis.set(b"arq:job:" + member, body)
            await redis.zadd(key, {member: score})
            await asyncio.sleep(0.1)
            await enqueue(engine, LayPages(index_id))
        await until_settled(engine)
        await redis.delete(key)
        await redis.set(key, "no sorted set at all")
        await enqueue(engine, LayPages(index_id))
        await until_settled(engine)
        assert not await redis.exists(key)
    assert jobs.done == [LayPages(index_id)] * 7


async def test_rows_of_another_version_hold_nothing_up(
    database: str, engine: AsyncEngine, queue: ArqQueue, index_id: IndexId
) -> None:
    """A row of a kind that this version does not know stays open for another one, and the rest is done."""
    async with engine.begin() as connection:
        await connection.execute(insert(Outbox).values(kind="from_the_future", ids={"x": "y"}, index_id=index_id))
    jobs = Jobs()
    async with machinery(database, queue, {LayPages: jobs}):
        await enqueue(engine, *[LayPages(index_id)] * 3)
        async with asyncio.timeout(5):
            while await open_rows(engine) > 1:
                await asyncio.sleep(0.02)
    assert len(jobs.done) == 3
