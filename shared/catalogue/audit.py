"""The audit table: everything that changes trust or rights. Insert only."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.catalogue.tables import Audit


async def record(
    connection: AsyncConnection, *, at: datetime, actor: str, action: str, subject: str, **detail: Any
) -> None:
    """Add a row to the transaction of `connection`.

    Args:
        actor: the account, or the process for what no person asked for.
        action: a constant word for what was done, for example `token.create`.
        subject: what it was done to, as people name it.
        detail: JSON-ready facts; identifiers, never secrets.
    """
    await connection.execute(insert(Audit).values(at=at, actor=actor, action=action, subject=subject, detail=detail))
