"""Lists of what was published, newest first, each bounded. Reads only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.catalogue.tables import Journal, Publication
from shared.ids import IndexId

JOURNAL_LINES = 200
"""Journal lines of one publication that are listed; a publication has up to some thousands."""


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One change in the words of the journal; `version` is None when it is about the whole project."""

    project: str
    version: str | None
    action: str
    actor: str | None


@dataclass(frozen=True, slots=True)
class PublicationLine:
    """One signed batch; `changes` counts all of it, `journal` has its first lines."""

    serial: int
    committed_at: datetime
    changes: int
    journal: list[JournalEntry] = field(default_factory=list)


async def publications(
    connection: AsyncConnection, index_id: IndexId, before: int | None, limit: int
) -> Sequence[PublicationLine]:
    """Return publications of an index, newest first.

    Args:
        before: list only what is older than this serial; None begins with the newest.
        limit: publications at the most.
    """
    query = select(Publication.serial, Publication.committed_at, Publication.changes)
    query = query.where(Publication.index_id == index_id).order_by(Publication.serial.desc()).limit(limit)
    if before is not None:
        query = query.where(Publication.serial < before)
    rows = await connection.execute(query)
    lines = {row.serial: PublicationLine(row.serial, row.committed_at, row.changes) for row in rows}
    if lines:
        columns = (Journal.serial, Journal.project, Journal.version, Journal.action, Journal.actor)
        journal = await connection.execute(
            select(*columns)
            .where(Journal.index_id == index_id, Journal.serial.in_(lines), Journal.position < JOURNAL_LINES)
            .order_by(Journal.serial, Journal.position)
        )
        for row in journal:
            lines[row.serial].journal.append(JournalEntry(row.project, row.version, row.action, row.actor))
    return list(lines.values())
