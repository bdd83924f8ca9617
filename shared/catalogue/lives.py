"""The life of an index, held still for as long as a transaction needs it. Writer: gateway.

Source: architecture sections 11.1 and 11.8.
"""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.catalogue.tables import IndexRow
from shared.ids import IndexId


async def lock_life(connection: AsyncConnection, index_id: IndexId, life: int, *, public: bool) -> bool:
    """Return whether an index lives, in this life and on this side of the store; it does until the transaction ends."""
    visibility = "public" if public else "private"
    living = select(IndexRow.id).where(IndexRow.id == index_id, IndexRow.life == life, IndexRow.deleted_at.is_(None))
    found = await connection.scalar(living.where(IndexRow.visibility == visibility).with_for_update(read=True))
    return found is not None
