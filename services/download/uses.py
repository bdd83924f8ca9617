"""Notes when fetched bytes were used, in memory, and writes it down once a minute: those used longest ago go first.

Source: architecture section 11.6; ADR 0028.
"""

from __future__ import annotations

import asyncio

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.catalogue import mirror_files
from shared.catalogue.engine import CATALOGUE_AWAY
from shared.catalogue.outbox import relax
from shared.clock import Clock
from shared.objects.interface import Key

log = structlog.get_logger()

_SECONDS = 60.0
"""Between two times that it is written down."""

_MOST = 100_000
"""Keys that wait for that."""

_AT_ONCE = 1000
"""Keys of one statement."""


class Uses:
    """Uses since they were last written down, and those that need not be for a while."""

    def __init__(self, engine: AsyncEngine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self._used: set[Key] = set()

    def note(self, key: Key) -> None:
        """Note a use. For hot paths."""
        if len(self._used) < _MOST:
            self._used.add(key)

    async def flush(self) -> None:
        """Write down what was used; rows of which that was noted within the hour are not touched.

        Raises:
            SQLAlchemyError: the catalogue could not take it, or is away (as the other `CATALOGUE_AWAY`).
        """
        used, self._used = sorted(self._used), set()
        for at in range(0, len(used), _AT_ONCE):
            async with self._engine.begin() as connection:
                await relax(connection)
                await mirror_files.note_used(connection, used[at : at + _AT_ONCE], self._clock.now())

    async def run(self) -> None:
        """Write down again and again. A loop of the service."""
        while True:
            await asyncio.sleep(_SECONDS)
            try:
                await self.flush()
            except CATALOGUE_AWAY as error:
                log.warning("uses_not_noted", error=str(error)[:500])
