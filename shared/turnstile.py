"""Lets requests begin a few at a time: of a crowd that comes at once the first are answered, not all a little later.

An event loop takes one step of each request in turn. Of two hundred that come together the first would be at its second
step when all others had done their first, and have its first byte when nearly all have theirs. So a request that
waits has not even been parsed. Nobody is held up for long: where turns of the loop take long, or more come than begin,
all go on that waited for `PATIENCE`.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable

AT_ONCE = 1
"""Requests that begin in one turn of the event loop; to begin one takes some 0.3 ms."""

PATIENCE = 0.06
"""Seconds after which nobody waits for a turn of his own: the first of a crowd are well under way by then."""


class Turnstile:
    """In front of what takes a while to begin; for one event loop."""

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self.last = -math.inf
        """When somebody began last, in seconds of the event loop."""
        self._at_once = at_once
        self._begun = 0
        """Since the last turn of the event loop."""
        self._turning = False
        self._waiting: deque[tuple[float, Callable[[], None]]] = deque()
        """When each came, and what begins it."""

    @property
    def free(self) -> bool:
        """Whether who comes now need not wait."""
        return self._begun < self._at_once and not self._waiting

    def begun(self) -> None:
        """Count somebody who begins now."""
        loop = asyncio.get_running_loop()
        self._begun += 1
        self.last = loop.time()
        self._turn_soon(loop)

    def wait(self, begin: Callable[[], None]) -> None:
        """Have somebody begin in turn, in the order of arrival.

        Args:
            begin: called then; it calls `begun` unless there was nothing to begin.
        """
        loop = asyncio.get_running_loop()
        self._waiting.append((loop.time(), begin))
        self._turn_soon(loop)

    async def passed(self) -> None:
        """Return when it is the caller's turn to begin."""
        if self.free:
            self.begun()
            return
        turn = asyncio.get_running_loop().create_future()

        def begin() -> None:
            if not turn.done():
                turn.set_result(None)
                self.begun()

        self.wait(begin)
        await turn

    def _turn_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._turning:
            self._turning = True
            loop.call_soon(self._turn, loop)

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let in the next, and come again as long as anybody waits."""
        self._turning = False
        if self._waiting:
            # First of all: whatever becomes of those who begin, the others get their turn.
            self._turn_soon(loop)
        self._begun = 0
        late = loop.time() - PATIENCE
        while self._waiting and (self._begun < self._at_once or self._waiting[0][0] <= late):
            _, begin = self._waiting.popleft()
            begin()
