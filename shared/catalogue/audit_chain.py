"""Queries on the chain of the audit's rows and its published heads. Writer: signing.

Audit numbers may commit in another order than they were given out, so the chain has an order of its own: a row that
becomes visible late is chained when it is found, at the next position: `services.signing.publication.auditing` looks a
step behind the newest number, and through all of them now and then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, exists, func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from countermark.core.audit import GENESIS, AuditRow, ChainBroken, ChainReader, Link, hash_of
from countermark.core.audit import AuditHead as Head
from countermark.core.digest import Sha256
from countermark.core.names import IndexName, parse_index_name
from shared.catalogue.tables import Audit, AuditChain, AuditHead, Deployment, IndexRow, Outbox
from shared.ids import IndexId
from shared.jobs.messages import RefreshIndex

_CHAIN_LOCK = 0x636D6B02
"""Advisory lock of the catalogue: one process at a time chains."""

SPAN = 100_000
"""Numbers that are looked at with one question."""


@dataclass(frozen=True, slots=True)
class End:
    """The last link of the chain; position 0 and `GENESIS` before the first."""

    position: int
    sha256: Sha256


@dataclass(frozen=True, slots=True)
class PublishedHead:
    """A head as it was published, with the version of the metadata that signed it."""

    version: int
    head: Head


async def lock_chain(connection: AsyncConnection) -> bool:
    """Return whether this transaction may chain, alone until it ends; False when another one does."""
    locked = await connection.scalar(text("select pg_try_advisory_xact_lock(:lock)"), {"lock": _CHAIN_LOCK})
    return bool(locked)


async def end(connection: AsyncConnection) -> End:
    """Return the end of the chain."""
    query = select(AuditChain.position, AuditChain.sha256).order_by(AuditChain.position.desc()).limit(1)
    row = (await connection.execute(query)).first()
    return End(0, GENESIS) if row is None else End(row.position, Sha256(row.sha256))


async def at_position(connection: AsyncConnection, position: int) -> Sha256 | None:
    """Return the hash that was chained at a position, None when there is none; `GENESIS` at 0."""
    if position == 0:
        return GENESIS
    found = await connection.scalar(select(AuditChain.sha256).where(AuditChain.position == position))
    return None if found is None else Sha256(found)


async def newest_chained(connection: AsyncConnection) -> int:
    """Return the largest audit number in the chain, 0 for none."""
    return await connection.scalar(select(func.max(AuditChain.audit_id))) or 0


async def unchained(connection: AsyncConnection, span: range, limit: int) -> list[AuditRow]:
    """Return rows with numbers of a span that are not in the chain, by number.

    Args:
        span: ends `SPAN` after its beginning at the most, so that a question stays short however long the chain is.
        limit: the most rows.
    """
    # The bounds twice: so that both sides are a range of an index.
    first, last = span.start, span.stop - 1
    chained = exists().where(AuditChain.audit_id == Audit.id, AuditChain.audit_id.between(first, last))
    query = select(*_COLUMNS).where(Audit.id.between(first, last), ~chained).order_by(Audit.id).limit(limit)
    return [_row(row) for row in await connection.execute(query)]


async def next_number(connection: AsyncConnection, start: int) -> int | None:
    """Return the smallest audit number from a number on, None when there is none: a gap is stepped over at once."""
    return await connection.scalar(select(func.min(Audit.id)).where(Audit.id >= start))


async def append(connection: AsyncConnection, before: End, rows: Sequence[AuditRow]) -> End:
    """Chain rows after the end of the chain, in their order; returns the new end.

    Args:
        before: the end, read under `lock_chain`.
    """
    values, position, sha256 = [], before.position, before.sha256
    for row in rows:
        position += 1
        sha256 = hash_of(sha256, position, row)
        values.append({"position": position, "audit_id": row.id, "sha256": sha256})
    if values:
        await connection.execute(insert(AuditChain), values)
    return End(position, sha256)


async def follow(connection: AsyncConnection, reader: ChainReader, limit: int) -> list[Link]:
    """Take the next links of the chain, and return those that were taken; none at its end.

    Args:
        reader: goes along; where it stands decides what is next.
        limit: the most links.

    Raises:
        ChainBroken: the chain does not hold there.
    """
    start = reader.position
    rows = await connection.execute(
        select(AuditChain.position, AuditChain.audit_id, AuditChain.sha256, *_COLUMNS)
        .outerjoin(Audit, Audit.id == AuditChain.audit_id)
        .where(AuditChain.position > start)
        .order_by(AuditChain.position)
        .limit(limit)
    )
    taken = []
    for row in rows:
        if row.id is None:
            raise ChainBroken(row.position, f"its audit row, number {row.audit_id}, is gone")
        link = Link(row.position, reader.sha256, _row(row), Sha256(row.sha256))
        try:
            reader.take(link)
        except ChainBroken:
            raise
        except (ValueError, OverflowError) as error:
            raise ChainBroken(row.position, f"{link.row} cannot be hashed: {error}") from error
        taken.append(link)
    return taken


async def first_since(connection: AsyncConnection, moment: datetime) -> int | None:
    """Return the first position whose row was written at a time or later; looks at all rows."""
    query = select(func.min(AuditChain.position)).join(Audit, Audit.id == AuditChain.audit_id)
    return await connection.scalar(query.where(Audit.at >= moment))


async def default_index(connection: AsyncConnection) -> tuple[IndexName, IndexId] | None:
    """Return the index in which heads are published, None before there is one."""
    written = await connection.scalar(select(Deployment.default_index))
    if written is None:
        return None
    name = parse_index_name(written)
    query = select(IndexRow.id).where(IndexRow.owner == name.owner, IndexRow.name == name.name)
    found = await connection.scalar(query)
    return None if found is None else (name, IndexId(found))


async def newest_head(connection: AsyncConnection, index: IndexName, index_id: IndexId) -> PublishedHead | None:
    """Return the head that an index shows, None before the first."""
    found = await heads(connection, index, index_id, newest_first=True, limit=1)
    return found[0] if found else None


async def heads(
    connection: AsyncConnection,
    index: IndexName,
    index_id: IndexId,
    *,
    between: tuple[int, int] | None = None,
    newest_first: bool = False,
    limit: int,
) -> list[PublishedHead]:
    """Return published heads of an index.

    Args:
        between: only those at positions after the first number and up to the second.
        newest_first: by version, the newest first; else by position.
    """
    query = select(AuditHead).where(AuditHead.index_id == index_id).limit(limit)
    if between is not None:
        query = query.where(AuditHead.position > between[0], AuditHead.position <= between[1])
    query = query.order_by(AuditHead.version.desc() if newest_first else AuditHead.position)
    rows = await connection.execute(query)
    return [PublishedHead(row.version, Head(index, row.position, Sha256(row.sha256), row.at)) for row in rows]


async def insert_head(connection: AsyncConnection, index_id: IndexId, version: int, head: Head) -> None:
    """Keep a head that is published, in the commit that makes it current."""
    row = {"index_id": index_id, "version": version, "position": head.position, "sha256": head.sha256, "at": head.at}
    await connection.execute(insert(AuditHead).values(**row))


async def refresh_is_asked(connection: AsyncConnection, index_id: IndexId) -> bool:
    """Return whether a refresh of an index is asked for already."""
    query = select(Outbox.id).where(
        Outbox.index_id == index_id,
        Outbox.kind == RefreshIndex.kind,
        Outbox.done_at.is_(None),
        Outbox.dead_at.is_(None),
    )
    return await connection.scalar(query.limit(1)) is not None


_COLUMNS = (Audit.id, Audit.at, Audit.source, Audit.actor, Audit.action, Audit.subject, Audit.detail)


def _row(row: Row[*tuple[Any, ...]]) -> AuditRow:
    return AuditRow(row.id, row.at, row.source, row.actor, row.action, row.subject, row.detail)
