"""The relay: sends due rows of the outbox to the queue, and again while their work is not done.

Several may run; each row goes to one of them at a time.
Source: architecture section 5.3; style guide section 4 (outbox).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.catalogue import outbox
from shared.catalogue.engine import CATALOGUE_AWAY
from shared.catalogue.unit_of_work import UnitOfWork
from shared.faults import FaultPoint, reached
from shared.jobs.messages import Envelope
from shared.jobs.queue import JobQueue, QueueUnavailable

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class RelayOptions:
    """How a relay sends.

    `batch` rows are claimed at a time. A row whose work is not done is sent again `resend_after` after the last time.
    While the queue is away, rows wait `first_pause`, doubling up to `longest_pause`. Without any notice the relay looks
    at least every `longest_sleep`.
    """

    batch: int = 100
    resend_after: timedelta = timedelta(seconds=5)
    first_pause: timedelta = timedelta(milliseconds=250)
    longest_pause: timedelta = timedelta(seconds=5)
    longest_sleep: timedelta = timedelta(seconds=10)


class Relay:
    """Sends what the outbox holds; give `wake` to the `Listener` for `outbox.CHANNEL`, then `run` it."""

    def __init__(self, engine: AsyncEngine, queue: JobQueue, options: RelayOptions | None = None) -> None:
        self._engine = engine
        self._queue = queue
        self._options = options or RelayOptions()
        self._woken = asyncio.Event()
        self._failures = 0

    async def wake(self, _payload: str) -> None:
        """Look for due rows at once: something was added, or a notice may have been missed."""
        self._woken.set()

    async def run(self) -> None:
        """Send until cancelled; outlives outages of queue and catalogue."""
        while True:
            self._woken.clear()
            try:
                if await self.send_due() == self._options.batch:
                    continue
                pause = await self._until_next()
            except CATALOGUE_AWAY as error:
                log.warning("relay_waits_for_catalogue", error=type(error).__name__)
                pause = 1.0
            # Not `asyncio.wait_for`: on Python 3.11 it loses a cancellation that arrives together with a wake.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._woken.wait()

    async def send_due(self) -> int:
        """Send at most one batch of due rows and return how many were claimed."""
        async with UnitOfWork(self._engine) as work:
            await outbox.relax(work.connection)
            envelopes = await outbox.claim(
                work.connection, limit=self._options.batch, resend_after=self._options.resend_after
            )
            # Committed before anything is sent: else a fast worker could find its row still locked by us.
            await work.commit()
        if envelopes:
            reached(FaultPoint.RELAY_CLAIMED)
        to_send = without_repeats(envelopes)
        for position, envelope in enumerate(to_send):
            try:
                await self._queue.send(envelope)
            except QueueUnavailable as error:
                sent = {done.outbox_id for done in to_send[:position]}
                await self._postpone([row for row in envelopes if row.outbox_id not in sent], error)
                break
            self._failures = 0
            reached(FaultPoint.RELAY_SENT)
        return len(envelopes)

    async def _postpone(self, unsent: list[Envelope], error: QueueUnavailable) -> None:
        pause = min(self._options.first_pause * 2 ** min(self._failures, 20), self._options.longest_pause)
        self._failures += 1
        log.warning("relay_waits_for_queue", rows=len(unsent), seconds=pause.total_seconds(), error=str(error))
        async with UnitOfWork(self._engine) as work:
            await outbox.postpone(work.connection, [envelope.outbox_id for envelope in unsent], pause)
            await work.commit()

    async def _until_next(self) -> float:
        """Return the seconds to sleep unless woken."""
        async with UnitOfWork(self._engine) as work:
            seconds = await outbox.seconds_to_next(work.connection)
        longest = self._options.longest_sleep.total_seconds()
        # A row that is due and was not claimed is in another relay's hands: it needs no hurry.
        return longest if seconds is None else min(max(seconds, 0.05), longest)


def without_repeats(envelopes: Sequence[Envelope]) -> list[Envelope]:
    """Return the envelopes to send of those claimed together: of the changes of an index the newest, of all else each.

    Whoever publishes an index publishes all that waits in it, and goes on until nothing does; so one wake-up stands for
    them all. The rows of the others are sent again like any that are not settled.
    """
    newest = {(type(each.message), each.message.index_id): each for each in envelopes if each.message.settles_itself}
    return [
        each
        for each in envelopes
        if not each.message.settles_itself or newest[type(each.message), each.message.index_id] is each
    ]
