"""The loop that keeps the trees of all indexes tidy: complete as their heads say, and without what nobody needs.

Safe with several replicas: each index goes to one of them at a time, and doing it twice does nothing more.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta

import structlog
from sqlalchemy.exc import SQLAlchemyError

from services.signing.upkeep.retention import Removed, remove_superseded
from services.signing.upkeep.sweeping import Swept, sweep
from shared.catalogue import publications, tidying
from shared.catalogue.engine import CATALOGUE_AWAY
from shared.ids import IndexId
from shared.objects.interface import ObjectStoreError
from shared.resources import Resources

log = structlog.get_logger()

TIDY_EVERY = timedelta(hours=1)
"""How long an index is left alone once nothing is to be done in it."""

LOOK_EVERY = timedelta(minutes=1)
"""How often the catalogue is asked for indexes whose turn it is."""

_AT_A_TIME = 20
"""Indexes that a process takes at a time."""


@dataclass(frozen=True, slots=True)
class Tidied:
    """What was done in one index."""

    removed: Removed
    swept: Swept


class TidyLoop:
    """Looks at one index after the other."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources

    async def run(self) -> None:
        """Look every `LOOK_EVERY`, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY.total_seconds())
            try:
                while await self.look():
                    pass
            except (SQLAlchemyError, OSError) as error:
                log.warning("tidying_waits_for_catalogue", error=str(error)[:500])

    async def look(self) -> int:
        """Tidy the indexes whose turn it is, some at a time; returns how many are done with for now."""
        now = self._resources.clock.now()
        async with self._resources.engine.begin() as connection:
            claimed = await tidying.claim(connection, now, now - TIDY_EVERY, _AT_A_TIME)
        again = []
        for index_id in claimed:
            try:
                done = await self.tidy(index_id)
            except (ObjectStoreError, *CATALOGUE_AWAY) as error:
                log.warning("not_tidied", index_id=str(index_id), error=f"{type(error).__name__}: {error}"[:500])
                again.append(index_id)
                continue
            if done is not None and done.removed.more:
                again.append(index_id)
        async with self._resources.engine.begin() as connection:
            for index_id in again:
                await tidying.ask_again(connection, index_id)
        return len(claimed) - len(again)

    async def tidy(self, index_id: IndexId) -> Tidied | None:
        """Tidy one index; None when there is no such.

        Raises:
            ObjectStoreError: the store cannot be used.
        """
        async with self._resources.engine.connect() as connection:
            index = await publications.index_facts(connection, index_id)
        if index is None:
            return None
        done = Tidied(await remove_superseded(self._resources, index), await sweep(self._resources, index))
        self._count(done)
        if done.removed.metadata or done.removed.targets or done.swept.orphans:
            numbers = {"metadata": done.removed.metadata, "targets": done.removed.targets}
            log.info("tree_tidied", index=str(index.name), **numbers, orphans=done.swept.orphans)
        if done.swept.metadata or done.swept.targets:
            put = {"metadata": done.swept.metadata, "targets": done.swept.targets}
            log.warning("store_lacked_files", index=str(index.name), **put)
        return done

    def _count(self, done: Tidied) -> None:
        files = self._resources.metrics.signing.tree_files
        files.labels("removed").inc(done.removed.metadata + done.removed.targets + done.swept.orphans)
        files.labels("put").inc(done.swept.metadata + done.swept.targets)
        files.labels("lost").inc(len(done.swept.lost))
