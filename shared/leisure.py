"""Lets what nobody waits for come when there is time for it: while requests begin, it is put off for a moment.

What was fetched of an upstream is answered as soon as it is right, and kept then. While one client that resolves a
hundred packages asks for the next page, keeping the last one takes a fifth of the processor's time, and of the
connections to the catalogue, from what the client waits for. Source: ADR 0051.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import AbstractAsyncContextManager, suppress

from shared.turnstile import Turnstile

QUIET = 0.1
"""Seconds since the last request began, in which others would have come that belong to it: a client that resolves asks
again when an upstream far away has answered it."""

LONGEST = 0.25
"""Seconds for which something is put off at the most: others may wait for it in another process."""

ALONE = 1.0
"""The same where there is no other process."""

MOST = 8 << 20
"""Bytes that are put off, and not done yet, at the same time; what is more is not put off."""

_LAST = 2.0
"""Seconds that a process that ends gives to what was put off."""

_STEP = 0.002
"""Seconds until it is looked again whether there is time, and between those that go on then."""

_AT_ONCE = 2
"""That go on in one step: a request that comes now is not to wait for all of them."""


class Hurry:
    """Says that somebody waits after all for something that may be put off."""

    def __init__(self) -> None:
        self.asked = False
        """Whether anybody does."""
        self._turn: asyncio.Future[None] | None = None

    def now(self) -> None:
        """Have it done as soon as can be."""
        self.asked = True
        if self._turn is not None and not self._turn.done():
            self._turn.set_result(None)

    def wakes(self, turn: asyncio.Future[None]) -> None:
        """Tell what it wakes."""
        self._turn = turn


class Leisure:
    """Of one process and its event loop."""

    def __init__(self, turnstile: Turnstile) -> None:
        """Args: turnstile: through which its requests come."""
        self.longest = LONGEST
        """Seconds for which something is put off at the most."""
        self._turnstile = turnstile
        self._held = 0
        """Bytes of all that is put off and not done yet."""
        self._done = asyncio.Event()
        """Set by everything that is done."""
        self._waiting: deque[tuple[float, asyncio.Future[None]]] = deque()
        """Until when each waits, and what wakes it."""
        self._timer: asyncio.TimerHandle | None = None

    def put_off(self, weight: int, hurry: Hurry) -> AbstractAsyncContextManager[bool]:
        """Have something done when no request began for `QUIET`, in the order of arrival, after `longest` in any case;
        or at once, where more waits already than memory is to be taken for, or somebody waits for it. Yields whether it
        was put off.

        Args:
            weight: bytes that are held until it is done.
        """
        return _PutOff(self, weight, hurry)

    async def waited(self, weight: int, hurry: Hurry) -> bool:
        """Wait as `put_off` says; returns whether that was put off, and is to be let go of when it is done."""
        if hurry.asked or self._held + weight > MOST:
            return False
        self._held += weight
        try:
            await self._time(hurry)
        except BaseException:
            self.let_go(weight)
            raise
        return True

    def let_go(self, weight: int) -> None:
        """Note that something is done that was put off."""
        self._held -= weight
        self._done.set()

    async def end(self) -> None:
        """Have everything done that was put off, for a process that ends; what takes longer than 2 s is left."""
        self.longest = 0.0
        for _, turn in self._waiting:
            if not turn.done():
                turn.set_result(None)
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST):
                while self._held:
                    self._done.clear()
                    await self._done.wait()

    async def _time(self, hurry: Hurry) -> None:
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        hurry.wakes(turn)
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
        while self._waiting and (left > 0 or self._waiting[0][0] <= now or self._waiting[0][1].done()):
            _, turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                left -= 1
        if self._waiting:
            self._look_in(_STEP if now >= quiet_at else min(quiet_at, self._waiting[0][0]) - now)


class _PutOff:
    """What is put off, while a block lasts."""

    __slots__ = ("_hurry", "_leisure", "_waited", "_weight")

    def __init__(self, leisure: Leisure, weight: int, hurry: Hurry) -> None:
        self._leisure = leisure
        self._weight = weight
        self._hurry = hurry

    async def __aenter__(self) -> bool:
        self._waited = await self._leisure.waited(self._weight, self._hurry)
        return self._waited

    async def __aexit__(self, *_: object) -> None:
        if self._waited:
            self._leisure.let_go(self._weight)
