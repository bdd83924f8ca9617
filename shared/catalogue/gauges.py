"""What the catalogue says of the deployment as a whole, for metrics. Reads only; every query is bounded or seldom."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Extract, func, select
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import InstrumentedAttribute

from shared.catalogue.tables import Audit, AuditChain, IndexRow, Outbox, TrustFile, TufHead
from shared.catalogue.trust_gauges import bin_prefixes, soonest_bins
from shared.metrics import INDEXES_SHOWN, Expiry


@dataclass(frozen=True, slots=True)
class OutboxFacts:
    """How many jobs are open, and the age of the oldest in seconds."""

    open: int
    oldest: float


async def outbox_facts(connection: AsyncConnection) -> OutboxFacts:
    """Return the state of the outbox, by its index of open rows."""
    age = func.extract("epoch", func.now() - func.min(Outbox.created_at))
    query = select(func.count(), age).where(Outbox.done_at.is_(None), Outbox.dead_at.is_(None))
    count, oldest = (await connection.execute(query)).one()
    return OutboxFacts(count, float(oldest or 0))


async def unchained_age(connection: AsyncConnection) -> float:
    """Return the age in seconds of the first audit row after those that are chained, 0 when there is none; by numbers,
    so that it says also that nobody chains."""
    newest = select(func.coalesce(func.max(AuditChain.audit_id), 0)).scalar_subquery()
    query = select(func.extract("epoch", func.now() - Audit.at)).where(Audit.id > newest).order_by(Audit.id).limit(1)
    return max(0.0, float(await connection.scalar(query) or 0))


async def dead_jobs(connection: AsyncConnection) -> int:
    """Return how many jobs were given up. Looks at every row: not to be asked often."""
    return await connection.scalar(select(func.count()).where(Outbox.dead_at.is_not(None))) or 0


async def head_expiries(connection: AsyncConnection) -> list[Expiry]:
    """Return timestamp and snapshot of the indexes whose timestamps expire first, and the shared roles."""
    query = (
        select(IndexRow.owner, IndexRow.name, _left(TufHead.timestamp_expires_at), _left(TufHead.snapshot_expires_at))
        .join(IndexRow, IndexRow.id == TufHead.index_id)
        .order_by(TufHead.timestamp_expires_at)
        .limit(INDEXES_SHOWN)
    )
    found = []
    for owner, name, timestamp, snapshot in await connection.execute(query):
        found.append(Expiry(f"{owner}/{name}", "timestamp", float(timestamp)))
        found.append(Expiry(f"{owner}/{name}", "snapshot", float(snapshot)))
    shared = select(TrustFile.role, _left(func.max(TrustFile.expires_at))).group_by(TrustFile.role)
    found += [Expiry("", role, float(seconds)) for role, seconds in await connection.execute(shared)]
    return found


async def bin_expiries(connection: AsyncConnection) -> list[Expiry]:
    """Return for some indexes the bin that expires first. Looks at every current bin: not to be asked often."""
    bins = soonest_bins(await bin_prefixes(connection))
    query = (
        select(IndexRow.owner, IndexRow.name, _left(bins.c.soonest))
        .join(bins, bins.c.index_id == IndexRow.id)
        .order_by(bins.c.soonest)
        .limit(INDEXES_SHOWN)
    )
    return [Expiry(f"{owner}/{name}", "bins", float(left)) for owner, name, left in await connection.execute(query)]


def _left(moment: ColumnElement[datetime] | InstrumentedAttribute[datetime]) -> Extract:
    return func.extract("epoch", moment - func.now())
