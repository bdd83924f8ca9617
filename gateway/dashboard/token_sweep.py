"""Forgets the pages' own tokens, those of the devpi client's logins and those of trusted publishers, after they
expired: each would else leave a row for ever.

Tokens that people made are left alone, expired or not: their owners see them in their list, and whoever still uses one
is told that it expired. That these tokens were made stays in the audit log.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

import structlog
from sqlalchemy import delete, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.dashboard.session_tokens import own_tokens
from shared.auth.tokens import LOGIN_FORMAT_VERSIONS, PUBLISHER_FORMAT_VERSION
from shared.catalogue.tables import Token, TokenUse
from shared.catalogue.unit_of_work import UnitOfWork
from shared.clock import Clock

log = structlog.get_logger()

SWEEP_EVERY = timedelta(minutes=10)

KEPT = timedelta(days=1)
"""How long an expired one stays: until nothing is left that still writes when it was used last."""

BATCH = 1000
"""Rows of one transaction."""


class TokenSweep:
    """Removes expired tokens of the dashboard, of logins and of publishers; several processes may do it at once."""

    def __init__(self, engine: AsyncEngine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    async def run(self) -> None:
        """Sweep now and every `SWEEP_EVERY`, until cancelled."""
        while True:
            try:
                removed = await self.sweep()
                if removed:
                    log.info("dashboard_tokens_swept", tokens=removed)
            except (SQLAlchemyError, OSError) as error:
                log.warning("dashboard_tokens_not_swept", error=str(error)[:500])
            await asyncio.sleep(SWEEP_EVERY.total_seconds())

    async def sweep(self) -> int:
        """Remove those that expired more than `KEPT` ago; returns how many."""
        removed = 0
        while found := await self._batch():
            removed += found
        return removed

    async def _batch(self) -> int:
        old = (
            select(Token.id)
            .where(own_tokens() | Token.format_version.in_([*LOGIN_FORMAT_VERSIONS, PUBLISHER_FORMAT_VERSION]))
            .where(Token.expires_at < self._clock.now() - KEPT)
            .order_by(Token.id)
            .limit(BATCH)
            .with_for_update(skip_locked=True)
        )
        async with UnitOfWork(self._engine) as work:
            ids = (await work.connection.execute(old)).scalars().all()
            if ids:
                await work.connection.execute(delete(TokenUse).where(TokenUse.token_id.in_(ids)))
                await work.connection.execute(delete(Token).where(Token.id.in_(ids)))
                await work.commit()
        return len(ids)
