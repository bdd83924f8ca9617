"""Forgets that identity tokens were used, after they expired: each would else leave a row for ever."""

from __future__ import annotations

from sqlalchemy import delete, select

from gateway.sweeping import BATCH, Sweep
from shared.catalogue.tables import UsedIdentity
from shared.catalogue.unit_of_work import UnitOfWork


class Forgetting(Sweep):
    """Removes used identity tokens that have expired and no longer could be used."""

    kind = "identity_tokens"

    async def _batch(self) -> int:
        old = select(UsedIdentity.sha256).where(UsedIdentity.forget_at < self._clock.now())
        async with UnitOfWork(self._engine) as work:
            found = (await work.connection.execute(old.limit(BATCH).with_for_update(skip_locked=True))).scalars().all()
            if found:
                await work.connection.execute(delete(UsedIdentity).where(UsedIdentity.sha256.in_(found)))
                await work.commit()
        return len(found)
