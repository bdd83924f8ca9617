"""Queries of devpi's documents: what indexes have of a project, in a few statements however many releases it has.

Files count when a publication shows them, as on pages. What is no part of pages (releases without files, documentation,
test results) is there from the commit that made it. The statements of one document may see different commits: each is
written so that a file or release that changes in between is there or not, but never half.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, ScalarSelect, Select, Text, cast, exists, func, literal_column, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from countermark.core.digest import Sha256
from countermark.core.names import FileName, NormalizedName
from shared.catalogue.tables import Attachment, Audit, Base, File, Project, PublishedFile, Release
from shared.ids import FileId, IndexId, ProjectId, ReleaseId
from shared.reading.devpi_rows import AttachmentRow, FileRow, Holdings, ProjectRow, ReleaseRow

PYTHON = "python"
"""Format of the projects that devpi knows."""

QUARANTINED = "quarantined"


@dataclass(frozen=True, slots=True)
class VersionSought:
    """A version as it was asked for; `key` is what versions that equal it have in common."""

    text: str
    key: str


@dataclass(frozen=True, slots=True)
class Mark:
    """What a project is in some indexes at a moment: any change of a row gives another `rows`.

    Attributes:
        serial: the deployment's, as of then.
    """

    rows: str
    serial: int


async def mark_of(connection: AsyncConnection, lives: Mapping[IndexId, int], name: NormalizedName) -> Mark:
    """Return the mark of a project in some indexes: one statement, which reads less than the documents need.

    Whoever asks for it before reading the rows never takes an old document for a new one.
    """
    mine = select(Project.id).where(tuple_(Project.index_id, Project.life).in_(list(lives.items())))
    ids = mine.where(Project.format == PYTHON, Project.name == name).cte("ids")
    of_project = select(ids.c.id)
    counted = [
        _counted(Project, Project.id.in_(of_project)),
        _counted(Release, Release.project_id.in_(of_project)),
        _counted(File, File.project_id.in_(of_project)),
        _counted(PublishedFile, PublishedFile.project_id.in_(of_project), PublishedFile.to_serial.is_(None)),
        _counted(Attachment, Attachment.release_id.in_(select(Release.id).where(Release.project_id.in_(of_project)))),
    ]
    newest = select(func.coalesce(func.max(Audit.id), 0)).scalar_subquery()
    row = (await connection.execute(select(func.concat_ws(" ", *counted).label("rows"), newest.label("serial")))).one()
    return Mark(row.rows, row.serial)


def _counted(table: type[Base], *conditions: ColumnElement[bool]) -> ScalarSelect[str]:
    """Return what tells the versions of some rows of a table from all others: their count, and a sum over them.

    A row that changes is a new version at another place (`ctid`), made by another transaction (`xmin`).
    """
    name = table.__tablename__
    versions: ColumnElement[str] = literal_column(
        f"sum(hashtextextended({name}.ctid::text || ' ' || {name}.xmin::text, 0))"
    )
    return select(func.concat_ws(":", func.count(), versions)).select_from(table).where(*conditions).scalar_subquery()


async def holdings_of(
    connection: AsyncConnection, lives: Mapping[IndexId, int], name: NormalizedName, version: VersionSought | None
) -> Holdings:
    """Return what indexes have of a project, or of one version of it.

    Args:
        lives: present life by index.
        version: None for all.
    """
    projects = await _projects(connection, lives, name)
    if not projects:
        return Holdings(projects)
    ids = [project.id for project in projects.values()]
    # In this order: a first file that becomes visible meanwhile is found, and one that vanishes leaves no trace.
    registered: dict[ProjectId, list[ReleaseRow]] = {}
    for release in await _registered(connection, ids, version):
        registered.setdefault(release.project_id, []).append(release)
    files: dict[ProjectId, list[FileRow]] = {}
    for file in await _visible_files(connection, ids, version):
        files.setdefault(file.release.project_id, []).append(file)
    attachments: dict[ReleaseId, list[AttachmentRow]] = {}
    for attachment in await _attachments(connection, ids, version):
        attachments.setdefault(attachment.release_id, []).append(attachment)
    return Holdings(projects, registered, files, attachments)


async def _projects(
    connection: AsyncConnection, lives: Mapping[IndexId, int], name: NormalizedName
) -> dict[IndexId, ProjectRow]:
    """Return the project of a name in each index that knows it, with or without files."""
    columns = (Project.id, Project.index_id, Project.display_name, Project.status)
    rows = await connection.execute(
        select(*columns)
        .where(tuple_(Project.index_id, Project.life).in_(list(lives.items())))
        .where(Project.format == PYTHON, Project.name == name, Project.removed_at.is_(None))
    )
    return {
        IndexId(row.index_id): ProjectRow(
            ProjectId(row.id), IndexId(row.index_id), row.display_name, row.status == QUARANTINED
        )
        for row in rows
    }


async def _registered(
    connection: AsyncConnection, projects: Collection[ProjectId], version: VersionSought | None
) -> list[ReleaseRow]:
    """Return the releases that were registered and never had a file, oldest first.

    A release whose files all wait for their publication is not there yet, and one that lost its files is no more.
    """
    # By project, so that the files are read once and not looked up release by release.
    any_file = exists().where(
        File.project_id == Release.project_id, File.release_id == Release.id, File.removed_at.is_(None)
    )
    query = _of_version(select(*_RELEASE), version).where(
        Release.project_id.in_(projects), Release.removed_at.is_(None), ~any_file
    )
    return [_release(row) for row in await connection.execute(query.order_by(Release.created_at, Release.id))]


async def _visible_files(
    connection: AsyncConnection, projects: Collection[ProjectId], version: VersionSought | None
) -> list[FileRow]:
    """Return the files that publications show, oldest first."""
    columns = (File.id.label("file_id"), File.file_name, File.sha256, File.uploaded_at, File.uploader, File.history)
    query = (
        _of_version(select(*_RELEASE, *columns), version)
        .join(File, File.release_id == Release.id)
        .join(PublishedFile, (PublishedFile.file_id == File.id) & PublishedFile.to_serial.is_(None))
        .where(PublishedFile.project_id.in_(projects))
        .order_by(File.uploaded_at, File.id)
    )
    return [
        FileRow(
            id=FileId(row.file_id),
            release=_release(row),
            file_name=FileName(row.file_name),
            sha256=Sha256(row.sha256),
            uploaded_at=row.uploaded_at,
            uploader=row.uploader,
            history=row.history,
        )
        for row in await connection.execute(query)
    ]


async def _attachments(
    connection: AsyncConnection, projects: Collection[ProjectId], version: VersionSought | None
) -> list[AttachmentRow]:
    """Return documentation and test results, oldest first."""
    names = (Attachment.release_id, Attachment.file_id, Attachment.kind, Attachment.file_name, Attachment.path_key)
    origin = (Attachment.sha256, Attachment.history, Attachment.added_at, Attachment.added_by)
    columns: tuple[Any, ...] = (*names, *origin)
    query = (
        _of_version(select(*columns), version)
        .join(Release, Release.id == Attachment.release_id)
        .where(Release.project_id.in_(projects), Attachment.removed_at.is_(None))
        .order_by(Attachment.added_at, Attachment.id)
    )
    return [
        AttachmentRow(
            release_id=ReleaseId(row.release_id),
            file_id=None if row.file_id is None else FileId(row.file_id),
            kind=row.kind,
            file_name=FileName(row.file_name),
            path_key=row.path_key,
            sha256=Sha256(row.sha256),
            history=row.history,
            added_at=row.added_at,
            added_by=row.added_by,
        )
        for row in await connection.execute(query)
    ]


async def metadata_of(connection: AsyncConnection, releases: Sequence[ReleaseId]) -> dict[ReleaseId, str]:
    """Return the metadata of some releases, as JSON text: who reads it does so in a thread."""
    metadata = cast(Release.core_metadata, Text).label("fields")
    rows = await connection.execute(select(Release.id, metadata).where(Release.id.in_(releases)))
    return {ReleaseId(row.id): row.fields for row in rows}


async def release_of_file(connection: AsyncConnection, file_id: FileId) -> tuple[NormalizedName, str] | None:
    """Return project and version of a file."""
    row = (
        await connection.execute(
            select(Project.name, Release.version)
            .join(Release, Release.project_id == Project.id)
            .join(File, File.release_id == Release.id)
            .where(File.id == file_id)
        )
    ).first()
    return None if row is None else (NormalizedName(row.name), row.version)


_WEIGHT: ColumnElement[int] = func.pg_column_size(Release.core_metadata).label("weight")
_RELEASE: tuple[Any, ...] = (Release.id, Release.project_id, Release.version, _WEIGHT)


def _of_version(query: Select[Any], version: VersionSought | None) -> Select[Any]:
    if version is None:
        return query
    return query.where((Release.version == version.text) | (Release.version_key == version.key))


def _release(row: Any) -> ReleaseRow:
    return ReleaseRow(ReleaseId(row.id), ProjectId(row.project_id), row.version, row.weight)
