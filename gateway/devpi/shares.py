"""What the lists of one account's indexes may take of the memory of every process, which keeps them all.

Source: architecture section 11.9 (what is in memory to decide by).
"""

from __future__ import annotations

from sqlalchemy import func, select

from shared.catalogue.tables import Grant, IndexBase, IndexRow
from shared.catalogue.unit_of_work import UnitOfWork
from shared.errors import ErrorKind, ServiceError

MOST_ENTRIES = 100_000
"""Entries of all lists of an account's indexes: about 15 MB."""


async def check_lists(work: UnitOfWork, owner: str) -> None:
    """Return when the lists of an account's indexes are not too long together, as they are now.

    Raises:
        ServiceError: INVALID.
    """
    own = select(IndexRow.id).where(IndexRow.owner == owner, IndexRow.deleted_at.is_(None))
    lengths = func.jsonb_array_length(IndexRow.settings["mirror_whitelist"])
    whitelisted = select(func.coalesce(func.sum(lengths), 0)).where(IndexRow.id.in_(own))
    rights = select(func.count()).select_from(Grant).where(Grant.index_id.in_(own))
    bases = select(func.count()).select_from(IndexBase).where(IndexBase.index_id.in_(own))
    counted = whitelisted.scalar_subquery() + rights.scalar_subquery() + bases.scalar_subquery()
    if (await work.connection.scalar(select(counted)) or 0) > MOST_ENTRIES:
        detail = (
            f"the lists (bases, rights, whitelists) of all indexes of user {owner!r} have more than "
            f"{MOST_ENTRIES} entries"
        )
        raise ServiceError(ErrorKind.INVALID, detail)
