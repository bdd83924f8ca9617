"""Lets what nobody waits for come when there is time for it: while requests begin, it is put off for a moment.

What was fetched of an upstream is answered as soon as it is right, and kept then. While one client that resolves a
hundred packages asks for the next page, keeping the last one takes a fifth of the processor's time, and of the
connections to the catalogue, from what the client waits for. Source: ADR 0051.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from shared.turnstile import Turnstile

QUIET = 0.02
"""Seconds since the last request began, in which others would have come that belong to it."""

LONGEST = 0.25
"""Seconds for which something is put off at the most: others may wait for it in another process."""

ALONE = 1.0
"""The same where there is no other process."""

MOST = 16 << 20
"""Bytes that wait, or are being kept, at the same time; what is more is not put off."""

_STEP = 0.002
"""Seconds until it is looked again whether there is time, and between those that go on then."""

_AT_ONCE = 2
"""That go on in one step: a request that comes now is not to wait for all of them."""


class Leisure:
    """Of one process and its event loop."""

    def __init__(self, turnstile: Turnstile) -> None:
        """Args: turnstile: through which its requests come."""
        self.longest = LONGEST
        """Seconds for which something is put off at the most."""
        self._turnstile = turnstile
        self._held = 0
        """Bytes of all that is put off and not done yet."""
        self._waiting: deque[tuple[float, asyncio.Future[None]]] = deque()
        """Until when each waits, and what wakes it."""
        self._timer: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def put_off(self, weight: int) -> AsyncIterator[bool]:
        """Have something done when no request began for `QUIET`, in the order of arrival, after `longest` in any case;
        or at once, where more waits already than memory is to be taken for. Yields whether it was put off.

        Args:
            weight: bytes that are held until it is done.
        """
        if self._held + weight > MOST:
            yield False
            return
        self._held += weight
        try:
            await self._time()
            yield True
        finally:
            self._held -= weight

    async def _time(self) -> None:
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        self._waiting.append((loop.time() + self.longest, turn))
        self._look_in(_STEP)
        await turn

    def _look_in(self, seconds: float) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._look)

    def _look(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        quiet_at = self._turnstile.last + QUIET
        left = _AT_ONCE if now >= quiet_at else 0
        while self._waiting and (left > 0 or self._waiting[0][0] <= now):
            _, turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                left -= 1
        if self._waiting:
            self._look_in(_STEP if now >= quiet_at else min(quiet_at, self._waiting[0][0]) - now)
