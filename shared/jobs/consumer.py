"""The consumer: runs handlers on what the queue delivers, and writes into the outbox what came of it.

The outbox decides: a row that is no longer open is skipped, so a job delivered twice is done once where its handler is
idempotent. Source: style guide section 4 (jobs); architecture section 5.5.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.catalogue import outbox
from shared.catalogue.engine import CATALOGUE_AWAY
from shared.catalogue.unit_of_work import UnitOfWork
from shared.ids import OutboxId
from shared.jobs.messages import Envelope, Message
from shared.jobs.queue import JobQueue
from shared.metrics import Metrics
from shared.service import JobHandler, Later

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When a failed job is tried again: after `first`, doubling up to `longest`, until it failed `tries` times.

    Jobs that settle themselves (`Message.settles_itself`) are never given up and wait `longest_self_settling` at the
    most: somebody's upload waits for them.
    """

    first: timedelta = timedelta(seconds=1)
    longest: timedelta = timedelta(seconds=60)
    tries: int = 10
    longest_self_settling: timedelta = timedelta(seconds=15)

    def retry_in(self, message: Message, failures: int) -> timedelta | None:
        """Return how long to wait after the job failed for the `failures`th time; None: it is dead."""
        if failures >= self.tries and not message.settles_itself:
            return None
        longest = self.longest_self_settling if message.settles_itself else self.longest
        return min(self.first * (1 << min(failures - 1, 20)), longest)


class Consumer:
    """Does jobs. `handle` is the queue's `Handler`; `run` consumes every queue that has a handler here."""

    def __init__(
        self,
        engine: AsyncEngine,
        handlers: Mapping[type[Message], JobHandler],
        *,
        retry: RetryPolicy | None = None,
        job_timeout: timedelta = timedelta(seconds=120),
        metrics: Metrics | None = None,
    ) -> None:
        """Prepare.

        Args:
            handlers: message class -> what does such a job.
            job_timeout: after this a job is cancelled and counts as failed.
            metrics: where jobs are counted.
        """
        self._metrics = metrics
        self._engine = engine
        self._handlers = dict(handlers)
        self._retry = retry or RetryPolicy()
        self._job_timeout = job_timeout.total_seconds()
        self._running: set[OutboxId] = set()

    async def run(self, queue: JobQueue) -> None:
        """Consume until cancelled."""
        async with asyncio.TaskGroup() as consuming:
            for name in sorted({message.queue for message in self._handlers}):
                consuming.create_task(queue.consume(name, self.handle))

    async def handle(self, envelope: Envelope) -> None:
        """Do one job if its row is open, and record what came of it; raises only when cancelled."""
        if envelope.outbox_id in self._running:
            return
        self._running.add(envelope.outbox_id)
        began = time.monotonic()
        facts: dict[str, object] = {"outcome": "interrupted"}
        try:
            with structlog.contextvars.bound_contextvars(job_id=envelope.outbox_id):
                facts = await self._do(envelope)
        except CATALOGUE_AWAY as error:
            # The row stays as it is: the relay sends it again.
            facts = {"outcome": "catalogue away", "error": type(error).__name__}
        finally:
            self._running.discard(envelope.outbox_id)
            say = log.warning if "error" in facts else log.info
            seconds = time.monotonic() - began
            if self._metrics is not None:
                self._metrics.jobs.labels(envelope.message.kind, str(facts["outcome"])).inc()
                self._metrics.job_seconds.labels(envelope.message.kind).observe(seconds)
            milliseconds = round(seconds * 1000, 1)
            say("job", job_id=envelope.outbox_id, kind=envelope.message.kind, ms=milliseconds, **facts)

    async def _do(self, envelope: Envelope) -> dict[str, object]:
        """Do the job; returns outcome and circumstances for the log line."""
        async with UnitOfWork(self._engine) as work:
            if not await outbox.is_open(work.connection, envelope.outbox_id):
                return {"outcome": "skipped"}
        handler = self._handlers.get(type(envelope.message))
        try:
            if handler is None:
                raise LookupError(f"this process has no handler for {envelope.message.kind}")
            async with asyncio.timeout(self._job_timeout) as limit:
                await handler(envelope.message)
        except Later as later:
            async with UnitOfWork(self._engine) as work:
                await outbox.postpone(work.connection, [envelope.outbox_id], timedelta(seconds=later.seconds))
                await work.commit()
            return {"outcome": "later", "reason": str(later)}
        except Exception as error:
            late = handler is not None and limit.expired()
            text = f"took longer than {self._job_timeout:g} seconds" if late else f"{type(error).__name__}: {error}"
            return await self._record_failure(envelope, text) | {"exc_info": error}
        if not envelope.message.settles_itself:
            async with UnitOfWork(self._engine) as work:
                await outbox.relax(work.connection)
                await outbox.mark_done(work.connection, [envelope.outbox_id])
                await work.commit()
        return {"outcome": "done"}

    async def _record_failure(self, envelope: Envelope, error: str) -> dict[str, object]:
        async with UnitOfWork(self._engine) as work:
            failures = 1 + await outbox.attempts(work.connection, envelope.outbox_id)
            retry_in = self._retry.retry_in(envelope.message, failures)
            await outbox.mark_failed(work.connection, envelope.outbox_id, error, retry_in=retry_in)
            await work.commit()
        return {"outcome": "dead" if retry_in is None else "failed", "failures": failures, "error": error[:500]}
