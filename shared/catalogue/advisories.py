"""The advisories of the snapshot that is served. Writer: the operator's import; the index service reads.

A snapshot replaces the one before in one transaction: readers see the one or the other, and an import that fails leaves
what was.
Source: ADR 0029.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import delete, func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from countermark.core.names import NormalizedName
from shared.catalogue.tables import Advisory, AdvisoryAffected, AdvisorySnapshot
from shared.formats.python import osv
from shared.zstd import pack, unpack

CHANNEL = "countermark_advisories"
"""Notified when another snapshot is served."""

_LOCK = 0x6F7376
"""Of imports: they come one after the other."""


@dataclass(slots=True)
class Counts:
    """What an import found: advisories about PyPI projects, records about others, and those that could not be read."""

    advisories: int = 0
    others: int = 0
    left_out: int = 0
    newest_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Rows:
    """An advisory as rows of its tables."""

    advisory: Mapping[str, object]
    affected: Sequence[Mapping[str, object]]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is served, and since when; fields as in the table."""

    number: int
    imported_at: datetime
    source: str
    advisories: int
    left_out: int
    newest_at: datetime


@dataclass(frozen=True, slots=True)
class Entry:
    """What an advisory says of a project; `affected` is packed and compressed."""

    project: NormalizedName
    id: str
    modified: datetime
    withdrawn: datetime | None
    affected: bytes

    def unpacked(self) -> osv.Affected:
        """Return which versions it is about. Blocking: tens of microseconds."""
        return osv.unpack_affected(unpack(self.affected))


async def current(connection: AsyncConnection) -> Snapshot | None:
    """Return which snapshot is served, None when none ever was imported."""
    columns = AdvisorySnapshot.__table__.columns
    newest = select(*columns).order_by(AdvisorySnapshot.number.desc()).limit(1)
    row = (await connection.execute(newest)).first()
    return None if row is None else Snapshot(**row._mapping)


async def entries(
    connection: AsyncConnection, projects: Iterable[NormalizedName], *, withdrawn: bool
) -> dict[NormalizedName, list[Entry]]:
    """Return what is said of some projects; those of which nothing is said are left out.

    Args:
        withdrawn: whether withdrawn advisories are among them.
    """
    columns = (AdvisoryAffected.project, Advisory.id, Advisory.modified, Advisory.withdrawn, AdvisoryAffected.affected)
    wanted = select(*columns).join(Advisory, Advisory.id == AdvisoryAffected.advisory_id)
    wanted = wanted.where(AdvisoryAffected.project.in_(list(projects)))
    if not withdrawn:
        wanted = wanted.where(Advisory.withdrawn.is_(None))
    found: dict[NormalizedName, list[Entry]] = {}
    for row in await connection.execute(wanted):
        entry = Entry(NormalizedName(row.project), row.id, row.modified, row.withdrawn, row.affected)
        found.setdefault(entry.project, []).append(entry)
    return found


async def documents(connection: AsyncConnection, ids: Sequence[str]) -> dict[str, bytes]:
    """Return id -> record, compressed, of those that exist."""
    if not ids:
        return {}
    rows = await connection.execute(select(Advisory.id, Advisory.document).where(Advisory.id.in_(ids)))
    return {row.id: row.document for row in rows}


async def begin_snapshot(connection: AsyncConnection) -> None:
    """Take everything away, for readers when this transaction commits; `add` and `end_snapshot` follow in it."""
    # A statement over a whole snapshot may take longer than those that clients wait for.
    await connection.execute(text("set local statement_timeout = 0"))
    await connection.execute(text("select pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    await connection.execute(delete(AdvisoryAffected))
    await connection.execute(delete(Advisory))


async def add(connection: AsyncConnection, rows: Sequence[Rows]) -> None:
    """Add a batch of advisories, none of which was added before."""
    await connection.execute(insert(Advisory), [row.advisory for row in rows])
    affected = [entry for row in rows for entry in row.affected]
    await connection.execute(insert(AdvisoryAffected), affected)


async def end_snapshot(connection: AsyncConnection, source: str, counts: Counts, now: datetime) -> Snapshot:
    """Say that the snapshot is whole, and tell every process when this commits."""
    number = await connection.scalar(select(func.coalesce(func.max(AdvisorySnapshot.number), 0) + 1))
    assert number is not None
    assert counts.newest_at is not None
    snapshot = Snapshot(number, now, source, counts.advisories, counts.left_out, counts.newest_at)
    await connection.execute(insert(AdvisorySnapshot).values(asdict(snapshot)))
    # Without, and until autovacuum comes by, a batch of queries takes three times as long after the first import.
    await connection.execute(text("analyze advisory, advisory_affected"))
    await connection.execute(text("select pg_notify(:channel, :number)"), {"channel": CHANNEL, "number": str(number)})
    return snapshot


def rows_of(advisory: osv.Advisory, document: bytes) -> Rows:
    """Return what is kept of an advisory and its record. Blocking: some hundred microseconds."""
    kept = {
        "id": advisory.id,
        "modified": advisory.modified,
        "withdrawn": advisory.withdrawn,
        "document": pack(document),
    }
    affected = [
        {"project": project, "advisory_id": advisory.id, "affected": pack(osv.pack_affected(said))}
        for project, said in advisory.affected.items()
    ]
    return Rows(kept, affected)
