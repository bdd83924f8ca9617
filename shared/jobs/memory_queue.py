"""The job queue in memory: for tests only. Passes the same contract suite as the real one."""

from __future__ import annotations

import asyncio

from shared.jobs.messages import QUEUES, Envelope
from shared.jobs.queue import Handler, QueueUnavailable


class MemoryQueue:
    """Hands envelopes to consumers of the same process. `available = False` plays an outage."""

    def __init__(self) -> None:
        self.available = True
        self._waiting: dict[str, asyncio.Queue[Envelope]] = {name: asyncio.Queue() for name in QUEUES}

    async def send(self, envelope: Envelope) -> None:
        """Hand an envelope to the queue its message names; see `JobQueue.send`."""
        await self.ping()
        self._waiting[envelope.message.queue].put_nowait(envelope)

    async def consume(self, queue: str, handler: Handler) -> None:
        """Run `handler` on what arrives, several at once, until cancelled; see `JobQueue.consume`."""
        waiting = self._waiting[queue]
        async with asyncio.TaskGroup() as running:
            while True:
                envelope = await waiting.get()
                running.create_task(_run(handler, envelope))

    async def ping(self) -> None:
        """Return when the queue answers; see `JobQueue.ping`."""
        if not self.available:
            raise QueueUnavailable("the queue in memory is switched off")

    async def close(self) -> None:
        """Free nothing."""


async def _run(handler: Handler, envelope: Envelope) -> None:
    await handler(envelope)
