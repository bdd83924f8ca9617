"""The marks that change what a project shows: yank, removal, status. Writer: upload.

Rows are marked, never deleted: names stay burnt and addresses answer 410. Each change locks its project, so that two
of them have an order, which the journal keeps.
Source: contract python-index section 2.7; architecture section 11.8.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from packaging.utils import NormalizedName
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.catalogue.projects import FORMAT
from shared.catalogue.tables import File, Project
from shared.ids import FileId, IndexId, ProjectId, ReleaseId


@dataclass(frozen=True, slots=True)
class LockedProject:
    """A project whose marks nobody else changes until the transaction ends."""

    id: ProjectId
    status: str
    status_reason: str | None


@dataclass(frozen=True, slots=True)
class MarkedFile:
    """A file and its marks."""

    id: FileId
    file_name: str
    yanked: bool
    yanked_reason: str | None
    removed: bool


@dataclass(frozen=True, slots=True)
class Mark:
    """Who marks, when, and in which words."""

    at: datetime
    by: str
    reason: str | None = None


async def lock_project(
    connection: AsyncConnection, index_id: IndexId, life: int, name: NormalizedName
) -> LockedProject | None:
    """Return a project, locked for this transaction; None when there is none of this name."""
    row = (
        await connection.execute(
            select(Project.id, Project.status, Project.status_reason)
            .where(Project.index_id == index_id, Project.life == life, Project.format == FORMAT, Project.name == name)
            .with_for_update()
        )
    ).first()
    return None if row is None else LockedProject(**row._mapping)


async def files_of(connection: AsyncConnection, project_id: ProjectId, release_id: ReleaseId) -> list[MarkedFile]:
    """Return the files of a release with their marks, the removed ones as well."""
    rows = await connection.execute(
        select(File.id, File.file_name, File.yanked_at, File.yanked_reason, File.removed_at)
        .where(File.project_id == project_id, File.release_id == release_id)
        .order_by(File.file_name, File.removed_at.desc().nulls_first())
    )
    return [
        MarkedFile(
            FileId(row.id), row.file_name, row.yanked_at is not None, row.yanked_reason, row.removed_at is not None
        )
        for row in rows
    ]


async def yank(connection: AsyncConnection, files: list[FileId], mark: Mark) -> None:
    """Mark files as yanked, with a reason or without."""
    values = {"yanked_at": mark.at, "yanked_by": mark.by, "yanked_reason": mark.reason}
    await connection.execute(update(File).where(File.id.in_(files)).values(**values))


async def unyank(connection: AsyncConnection, files: list[FileId]) -> None:
    """Take the yank of files back; who yanked them stays in the audit table."""
    values = {"yanked_at": None, "yanked_by": None, "yanked_reason": None}
    await connection.execute(update(File).where(File.id.in_(files)).values(**values))


async def remove(connection: AsyncConnection, files: list[FileId], mark: Mark) -> None:
    """Mark files as removed, for good."""
    values = {"removed_at": mark.at, "removed_by": mark.by, "removed_reason": mark.reason}
    await connection.execute(update(File).where(File.id.in_(files), File.removed_at.is_(None)).values(**values))


async def set_status(connection: AsyncConnection, project_id: ProjectId, status: str, reason: str | None) -> None:
    """Change the status of a project."""
    await connection.execute(
        update(Project).where(Project.id == project_id).values(status=status, status_reason=reason)
    )
