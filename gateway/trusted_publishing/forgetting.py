"""Forgets that identity tokens were used, after they expired: each would else leave a row for ever."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import structlog
from sqlalchemy import delete, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.catalogue.tables import UsedIdentity
from shared.catalogue.unit_of_work import UnitOfWork
from shared.clock import Clock

log = structlog.get_logger()

EVERY = timedelta(minutes=10)

BATCH = 1000
"""Rows of one transaction."""


class Forgetting:
    """Removes used identity tokens that have expired; several processes may do it at once."""

    def __init__(self, engine: AsyncEngine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    async def run(self) -> None:
        """Forget now and every `EVERY`, until cancelled."""
        while True:
            try:
                forgotten = await self.forget()
                if forgotten:
                    log.info("identity_tokens_forgotten", tokens=forgotten)
            except (SQLAlchemyError, OSError) as error:
                log.warning("identity_tokens_not_forgotten", error=str(error)[:500])
            await asyncio.sleep(EVERY.total_seconds())

    async def forget(self) -> int:
        """Forget what no longer could be used; returns how many."""
        forgotten = 0
        while found := await self._batch():
            forgotten += found
        return forgotten

    async def _batch(self) -> int:
        old = select(UsedIdentity.sha256).where(UsedIdentity.forget_at < self._clock.now())
        async with UnitOfWork(self._engine) as work:
            found = (await work.connection.execute(old.limit(BATCH).with_for_update(skip_locked=True))).scalars().all()
            if found:
                await work.connection.execute(delete(UsedIdentity).where(UsedIdentity.sha256.in_(found)))
                await work.commit()
        return len(found)
