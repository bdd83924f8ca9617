"""Who lays the static pages of an index when: one at a time, with a rest in between, and nobody waits without need.

Each publication asks for its pages to be laid. While one lays, the next one to ask waits for it and then lays what has
come together; all others leave it to that one and are done. Their jobs may be settled, since the job of the one that
waits is open: when this process is killed, that job comes again, and it lays whatever is behind. Nobody waits for
longer than a job can afford, nor rests after a laying that failed: then the job has its whole time for laying.
Source: architecture sections 5.6 and 11.2 (the static tree lags by seconds).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from services.index.settings import Limits
from shared.ids import IndexId
from shared.service import Later

_LATER = 5.0
"""Seconds until a job that waited for its turn in vain comes again."""


@dataclass(slots=True, eq=False)
class _Turn:
    """An index: whether somebody waits to lay it, and when that may begin, in monotonic seconds."""

    waits: bool = False
    not_before: float = 0.0
    laying: asyncio.Lock = field(default_factory=asyncio.Lock)


class Turns:
    """Takes turns at the indexes of this process."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._turns: dict[IndexId, _Turn] = {}
        self._resting = 0

    async def take(self, index_id: IndexId, lay: Callable[[], Awaitable[object]]) -> bool:
        """Lay an index when its turn comes, or return False at once when somebody waits for that already.

        Raises:
            Later: another lays for longer than is waited here; the time would be missing for laying.
            Exception: what `lay` raised.
        """
        turn = self._turns.setdefault(index_id, _Turn())
        if turn.waits:
            return False
        turn.waits = True
        try:
            try:
                # Not `wait_for`: on Python 3.11 it can lose a cancellation that comes with the lock.
                async with asyncio.timeout(self._limits.lay_patience):
                    await turn.laying.acquire()
            except TimeoutError:
                raise Later(_LATER, "another job lays this index") from None
            try:
                await self._rest(turn.not_before)
            except BaseException:
                turn.laying.release()
                raise
        finally:
            # From here on a publication may come too late for this turn.
            turn.waits = False
        begun, turn.not_before = time.monotonic(), 0.0
        try:
            await lay()
            ended = time.monotonic()
            rest = max(self._limits.lay_rest, (ended - begun) * self._limits.lay_share)
            turn.not_before = ended + min(rest, self._limits.lay_longest_rest)
        finally:
            turn.laying.release()
        return True

    async def _rest(self, until: float) -> None:
        # Jobs that rest take places from others: with many indexes at work, some go without.
        seconds = until - time.monotonic()
        if seconds <= 0 or self._resting >= self._limits.resting_at_once:
            return
        self._resting += 1
        try:
            await asyncio.sleep(seconds)
        finally:
            self._resting -= 1
