"""The marks that change what a project shows: yank, removal, status. Writer: upload.

Rows are marked, never deleted: addresses answer 410, and names stay burnt where the index says so. Each change locks
its project, so that two of them have an order, which the journal keeps.
Source: contract python-index section 2.7; architecture section 11.8.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime

from packaging.utils import NormalizedName
from sqlalchemy import ColumnElement, exists, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from countermark.core.names import FileName, IndexName
from shared.catalogue.projects import FORMAT
from shared.catalogue.tables import Attachment, File, IndexRow, Project, Release
from shared.ids import FileId, IndexId, ProjectId, ReleaseId


@dataclass(frozen=True, slots=True)
class LockedProject:
    """A project whose marks nobody else changes until the transaction ends."""

    id: ProjectId
    status: str
    status_reason: str | None
    removed: bool


@dataclass(frozen=True, slots=True)
class MarkedFile:
    """A file and its marks."""

    id: FileId
    file_name: str
    yanked: bool
    yanked_reason: str | None
    removed: bool
    held: bool = False


@dataclass(frozen=True, slots=True)
class Mark:
    """Who marks, when, and in which words."""

    at: datetime
    by: str
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class AddressedFile:
    """What an address below `+f/` means: a file, or an attachment (`attachment` says which)."""

    id: uuid.UUID
    attachment: bool
    project: NormalizedName
    version: str
    release_id: ReleaseId
    file_name: FileName
    removed: bool


async def addressed_file(
    connection: AsyncConnection, index_id: IndexId, life: int, path_key: str, file_name: FileName
) -> AddressedFile | None:
    """Return what an address of an index means, also when it was removed or belongs to an earlier life of the index.

    Args:
        path_key: the first 16 hex digits of the digest in the address.
    """
    for table, attachment in ((File, False), (Attachment, True)):
        row = (
            await connection.execute(
                select(table.id, table.release_id, table.removed_at, Release.version, Project.name, Project.life)
                .join(Release, Release.id == table.release_id)
                .join(Project, Project.id == Release.project_id)
                .where(table.index_id == index_id, table.path_key == path_key, table.file_name == file_name)
            )
        ).first()
        if row is not None:
            removed = row.removed_at is not None or row.life != life
            names = (NormalizedName(row.name), row.version, ReleaseId(row.release_id), file_name)
            return AddressedFile(row.id, attachment, *names, removed)
    return None


async def remove_addressed(connection: AsyncConnection, file: AddressedFile, mark: Mark) -> bool:
    """Mark what an address means as removed; returns whether it was still there."""
    if file.attachment:
        return await _remove_attachments(connection, Attachment.id == file.id, mark) > 0
    living = select(File.id).where(File.id == file.id, File.removed_at.is_(None))
    if await connection.scalar(living) is None:
        return False
    await remove(connection, [FileId(file.id)], mark)
    return True


async def lock_project(
    connection: AsyncConnection, index_id: IndexId, life: int, name: NormalizedName
) -> LockedProject | None:
    """Return a project, locked for this transaction; None when there is none of this name."""
    row = (
        await connection.execute(
            select(Project.id, Project.status, Project.status_reason, Project.removed_at.is_not(None).label("removed"))
            .where(Project.index_id == index_id, Project.life == life, Project.format == FORMAT, Project.name == name)
            .with_for_update()
        )
    ).first()
    return None if row is None else LockedProject(**row._mapping)


async def files_of(
    connection: AsyncConnection, project_id: ProjectId, release_id: ReleaseId | None = None
) -> list[MarkedFile]:
    """Return the files of a release, or of a whole project, with their marks, the removed ones as well."""
    query = select(File.id, File.file_name, File.yanked_at, File.yanked_reason, File.removed_at, File.held_at)
    query = query.where(File.project_id == project_id)
    if release_id is not None:
        query = query.where(File.release_id == release_id)
    rows = await connection.execute(query.order_by(File.file_name, File.removed_at.desc().nulls_first()))
    return [
        MarkedFile(
            id=FileId(row.id),
            file_name=row.file_name,
            yanked=row.yanked_at is not None,
            yanked_reason=row.yanked_reason,
            removed=row.removed_at is not None,
            held=row.held_at is not None,
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


async def hold(connection: AsyncConnection, files: list[FileId], mark: Mark) -> None:
    """Mark files as held for review, with a reason; those that are held already keep theirs."""
    values = {"held_at": mark.at, "held_by": mark.by, "held_reason": mark.reason}
    held = update(File).where(File.id.in_(files), File.held_at.is_(None), File.removed_at.is_(None))
    await connection.execute(held.values(**values))


@dataclass(frozen=True, slots=True)
class Holdable:
    """A file that may be held: where it belongs, in ids and as people name it."""

    project_id: ProjectId
    index: IndexName
    project: NormalizedName
    version: str
    file_name: FileName


async def holdable(connection: AsyncConnection, index_id: IndexId, file_id: FileId) -> Holdable | None:
    """Return a living file of an index that is not held, with its project locked; None when there is none."""
    row = (
        await connection.execute(
            select(Project.id, IndexRow.owner, IndexRow.name.label("index_name"), Project.name)
            .add_columns(Release.version, File.file_name)
            .join(Release, Release.id == File.release_id)
            .join(Project, Project.id == File.project_id)
            .join(IndexRow, IndexRow.id == File.index_id)
            .where(File.id == file_id, File.index_id == index_id, File.held_at.is_(None), File.removed_at.is_(None))
            .with_for_update(of=Project)
        )
    ).first()
    if row is None:
        return None
    names = (NormalizedName(row.name), row.version, FileName(row.file_name))
    return Holdable(ProjectId(row.id), IndexName(row.owner, row.index_name), *names)


async def unhold(connection: AsyncConnection, files: list[FileId]) -> None:
    """Hold files no more; who held them stays in the audit table."""
    values = {"held_at": None, "held_by": None, "held_reason": None}
    await connection.execute(update(File).where(File.id.in_(files)).values(**values))


async def remove(connection: AsyncConnection, files: list[FileId], mark: Mark) -> None:
    """Mark files as removed, with their test results."""
    values = {"removed_at": mark.at, "removed_by": mark.by, "removed_reason": mark.reason}
    await connection.execute(update(File).where(File.id.in_(files), File.removed_at.is_(None)).values(**values))
    await _remove_attachments(connection, Attachment.file_id.in_(files), mark)


async def remove_emptied(
    connection: AsyncConnection, project_id: ProjectId, release_id: ReleaseId | None, mark: Mark, *, whole: bool
) -> bool:
    """Mark a release (without one: all of a project) as removed when it has neither file nor documentation left, and
    the project when it has no release left. Returns whether anything was marked.

    Args:
        whole: the documentation goes as well: the release itself is removed, and not a file of it.
    """
    of_these = [Release.project_id == project_id, Release.removed_at.is_(None)]
    if release_id is not None:
        of_these.append(Release.id == release_id)
    if whole:
        ids = select(Release.id).where(*of_these)
        await _remove_attachments(connection, Attachment.release_id.in_(ids), mark)
    has_files = exists().where(File.release_id == Release.id, File.removed_at.is_(None))
    is_documented = exists().where(Attachment.release_id == Release.id, Attachment.removed_at.is_(None))
    values = {"removed_at": mark.at, "removed_by": mark.by}
    emptied = await connection.execute(update(Release).where(*of_these, ~has_files, ~is_documented).values(**values))
    has_releases = exists().where(Release.project_id == Project.id, Release.removed_at.is_(None))
    left = update(Project).where(Project.id == project_id, Project.removed_at.is_(None), ~has_releases)
    gone = await connection.execute(left.values(**values))
    return emptied.rowcount + gone.rowcount > 0


async def _remove_attachments(connection: AsyncConnection, which: ColumnElement[bool], mark: Mark) -> int:
    values = {"removed_at": mark.at, "removed_by": mark.by}
    marked = update(Attachment).where(which, Attachment.removed_at.is_(None)).values(**values)
    return (await connection.execute(marked)).rowcount


async def set_status(connection: AsyncConnection, project_id: ProjectId, status: str, reason: str | None) -> None:
    """Change the status of a project."""
    await connection.execute(
        update(Project).where(Project.id == project_id).values(status=status, status_reason=reason)
    )
