"""Removes rows that are over, now and then: each would else stay for ever."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from datetime import timedelta
from typing import ClassVar

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.clock import Clock

log = structlog.get_logger()

SWEEP_EVERY = timedelta(minutes=10)

BATCH = 1000
"""Rows of one transaction."""


class Sweep(ABC):
    """Removes rows of one kind, in batches; several processes may do it at once.

    Attributes:
        kind: what the log calls the rows.
    """

    kind: ClassVar[str]

    def __init__(self, engine: AsyncEngine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    async def run(self) -> None:
        """Sweep now and every `SWEEP_EVERY`, until cancelled; a failure is logged, and ends nothing."""
        while True:
            try:
                removed = await self.sweep()
                if removed:
                    log.info("swept", kind=self.kind, removed=removed)
            except (SQLAlchemyError, OSError) as error:
                log.warning("not_swept", kind=self.kind, error=str(error)[:500])
            await asyncio.sleep(SWEEP_EVERY.total_seconds())

    async def sweep(self) -> int:
        """Remove what is over; returns how many rows."""
        removed = 0
        while found := await self._batch():
            removed += found
        return removed

    @abstractmethod
    async def _batch(self) -> int:
        """Remove up to `BATCH` rows in one transaction; returns how many."""
