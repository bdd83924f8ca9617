"""Turns of work that is heavy, fairly: whoever asks for much waits behind those who ask for little.

Callers have queues of their own; the next is whose last turn was the longest ago, first of all who had none lately.
Each may have so much under way and so much waiting. Work that several ask for stands in the queue of each, and is begun
when the first of them has its turn.
Source: ADR 0044.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta

from shared.errors import ErrorKind, ServiceError

_RETRY_AFTER = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Shares:
    """How much may be asked for.

    Attributes:
        at_once: turns at the same time.
        at_once_each: of these for one caller.
        waiting: pieces of work that wait.
        waiting_each: of these for one caller.
        patience: seconds that a piece of work waits at the most.
        beyond: what a caller is told that has as many waiting as it may.
    """

    at_once: int
    at_once_each: int
    waiting: int
    waiting_each: int
    patience: float = 60.0
    beyond: ErrorKind = ErrorKind.TOO_MANY


@dataclass(eq=False, slots=True)
class Ticket:
    """A piece of work that waits for its turn, or has it: `caller` is whose turn it took then."""

    turn: asyncio.Event = field(default_factory=asyncio.Event)
    callers: set[str] = field(default_factory=set)
    caller: str | None = None


class FairTurns:
    """Gives turns."""

    def __init__(self, shares: Shares) -> None:
        self._shares = shares
        self._free = shares.at_once
        self._waiting = 0
        self._queues: dict[str, deque[Ticket]] = {}
        self._under_way: Counter[str] = Counter()
        self._turns = 0
        self._last: dict[str, int] = {}

    def ask(self, caller: str) -> Ticket:
        """Put a piece of work into a caller's queue; `turn` is to follow.

        Raises:
            ServiceError: UNAVAILABLE, all queues are full; TOO_MANY (or `beyond`), the caller has its share there.
        """
        if self._waiting >= self._shares.waiting:
            raise _busy(ErrorKind.UNAVAILABLE, "Too much is being verified right now; try again in a few seconds.")
        ticket = Ticket()
        self._queue(ticket, caller)
        self._waiting += 1
        self._begin()
        return ticket

    def share(self, ticket: Ticket, caller: str) -> None:
        """Let a piece of work that waits be a caller's as well, so that it never waits behind another's alone.

        Raises:
            ServiceError: TOO_MANY (or `beyond`); the caller has its share there.
        """
        if not ticket.turn.is_set() and caller not in ticket.callers:
            self._queue(ticket, caller)
            self._begin()

    @asynccontextmanager
    async def turn(self, ticket: Ticket) -> AsyncIterator[None]:
        """Wait for the turn of a piece of work, and hold it.

        Raises:
            ServiceError: UNAVAILABLE; it waited too long, and nothing was begun.
        """
        try:
            try:
                async with asyncio.timeout(self._shares.patience):
                    await ticket.turn.wait()
            except TimeoutError as error:
                words = "Too much is being verified right now, and this waited too long; try again in a few seconds."
                raise _busy(ErrorKind.UNAVAILABLE, words) from error
            yield
        finally:
            self._leave(ticket)

    def _queue(self, ticket: Ticket, caller: str) -> None:
        queue = self._queues.get(caller)
        if queue is not None and len(queue) >= self._shares.waiting_each:
            words = f"You have {len(queue)} files waiting to be verified, as many as one may have; wait for an answer."
            raise _busy(self._shares.beyond, words)
        if queue is None:
            queue = self._queues[caller] = deque()
        queue.append(ticket)
        ticket.callers.add(caller)

    def _begin(self) -> None:
        """Give what is free, to the callers in turn."""
        while self._free and (caller := self._next()) is not None:
            ticket = self._queues[caller][0]
            self._withdraw(ticket)
            ticket.caller = caller
            self._free -= 1
            self._under_way[caller] += 1
            self._turns += 1
            self._last[caller] = self._turns
            ticket.turn.set()

    def _next(self) -> str | None:
        most = self._shares.at_once_each
        may = (caller for caller in self._queues if self._under_way[caller] < most)
        return min(may, key=lambda caller: self._last.get(caller, 0), default=None)

    def _withdraw(self, ticket: Ticket) -> None:
        self._waiting -= 1
        for caller in ticket.callers:
            queue = self._queues[caller]
            queue.remove(ticket)
            if not queue:
                del self._queues[caller]
                self._forget(caller)

    def _leave(self, ticket: Ticket) -> None:
        if ticket.caller is None:
            self._withdraw(ticket)
            return
        self._free += 1
        self._under_way[ticket.caller] -= 1
        if not self._under_way[ticket.caller]:
            del self._under_way[ticket.caller]
            self._forget(ticket.caller)
        self._begin()

    def _forget(self, caller: str) -> None:
        """Forget when a caller had its last turn, once nothing of it waits or is under way."""
        if caller not in self._queues and not self._under_way[caller]:
            self._last.pop(caller, None)


def _busy(kind: ErrorKind, words: str) -> ServiceError:
    return ServiceError(kind, words, retry_after=_RETRY_AFTER)
