"""Counts downloads in memory and adds them to the catalogue every few seconds, so that no download waits for it.

Source: architecture section 4 (the download service owns the counts).
"""

from __future__ import annotations

import asyncio

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.catalogue.downloads import add_downloads
from shared.catalogue.engine import CATALOGUE_AWAY
from shared.catalogue.unit_of_work import UnitOfWork
from shared.clock import Clock
from shared.ids import FileId

log = structlog.get_logger()

MAX_FILES = 100_000
"""Different files whose counts wait for the catalogue at the most (about 20 MB); while it is away that long, more files
are not counted."""

LAST_FLUSH = 5.0
"""Seconds the last flush of a process may take."""


class Downloads:
    """Downloads since the last flush. A process that is killed loses these and no others."""

    def __init__(self, engine: AsyncEngine, clock: Clock, seconds: float) -> None:
        """Args: seconds: between two flushes."""
        self._engine = engine
        self._clock = clock
        self._seconds = seconds
        self._counts: dict[FileId, int] = {}

    def count(self, file_id: FileId) -> None:
        """Count one download. For hot paths."""
        counts = self._counts
        before = counts.get(file_id)
        if before is not None:
            counts[file_id] = before + 1
        elif len(counts) < MAX_FILES:
            counts[file_id] = 1

    async def flush(self) -> None:
        """Add what was counted to the catalogue, under today's date; what cannot be added is kept for the next time.

        Raises:
            SQLAlchemyError: the catalogue could not take it, or is away (as the other `CATALOGUE_AWAY`).
        """
        counts, self._counts = self._counts, {}
        if not counts:
            return
        try:
            async with UnitOfWork(self._engine) as work:
                await add_downloads(work.connection, self._clock.now().date(), counts)
                await work.commit()
        except BaseException:
            for file_id, count in counts.items():
                self._counts[file_id] = self._counts.get(file_id, 0) + count
            raise

    async def run(self) -> None:
        """Flush again and again, and once more at the end. A loop of the service."""
        try:
            while True:
                await asyncio.sleep(self._seconds)
                flushing = asyncio.ensure_future(self._try())
                try:
                    await asyncio.shield(flushing)
                except asyncio.CancelledError:
                    # Not broken off: what is added already would be added again.
                    await flushing
                    raise
        finally:
            try:
                async with asyncio.timeout(LAST_FLUSH):
                    await self._try()
            except TimeoutError:
                log.warning("downloads_not_flushed", files=len(self._counts), error="timed out")

    async def _try(self) -> None:
        try:
            await self.flush()
        except CATALOGUE_AWAY as error:
            log.warning("downloads_not_flushed", files=len(self._counts), error=str(error)[:500])
