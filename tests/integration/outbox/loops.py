"""What works the outbox off in these tests, as quick as tests need it: listener, relays, consumer and a handler."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from shared.catalogue import outbox
from shared.catalogue.engine import open_engine
from shared.catalogue.listener import Listener
from shared.jobs.consumer import Consumer, RetryPolicy
from shared.jobs.messages import Message
from shared.jobs.queue import JobQueue
from shared.jobs.relay import Relay, RelayOptions
from shared.service import JobHandler

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
