"""The audit table: everything that changes trust or rights. Insert only."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.catalogue.tables import Audit
from shared.ids import AuditId


async def record(
    connection: AsyncConnection, *, at: datetime, actor: str, action: str, subject: str, **detail: Any
) -> AuditId:
    """Add a row to the transaction of `connection`; returns its number.

    Args:
        actor: the account, or the process for what no person asked for.
        action: a constant word for what was done, for example `token.create`.
        subject: what it was done to, as people name it.
        detail: JSON-ready facts; identifiers, never secrets.
    """
    row = insert(Audit).values(at=at, actor=actor, action=action, subject=subject, detail=detail)
    return AuditId((await connection.execute(row.returning(Audit.id))).scalar_one())


async def detail_of(connection: AsyncConnection, audit_id: AuditId) -> Mapping[str, Any]:
    """Return the facts of a row; nothing for one that is not there."""
    return await connection.scalar(select(Audit.detail).where(Audit.id == audit_id)) or {}


async def newest(connection: AsyncConnection) -> int:
    """Return the deployment's newest number, 0 before the first: what `X-DEVPI-SERIAL` says (architecture 11.10)."""
    return await connection.scalar(select(func.max(Audit.id))) or 0


async def newest_at(connection: AsyncConnection) -> datetime | None:
    """Return when the newest row was written."""
    return await connection.scalar(select(Audit.at).order_by(Audit.id.desc()).limit(1))
