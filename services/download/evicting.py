"""Keeps the bytes that were fetched from upstreams below their limit: those used longest ago go first.

In this order, so that a process killed anywhere leaves nothing that is not removed later: a mark in the row, after
which nobody is sent to the store for it; the object; the row. Whoever is reading reads on. Only keys of mirrors are
touched.
Source: architecture section 11.6 ("bounded disk with eviction by last use"); ADR 0028.
"""

from __future__ import annotations

import asyncio
import os
from datetime import datetime, timedelta
from pathlib import Path

import structlog

from services.download.settings import Limits
from shared.catalogue import fetches, mirror_files
from shared.catalogue.engine import CATALOGUE_AWAY
from shared.fetching.fetching import Fetching
from shared.fetching.flight import SUFFIX
from shared.objects.interface import ObjectStoreError
from shared.objects.keys import MIRRORED
from shared.resources import Resources

log = structlog.get_logger()

_LOW = 0.95
"""Share of the limit down to which is removed, so that not every fetch removes something."""

_LOOKS = 30
"""Looks of a process that fetched nothing itself, of which one counts all the same."""

_LEFT_OVER = timedelta(hours=1)
"""How long nothing was written to an arriving file of a process that was killed."""


class Eviction:
    """The loop that removes."""

    def __init__(self, resources: Resources, limits: Limits, fetching: Fetching) -> None:
        self._resources = resources
        self._limits = limits
        self._fetching = fetching
        self._store = resources.objects.side(public=False)
        self._counted_at = -1

    async def run(self) -> None:
        """Look again and again. A loop of the service."""
        looks = 0
        while True:
            try:
                if looks % _LOOKS == 0:
                    folder = self._resources.settings.data / "staging"
                    await asyncio.to_thread(sweep_left_over, folder, self._now() - _LEFT_OVER)
                if looks % _LOOKS == 0 or self._counted_at != self._fetching.stored_bytes:
                    await self.evict()
                else:
                    await self.remove()
            except (*CATALOGUE_AWAY, ObjectStoreError) as error:
                log.warning("not_evicted", error=f"{type(error).__name__}: {error}"[:500])
            looks += 1
            await asyncio.sleep(self._limits.evict_seconds)

    async def evict(self) -> None:
        """Mark what is too much, and remove what was marked a while ago. One process at a time.

        Raises:
            ObjectStoreError: the store cannot be used; the marks stay.
        """
        async with fetches.turn(self._resources.engine, "eviction") as turn:
            if not turn.mine:
                return
            self._counted_at = self._fetching.stored_bytes
            limit = self._resources.settings.mirrors.cache_bytes
            async with self._resources.engine.connect() as connection:
                kept = await mirror_files.kept_bytes(connection)
            excess = kept - int(limit * _LOW) if kept > limit else 0
            while excess > 0:
                async with self._resources.engine.begin() as connection:
                    freed = await mirror_files.mark_oldest(connection, excess, self._now())
                if not freed:
                    break
                log.info("mirrored_bytes_evicted", length=freed)
                excess -= freed
        await self.remove()

    async def remove(self) -> None:
        """Remove what was marked a while ago.

        Raises:
            ObjectStoreError: the store cannot be used; the marks stay.
        """
        engine, before = self._resources.engine, self._now() - timedelta(seconds=self._limits.evict_grace)
        while True:
            async with engine.connect() as connection:
                keys = await mirror_files.marked(connection, before)
            if not keys:
                return
            for key in keys:
                assert key.startswith(MIRRORED), "hosted bytes have no such row"
                await self._store.delete(key)
            async with engine.begin() as connection:
                await mirror_files.note_removed(connection, keys)

    def _now(self) -> datetime:
        return self._resources.clock.now()


def sweep_left_over(folder: Path, before: datetime) -> int:
    """Remove files that were arriving when their process was killed; returns how many. Blocking.

    Args:
        before: when something was last written to them.

    Raises:
        OSError: the folder cannot be read.
    """
    removed = 0
    if not folder.is_dir():
        return removed
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(SUFFIX) and entry.is_file(follow_symlinks=False):
                try:
                    if entry.stat(follow_symlinks=False).st_mtime < before.timestamp():
                        Path(entry.path).unlink()
                        removed += 1
                except FileNotFoundError:
                    continue
    return removed
