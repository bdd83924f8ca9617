"""Forgets the pages' own tokens, those of the devpi client's logins and those of trusted publishers, after they
expired: each would else leave a row for ever.

Tokens that people made are left alone, expired or not: their owners see them in their list, and whoever still uses one
is told that it expired. That these tokens were made stays in the audit log.
"""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import delete, select

from gateway.dashboard.session_tokens import own_tokens
from gateway.sweeping import BATCH, Sweep
from shared.auth.tokens import LOGIN_FORMAT_VERSIONS, PUBLISHER_FORMAT_VERSION
from shared.catalogue.tables import Token, TokenUse
from shared.catalogue.unit_of_work import UnitOfWork

KEPT = timedelta(days=1)
"""How long an expired one stays: until nothing is left that still writes when it was used last."""


class TokenSweep(Sweep):
    """Removes tokens of the dashboard, of logins and of publishers that expired more than `KEPT` ago."""

    kind = "tokens"

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
