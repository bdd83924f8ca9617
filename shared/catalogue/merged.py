"""Queries about several indexes at once: how a project stands in the members of a merged view, and who shows a file.

Each is bounded by the members of a view and uses an index; none runs for what is in memory already.
Source: architecture sections 9 and 11.5.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, exists, or_, select, true
from sqlalchemy.ext.asyncio import AsyncConnection

from countermark.core.digest import Length, Sha256
from countermark.core.names import FileName, NormalizedName
from shared.catalogue.heads import PageRef
from shared.catalogue.reading import PYTHON, facts_from, facts_query
from shared.catalogue.tables import File, IndexRow, Page, Project, PublishedFile
from shared.ids import IndexId
from shared.reading.facts import FileFacts, Standing

_QUARANTINED = "quarantined"


@dataclass(frozen=True, slots=True)
class InIndex:
    """A project in an index that knows it or ever published it.

    Attributes:
        page: the current one; None when it never was published, or was removed.
        serial: of the newest page, also of one that says that it was removed; 0 without any.
    """

    standing: Standing
    page: PageRef | None
    serial: int


async def in_indexes(
    connection: AsyncConnection, index_ids: Collection[IndexId], project: NormalizedName
) -> dict[IndexId, InIndex]:
    """Return how a project stands in each of some indexes that knows it, or ever published it."""
    newest = (
        select(Page.serial, Page.sha256, Page.length, Page.files, Page.gone)
        .where(Page.index_id == IndexRow.id, Page.project_name == project)
        .order_by(Page.serial.desc())
        .limit(1)
        .lateral("newest")
    )
    of_this_life = and_(
        Project.index_id == IndexRow.id,
        Project.life == IndexRow.life,
        Project.format == PYTHON,
        Project.name == project,
        Project.removed_at.is_(None),
    )
    status = (Project.status, Project.status_reason)
    rows = await connection.execute(
        select(IndexRow.id, *status, newest.c.serial, newest.c.sha256, newest.c.length, newest.c.files, newest.c.gone)
        .outerjoin(Project, of_this_life)
        .outerjoin(newest, true())
        .where(IndexRow.id.in_(index_ids), or_(Project.id.is_not(None), newest.c.serial.is_not(None)))
    )
    found = {}
    for row in rows:
        reason = (row.status_reason or "") if row.status == _QUARANTINED else None
        page = None
        if row.serial is not None and not row.gone:
            page = PageRef(project, row.serial, Sha256(row.sha256), Length(row.length), row.files)
        standing = Standing(row.status is not None, 0 if page is None else page.files, reason)
        found[IndexId(row.id)] = InIndex(standing, page, row.serial or 0)
    return found


async def standings(
    connection: AsyncConnection, index_ids: Collection[IndexId], project: NormalizedName
) -> Mapping[IndexId, Standing]:
    """Return the standing of a project in each of some indexes that knows it, or ever published it."""
    return {index_id: there.standing for index_id, there in (await in_indexes(connection, index_ids, project)).items()}


async def held_names(connection: AsyncConnection, index_id: IndexId, project: NormalizedName) -> frozenset[FileName]:
    """Return the names of a project's files that an index showed once and holds for review now."""
    rows = await connection.scalars(
        select(File.file_name)
        .join(Project, Project.id == File.project_id)
        .join(IndexRow, IndexRow.id == File.index_id)
        .where(File.index_id == index_id, Project.format == PYTHON, Project.name == project, _held())
    )
    return frozenset(map(FileName, rows))


async def files_named(
    connection: AsyncConnection, index_ids: Collection[IndexId], asked: IndexId, file_name: FileName
) -> list[tuple[IndexId, FileFacts]]:
    """Return the files of a name that some indexes show, and those that one of them holds for review.

    Args:
        asked: the index whose held files count.
    """
    rows = await connection.execute(
        facts_query(File.index_id)
        .join(IndexRow, IndexRow.id == File.index_id)
        .where(File.index_id.in_(index_ids), File.file_name == file_name, Project.format == PYTHON)
        .where(or_(_visible(), and_(File.index_id == asked, _held())))
    )
    return [(IndexId(row.index_id), facts_from(row, file_name)) for row in rows]


async def quarantined_projects(
    connection: AsyncConnection, index_ids: Collection[IndexId]
) -> dict[IndexId, frozenset[str]]:
    """Return the projects in quarantine of each of some indexes."""
    rows = await connection.execute(
        select(Project.index_id, Project.name)
        .join(IndexRow, and_(IndexRow.id == Project.index_id, IndexRow.life == Project.life))
        .where(Project.index_id.in_(index_ids), Project.format == PYTHON, Project.status == _QUARANTINED)
    )
    found: dict[IndexId, set[str]] = {}
    for row in rows:
        found.setdefault(IndexId(row.index_id), set()).add(row.name)
    return {index_id: frozenset(names) for index_id, names in found.items()}


def _visible() -> ColumnElement[bool]:
    return exists().where(PublishedFile.file_id == File.id, PublishedFile.to_serial.is_(None))


def _held() -> ColumnElement[bool]:
    """Return whether a file of the index's present life was shown and is held now.

    One that never was shown holds no name: else whoever may upload could hide a base's file.
    """
    marked = and_(File.held_at.is_not(None), File.removed_at.is_(None))
    was_visible = exists().where(PublishedFile.file_id == File.id, PublishedFile.index_id == File.index_id)
    return and_(Project.life == IndexRow.life, marked, was_visible, ~_visible())
