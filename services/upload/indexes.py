"""Keeps an index as it was when a request began, until what the request brings is committed.

What is stored goes to the side of the store, and the rows into the life, that the index had when somebody looked: an
index that was deleted meanwhile, or made anew, would have bytes where nobody looks for them and rows of a life that is
over.
Source: architecture sections 6 and 11.8.
"""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from shared.auth.directory import IndexRecord
from shared.catalogue.lives import lock_life
from shared.errors import ErrorKind, ServiceError


async def keep_index(connection: AsyncConnection, index: IndexRecord) -> None:
    """Return when an index is what it was: it stays so until the caller's transaction ends.

    Raises:
        ServiceError: conflict; it was deleted, or made anew. Nothing is to be kept.
    """
    if not await lock_life(connection, index.id, index.life, public=index.public):
        words = (
            f"{index.name} was deleted or made anew at the same time; nothing was kept. Send it again if it is there."
        )
        raise ServiceError(ErrorKind.CONFLICT, words)
