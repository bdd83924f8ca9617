"""Compares this machine's clock with the database's: who signs or judges by a wrong clock does harm.

A signer whose clock is behind signs what has expired already; one that is ahead, what outlives its time. The database's
clock is the one that all processes share. Between two looks the clock is held against the kernel's count of seconds,
which nobody sets, so that a jump is noticed before anything is signed.
"""

from __future__ import annotations

import asyncio
import time
from datetime import datetime, timedelta

import structlog
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.catalogue.engine import CATALOGUE_AWAY
from shared.clock import Clock
from shared.jobs.messages import Message
from shared.service import JobHandler

log = structlog.get_logger()

MOST = timedelta(seconds=60)
"""How far the two clocks may be apart: more than NTP ever leaves, less than any lifetime we sign."""

LOOK_EVERY = timedelta(seconds=10)
"""How often the clocks are compared."""


class ClockWrong(Exception):
    """This machine's clock is not the database's. The message says by how much and what to do."""


class ClockWatch:
    """What is known of this machine's clock."""

    def __init__(self, engine: AsyncEngine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self._fault: str | None = None
        self._looked: tuple[datetime, float] | None = None
        self.skew = 0.0
        """Seconds by which this machine's clock is ahead, as far as the look itself can tell."""

    async def look(self) -> None:
        """Compare the clocks now.

        Raises:
            SQLAlchemyError: the catalogue is away (or another of `CATALOGUE_AWAY`).
        """
        async with self._engine.connect() as connection:
            before = self._clock.now()
            there = await connection.scalar(select(func.clock_timestamp()))
            after = self._clock.now()
        assert isinstance(there, datetime), "clock_timestamp() is one"
        # The answer was made between the two moments, so only what lies outside them is a difference.
        self.skew = max((before - there).total_seconds(), min(0.0, (after - there).total_seconds()))
        self._looked = (after, time.monotonic())
        fault = _fault(self.skew)
        if fault is not None and self._fault is None:
            log.error("clock_wrong", fault=fault)
        self._fault = fault

    async def check(self) -> None:
        """Return when the clock is right as far as is known; for readiness, and it makes no query.

        Raises:
            ClockWrong: it is not.
        """
        if self._fault is not None:
            raise ClockWrong(self._fault)

    def guarded(self, handler: JobHandler) -> JobHandler:
        """Return a handler that does nothing while the clock is wrong; the job stays in the outbox."""

        async def guarded(message: Message) -> None:
            if self._jumped():
                await self.look()
            await self.check()
            await handler(message)

        return guarded

    async def run(self) -> None:
        """Look every `LOOK_EVERY`, until cancelled; while the catalogue is away the last verdict holds."""
        while True:
            await asyncio.sleep(LOOK_EVERY.total_seconds())
            try:
                await self.look()
            except CATALOGUE_AWAY as error:
                log.info("clock_not_compared", error=type(error).__name__)

    def _jumped(self) -> bool:
        if self._looked is None:
            return True
        then, counted = self._looked
        passed = timedelta(seconds=time.monotonic() - counted)
        return abs(self._clock.now() - then - passed) > MOST / 2


def _fault(skew: float) -> str | None:
    if abs(skew) <= MOST.total_seconds():
        return None
    side = "ahead of" if skew > 0 else "behind"
    return (
        f"this machine's clock is {abs(skew):.0f} seconds {side} the database's: "
        "set both by NTP; nothing is signed until they agree"
    )
