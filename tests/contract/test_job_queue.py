"""What every job queue keeps, run on the one in memory and on arq with a real Valkey."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from shared.ids import FileId, IndexId, OutboxId, ProjectId, new_uuid
from shared.jobs.arq_queue import ArqQueue, WorkerOptions
from shared.jobs.memory_queue import MemoryQueue
from shared.jobs.messages import Envelope, LayPages, Message, PublishIndex, RefreshIndex
from shared.jobs.queue import Handler, JobQueue

SOON = 5.0
"""Seconds in which something must happen that takes milliseconds."""


@pytest.fixture(params=["memory", "arq"])
async def queue(request: pytest.FixtureRequest, valkey_url: str) -> AsyncIterator[JobQueue]:
    """Each adapter in turn, empty."""
    queue: JobQueue = MemoryQueue()
    if request.param == "arq":
        queue = ArqQueue(valkey_url, WorkerOptions(poll_delay=timedelta(milliseconds=10)))
    yield queue
    await queue.close()


@pytest.fixture
def numbers() -> Iterator[int]:
    """Numbers of outbox rows."""
    return iter(range(1, 1_000_000))


@asynccontextmanager
async def consuming(queue: JobQueue, name: str, handler: Handler) -> AsyncIterator[None]:
    """Consume while the context is open."""
    task = asyncio.create_task(queue.consume(name, handler))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def index_id() -> IndexId:
    """Return a new index's id."""
    return IndexId(new_uuid())


async def test_every_kind_of_message_travels(queue: JobQueue, numbers: Iterator[int]) -> None:
    """A message arrives as it was sent, with its row's number, in the queue it names."""
    messages: list[Message] = [
        PublishIndex(index_id()),
        PublishIndex(index_id(), ProjectId(new_uuid()), FileId(new_uuid())),
        RefreshIndex(index_id()),
        LayPages(index_id()),
    ]
    sent = [Envelope(OutboxId(next(numbers)), message) for message in messages]
    arrived: dict[str, list[Envelope]] = {"signing": [], "index": []}
    done = asyncio.Event()

    def collect(name: str) -> Handler:
        async def handle(envelope: Envelope) -> None:
            arrived[name].append(envelope)
            if sum(map(len, arrived.values())) == len(sent):
                done.set()

        return handle

    for envelope in sent:
        await queue.send(envelope)
    async with consuming(queue, "signing", collect("signing")), consuming(queue, "index", collect("index")):
        await asyncio.wait_for(done.wait(), SOON)
    assert sorted(arrived["signing"], key=lambda envelope: envelope.outbox_id) == sent[:3]
    assert arrived["index"] == sent[3:]


async def test_what_is_sent_while_consuming_arrives(queue: JobQueue, numbers: Iterator[int]) -> None:
    """A waiting consumer gets what is sent later, once."""
    arrived: asyncio.Queue[Envelope] = asyncio.Queue()
    async with consuming(queue, "index", arrived.put):
        for _ in range(20):
            envelope = Envelope(OutboxId(next(numbers)), LayPages(index_id()))
            await queue.send(envelope)
            assert await asyncio.wait_for(arrived.get(), SOON) == envelope
        await asyncio.sleep(0.1)
    assert arrived.empty()


async def test_several_at_once(queue: JobQueue, numbers: Iterator[int]) -> None:
    """A job that takes long does not hold up the next ones."""
    started: set[OutboxId] = set()
    all_started = asyncio.Event()
    release = asyncio.Event()

    async def wait(envelope: Envelope) -> None:
        started.add(envelope.outbox_id)
        if len(started) == 4:
            all_started.set()
        await release.wait()

    async with consuming(queue, "index", wait):
        for _ in range(4):
            await queue.send(Envelope(OutboxId(next(numbers)), LayPages(index_id())))
        await asyncio.wait_for(all_started.wait(), SOON)
        release.set()


async def test_two_consumers_share(queue: JobQueue, numbers: Iterator[int]) -> None:
    """Of two consumers of one queue, one gets each job."""
    arrived: list[OutboxId] = []
    sent = [Envelope(OutboxId(next(numbers)), LayPages(index_id())) for _ in range(40)]

    async def collect(envelope: Envelope) -> None:
        arrived.append(envelope.outbox_id)
        await asyncio.sleep(0.005)

    async with consuming(queue, "index", collect), consuming(queue, "index", collect):
        for envelope in sent:
            await queue.send(envelope)
        async with asyncio.timeout(SOON):
            while len(arrived) < len(sent):
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
    assert sorted(arrived) == [envelope.outbox_id for envelope in sent]


async def test_a_stopped_consumer_leaves_the_rest(queue: JobQueue, numbers: Iterator[int]) -> None:
    """Cancelling a consumer ends it soon, ends its running jobs, and leaves the queue to the next one."""
    started = asyncio.Event()
    ended: list[str] = []

    async def hang(_envelope: Envelope) -> None:
        started.set()
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append("ended")

    await queue.send(Envelope(OutboxId(next(numbers)), LayPages(index_id())))
    async with asyncio.timeout(SOON):
        async with consuming(queue, "index", hang):
            await started.wait()
    assert ended == ["ended"]
    arrived: asyncio.Queue[Envelope] = asyncio.Queue()
    later = Envelope(OutboxId(next(numbers)), LayPages(index_id()))
    await queue.send(later)
    async with consuming(queue, "index", arrived.put):
        async with asyncio.timeout(SOON):
            while await arrived.get() != later:
                pass


async def test_only_known_queues_are_consumed(queue: JobQueue) -> None:
    """A name that no message uses is refused."""
    with pytest.raises((ValueError, KeyError)):
        await queue.consume("nonsense", hang_up)


async def hang_up(_envelope: Envelope) -> None:
    """Do nothing."""


async def test_ping(queue: JobQueue) -> None:
    """A queue that can be reached answers."""
    await queue.ping()
