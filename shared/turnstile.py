"""Lets requests begin a few at a time: of a crowd that comes at once the first are answered, not all a little later.

An event loop takes one step of each request in turn. Of two hundred that come together the first would be at its second
step when all others had done their first, and have its first byte when nearly all have theirs. Nobody is held up here
for long: where turns of the loop take long, or more come than begin, all go on that waited for `PATIENCE`.
"""

from __future__ import annotations

import asyncio
from collections import deque

AT_ONCE = 1
"""Requests that begin in one turn of the event loop; to begin one takes some 0.3 ms."""


PATIENCE = 0.02
"""Seconds after which nobody waits for a turn of his own: the first of a crowd are well under way by then."""


class Turnstile:
    """In front of an application; for one event loop."""

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._at_once = at_once
        self._begun = 0
        """Since the last turn of the event loop."""
        self._turning = False
        self._waiting: deque[tuple[float, asyncio.Future[None]]] = deque()
        """When each came, and what wakes him."""

    async def passed(self) -> None:
        """Return when it is this request's turn to begin; in the order of arrival."""
        loop = asyncio.get_running_loop()
        if not self._turning:
            self._turning = True
            loop.call_soon(self._turn, loop)
        if self._begun < self._at_once and not self._waiting:
            self._begun += 1
            return
        turn = loop.create_future()
        self._waiting.append((loop.time(), turn))
        await turn

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let in the next, and come again as long as anybody came."""
        self._turning = bool(self._begun or self._waiting)
        self._begun = 0
        late = loop.time() - PATIENCE
        while self._waiting and (self._begun < self._at_once or self._waiting[0][0] <= late):
            _, turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                self._begun += 1
        if self._turning:
            loop.call_soon(self._turn, loop)
