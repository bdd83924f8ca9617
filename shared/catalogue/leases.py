"""One signer per index at a time, enforced in the database. Writer: signing.

The lease's `fence` grows with every holder; the commit of a head names its fence, so a holder that was paused and
replaced
can never win later. A request made while the lease is held is counted in `requested`, and a holder can only let go
when it
has seen every request: none is ever missed, and nobody waits. Source: trust contract section 2.6; architecture
section 5.4.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.catalogue.outbox import relax
from shared.catalogue.tables import Lease
from shared.ids import IndexId, new_uuid

TERM = timedelta(seconds=6)
"""How long a holder that went silent keeps others out. The fence, not the term, makes this safe: a short term costs a
holder that was merely slow its work, a long one has everybody wait for a holder that was killed."""

RENEW_EVERY = TERM / 4
"""How often a holder that is at work says so."""


class LeaseLost(Exception):
    """Another signer took over: what was prepared must not be committed."""


@dataclass(frozen=True, slots=True)
class Held:
    """A lease in hand; `requested` is the count of requests seen when it was taken or last looked at."""

    index_id: IndexId
    holder: str
    fence: int
    requested: int


async def acquire(connection: AsyncConnection, index_id: IndexId) -> Held | None:
    """Take the lease of an index, or leave a request with its holder and return None.

    The transaction does not wait for the disk: a lease that a power cut takes back was never used, since `allocate`,
    which every use begins with, does wait, and for everything before it too.
    """
    await relax(connection)
    holder = str(new_uuid())
    await connection.execute(insert(Lease).values(index_id=index_id).on_conflict_do_nothing())
    free = Lease.holder.is_(None) | (Lease.until < func.now())
    taken = (
        await connection.execute(
            update(Lease)
            .where(Lease.index_id == index_id, free)
            .values(holder=holder, until=func.now() + TERM, fence=Lease.fence + 1)
            .returning(Lease.fence, Lease.requested)
        )
    ).first()
    if taken is not None:
        return Held(index_id, holder, taken.fence, taken.requested)
    await connection.execute(update(Lease).where(Lease.index_id == index_id).values(requested=Lease.requested + 1))
    return None


async def allocate(connection: AsyncConnection, held: Held) -> tuple[Held, int]:
    """Give out a metadata version that was never used, renew the term, and note the requests seen so far.

    Raises:
        LeaseLost: another signer holds the lease.
    """
    row = (
        await connection.execute(
            update(Lease)
            .where(Lease.index_id == held.index_id, Lease.fence == held.fence, Lease.holder == held.holder)
            .values(allocated=Lease.allocated + 1, until=func.now() + TERM)
            .returning(Lease.allocated, Lease.requested)
        )
    ).first()
    if row is None:
        raise LeaseLost(f"index {held.index_id}: fence {held.fence} was overtaken")
    return Held(held.index_id, held.holder, held.fence, row.requested), row.allocated


async def renew(connection: AsyncConnection, held: Held) -> None:
    """Keep others out for another term: for work that takes longer than one.

    Raises:
        LeaseLost: another signer holds the lease.
    """
    # A renewal that a power cut takes back is a lease that runs out earlier; the fence is what makes this safe.
    await relax(connection)
    renewed = await connection.execute(
        update(Lease)
        .where(Lease.index_id == held.index_id, Lease.fence == held.fence, Lease.holder == held.holder)
        .values(until=func.now() + TERM)
    )
    if not renewed.rowcount:
        raise LeaseLost(f"index {held.index_id}: fence {held.fence} was overtaken")


async def guard(connection: AsyncConnection, held: Held) -> None:
    """Lock the lease row for the rest of the transaction, proving that `held` still holds it.

    Raises:
        LeaseLost: another signer holds the lease.
    """
    found = await connection.scalar(
        select(Lease.fence)
        .where(Lease.index_id == held.index_id, Lease.fence == held.fence, Lease.holder == held.holder)
        .with_for_update()
    )
    if found is None:
        raise LeaseLost(f"index {held.index_id}: fence {held.fence} was overtaken")


async def release(connection: AsyncConnection, held: Held, *, even_if_requested: bool = False) -> Held | None:
    """Let go of the lease.

    Args:
        even_if_requested: let go also when there are requests that were not looked at (after a failure: the outbox
            sends them again).

    Returns:
        None when it was let go (or was lost); the lease with its newer count of requests when there is more to do.
    """
    # A release that a power cut takes back costs the next holder the rest of the term, and nothing else.
    await relax(connection)
    mine = (Lease.index_id == held.index_id, Lease.fence == held.fence, Lease.holder == held.holder)
    unseen = () if even_if_requested else (Lease.requested == held.requested,)
    released = await connection.execute(update(Lease).where(*mine, *unseen).values(holder=None, until=None))
    if released.rowcount:
        return None
    requested = await connection.scalar(select(Lease.requested).where(*mine))
    return None if requested is None else Held(held.index_id, held.holder, held.fence, requested)
