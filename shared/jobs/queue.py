"""The job queue's port. A queue only wakes workers: the outbox table is the truth, so a queue may lose everything at
any moment."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from shared.jobs.messages import Envelope

Handler = Callable[[Envelope], Awaitable[None]]
"""Does one job. It never raises for a job that failed: failures are recorded in the outbox by
`shared.jobs.consumer`."""


class QueueUnavailable(Exception):
    """The queue cannot be reached; what was to be sent waits in the outbox. The message says what to do; `passing` when
    it may be over in a moment without anybody's doing."""

    def __init__(self, text: str, *, passing: bool = True) -> None:
        self.passing = passing
        super().__init__(text)


class JobQueue(Protocol):
    """At-least-once delivery of envelopes to one of several consumers."""

    async def send(self, envelope: Envelope) -> None:
        """Hand an envelope to the queue its message names.

        Raises:
            QueueUnavailable: it could not be handed over; the caller tries again later.
        """

    async def consume(self, queue: str, handler: Handler) -> None:
        """Run `handler` on what arrives in `queue`, several at once, until cancelled; outlives outages of the queue.

        Args:
            queue: one of `shared.jobs.messages.QUEUES`.
        """

    async def ping(self) -> None:
        """Return when the queue answers.

        Raises:
            QueueUnavailable: it does not.
        """

    async def close(self) -> None:
        """Free connections."""
