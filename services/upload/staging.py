"""Removes what uploads left behind, in the staging folder and in the object store: a process that is killed cannot tidy
up behind itself.

Source: architecture section 6 (storage layout: staging is swept by age).
"""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta
from pathlib import Path

import structlog

from services.upload.spool import SUFFIX
from shared.clock import Clock
from shared.objects.interface import ObjectStoreError, ObjectStores
from shared.objects.keys import FILES, MIRRORED
from shared.objects.sweeping import PartsSweeper

log = structlog.get_logger()

SWEEP_EVERY = timedelta(minutes=30)
"""How often the folder and the store are looked at."""


class StagingSweep:
    """Removes files of the staging folder whose last byte came longer ago than `age`. Safe with several processes."""

    def __init__(self, folder: Path, age: timedelta, clock: Clock) -> None:
        self._folder = folder
        self._age = age
        self._clock = clock

    async def run(self) -> None:
        """Sweep now and every `SWEEP_EVERY`, until cancelled."""
        while True:
            try:
                removed = await asyncio.to_thread(self.sweep)
                if removed:
                    log.info("staging_swept", files=removed)
            except OSError as error:
                log.warning("staging_not_swept", error=str(error))
            await asyncio.sleep(SWEEP_EVERY.total_seconds())

    def sweep(self) -> int:
        """Remove what is too old; returns how many files. Blocking.

        Only regular files that uploads made are touched; a link is never followed.

        Raises:
            OSError: the folder cannot be read, or a file in it cannot be removed.
        """
        oldest = (self._clock.now() - self._age).timestamp()
        removed = 0
        try:
            with os.scandir(self._folder) as entries:
                for entry in entries:
                    if not entry.name.endswith(SUFFIX) or not entry.is_file(follow_symlinks=False):
                        continue
                    try:
                        if entry.stat(follow_symlinks=False).st_mtime < oldest:
                            Path(entry.path).unlink()
                            removed += 1
                    except FileNotFoundError:
                        continue  # Its upload ended, or another process sweeps too.
        except FileNotFoundError:
            return removed
        return removed


class PartsSweep:
    """Gives up uploads to the object store that began longer than `age` ago and never ended.

    A folder has none; S3 keeps their parts until they are given up. Safe with several processes: giving up what another
    gave up does nothing.
    """

    def __init__(self, stores: ObjectStores, age: timedelta, clock: Clock) -> None:
        self._stores = stores
        self._age = age
        self._clock = clock

    async def run(self) -> None:
        """Sweep now and every `SWEEP_EVERY`, until cancelled."""
        while True:
            try:
                swept = await self.sweep()
                if swept:
                    log.info("parts_swept", uploads=swept)
            except ObjectStoreError as error:
                log.warning("parts_not_swept", error=str(error)[:500])
            await asyncio.sleep(SWEEP_EVERY.total_seconds())

    async def sweep(self) -> int:
        """Give up what is too old, on both sides of the store; returns how many uploads.

        Raises:
            ObjectStoreError: the store cannot be used.
        """
        before = self._clock.now() - self._age
        swept = 0
        for store in (self._stores.public, self._stores.private):
            if isinstance(store, PartsSweeper):
                for prefix in (FILES, MIRRORED):
                    swept += await store.sweep_parts(prefix, before)
        return swept
