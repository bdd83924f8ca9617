"""What the catalogue says of the signatures of a deployment as a whole: numbers that do not grow with its indexes.

Reads only.

Source: trust contract section 2.7.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

import orjson
from sqlalchemy import Subquery, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.catalogue.tables import Intent, Outbox, TrustFile, TufFile, TufHead
from shared.jobs.messages import PublishIndex
from shared.trust.alerts import ALERT_BELOW
from shared.trust.roles import SHARED, Role

Prefixes = Collection[tuple[int, str]]
"""Version of a registry -> what the names of its bins begin with."""


@dataclass(frozen=True, slots=True)
class Left:
    """How long a role's metadata is still good, over all indexes.

    Attributes:
        seconds: of the one that expires first; negative when it has expired.
        short: indexes that have less than `ALERT_BELOW` left; of a shared role all that are published, or none.
    """

    role: Role
    seconds: float
    short: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """Changes that wait to be published, the age of the oldest in seconds, and lines of batches not committed (yet)."""

    changes: int
    oldest: float
    intents: int


async def bin_prefixes(connection: AsyncConnection) -> Prefixes:
    """Return the registries there are, with the prefix of the bins that each delegates to: a few rows.

    Bins of an earlier count stay listed, expire, and are nobody's concern: no registry in use names them.
    """
    rows = await connection.execute(
        select(TrustFile.version, TrustFile.content).where(TrustFile.role == Role.REGISTRY.value)
    )
    return [(row.version, _bin_prefix(row.content)) for row in rows]


def _bin_prefix(registry: bytes) -> str:
    """Return what the names of bins begin with, read without the TUF library: every process tells of expiries."""
    return str(orjson.loads(registry)["signed"]["delegations"]["succinct_roles"]["name_prefix"])


def soonest_bins(prefixes: Prefixes) -> Subquery:
    """Return, for each index, when the first of the bins that its registry delegates to expires (`soonest`)."""
    prefix = func.split_part(TufFile.role, "-", 1)
    return (
        select(TufFile.index_id, func.min(TufFile.expires_at).label("soonest"))
        .join(TufHead, TufHead.index_id == TufFile.index_id)
        .where(TufFile.current, TufFile.role != "snapshot")
        .where(tuple_(TufHead.registry_version, prefix).in_(list(prefixes)))
        .group_by(TufFile.index_id)
        .subquery()
    )


async def head_left(connection: AsyncConnection) -> list[Left]:
    """Return what is left of timestamps, snapshots and the shared roles; one row for each index is looked at."""
    timestamps, snapshots = TufHead.timestamp_expires_at, TufHead.snapshot_expires_at
    heads = select(
        func.count().label("published"),
        func.now().label("now"),
        func.min(timestamps).label("timestamp"),
        func.min(snapshots).label("snapshot"),
        func.count().filter(timestamps < func.now() + ALERT_BELOW[Role.TIMESTAMP]).label("short_timestamps"),
        func.count().filter(snapshots < func.now() + ALERT_BELOW[Role.SNAPSHOT]).label("short_snapshots"),
    ).select_from(TufHead)
    row = (await connection.execute(heads)).one()
    found = []
    if row.published:
        found.append(Left(Role.TIMESTAMP, _seconds(row.timestamp - row.now), row.short_timestamps))
        found.append(Left(Role.SNAPSHOT, _seconds(row.snapshot - row.now), row.short_snapshots))
    for role, moment in (await _shared_ends(connection)).items():
        left = moment - row.now
        found.append(Left(role, _seconds(left), row.published if left < ALERT_BELOW[role] else 0))
    return found


async def _shared_ends(connection: AsyncConnection) -> dict[Role, datetime]:
    """Return when the shared roles expire; of registries, which differ by the count of bins, the first in use."""
    rows = await connection.execute(
        select(TrustFile.role, TrustFile.version, TrustFile.expires_at).order_by(TrustFile.version)
    )
    files = [row._mapping for row in rows]
    ends = {Role(file["role"]): file["expires_at"] for file in files if file["role"] in SHARED}
    in_use = set(await connection.scalars(select(TufHead.registry_version).distinct()))
    prefixes = dict(await bin_prefixes(connection))
    newest = {prefixes[file["version"]]: file["expires_at"] for file in files if file["role"] == Role.REGISTRY.value}
    used = [newest[prefixes[version]] for version in in_use if version in prefixes]
    return ends | ({Role.REGISTRY: min(used)} if used else {})


async def bins_left(connection: AsyncConnection) -> Left | None:
    """Return what is left of bins. Looks at every current bin: not to be asked often."""
    soonest = soonest_bins(await bin_prefixes(connection)).c.soonest
    short = func.count().filter(soonest < func.now() + ALERT_BELOW[Role.BINS])
    first, count, now = (await connection.execute(select(func.min(soonest), short, func.now()))).one()
    return None if first is None else Left(Role.BINS, _seconds(first - now), count)


async def oldest_timestamp(connection: AsyncConnection) -> float:
    """Return the age in seconds of the head that was signed longest ago, 0 when there is none."""
    age = func.extract("epoch", func.now() - func.min(TufHead.committed_at))
    return float(await connection.scalar(select(age)) or 0)


async def waiting_changes(connection: AsyncConnection) -> Waiting:
    """Return what waits to be signed."""
    age = func.extract("epoch", func.now() - func.min(Outbox.created_at))
    open_ = (Outbox.done_at.is_(None), Outbox.dead_at.is_(None), Outbox.kind == PublishIndex.kind)
    changes, oldest = (await connection.execute(select(func.count(), age).where(*open_))).one()
    intents = await connection.scalar(select(func.count()).where(Intent.serial.is_(None)))
    return Waiting(changes, float(oldest or 0), intents or 0)


def _seconds(left: timedelta) -> float:
    return left.total_seconds()
