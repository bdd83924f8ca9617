"""Queries on projects, releases and files. Writer: upload."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from packaging.utils import NormalizedName
from sqlalchemy import ColumnElement, func, literal_column, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from countermark.core.digest import Length, Sha256
from countermark.core.names import FileName
from shared.catalogue.tables import File, Outbox, Project, PublishedFile, Release, StoredObject
from shared.formats.interface import Coordinates
from shared.formats.python.names import SDIST
from shared.ids import FileId, IndexId, ProjectId, ReleaseId, TokenId, new_uuid


@dataclass(frozen=True, slots=True)
class KnownFile:
    """A file that has, or had, a name in an index."""

    id: FileId
    project: NormalizedName
    version: str
    file_name: FileName
    sha256: Sha256
    length: Length
    uploader: str
    uploaded_at: datetime
    removed: bool


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file that was admitted, with its bytes stored."""

    coordinates: Coordinates
    sha256: Sha256
    blake2b_256: str
    md5: str
    length: Length
    requires_python: str | None
    core_metadata: tuple[Sha256, Length] | None
    fields: Mapping[str, Any]
    uploader: str
    token_id: TokenId | None
    uploaded_at: datetime
    warnings: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class FileProgress:
    """How far a file has come: derived from the rows that exist."""

    file: KnownFile
    index_id: IndexId
    published_serial: int | None
    error: str | None

    @property
    def state(self) -> str:
        """`removed`, `published`, `failed` (signing refused it) or `received`."""
        if self.file.removed:
            return "removed"
        if self.published_serial is not None:
            return "published"
        return "received" if self.error is None else "failed"


_KNOWN = (File.id, File.file_name, File.sha256, File.length, File.uploader, File.uploaded_at, File.removed_at)


async def known_file(
    connection: AsyncConnection, index_id: IndexId, life: int, file_name: FileName
) -> KnownFile | None:
    """Return the file that has this name in an index, else the newest one that had it, None when it is free."""
    row = (
        await connection.execute(
            select(*_KNOWN, Project.name, Release.version)
            .join(Project, Project.id == File.project_id)
            .join(Release, Release.id == File.release_id)
            .where(File.index_id == index_id, File.file_name == file_name, Project.life == life)
            .order_by(File.removed_at.desc().nulls_first())
            .limit(1)
        )
    ).first()
    return None if row is None else _known(row)


async def progress(connection: AsyncConnection, file_id: FileId) -> FileProgress | None:
    """Return how far a file has come, None when there is no such file."""
    row = (
        await connection.execute(
            select(*_KNOWN, File.index_id, Project.name, Release.version, PublishedFile.from_serial)
            .join(Project, Project.id == File.project_id)
            .join(Release, Release.id == File.release_id)
            .outerjoin(PublishedFile, (PublishedFile.file_id == File.id) & PublishedFile.to_serial.is_(None))
            .where(File.id == file_id)
        )
    ).first()
    if row is None:
        return None
    refused = await connection.scalar(
        select(Outbox.last_error).where(
            Outbox.index_id == row.index_id,
            Outbox.dead_at.is_not(None),
            Outbox.ids["file_id"].astext == str(file_id),
        )
    )
    return FileProgress(_known(row), IndexId(row.index_id), row.from_serial, refused)


async def path_key_taken(connection: AsyncConnection, index_id: IndexId, sha256: Sha256, file_name: FileName) -> bool:
    """Return whether other bytes of this name had the same 64 bits of digest in their URL: such an upload is
    refused."""
    query = select(File.id).where(
        File.index_id == index_id,
        File.path_key == sha256[:16],
        File.file_name == file_name,
        File.sha256 != sha256,
    )
    return await connection.scalar(query) is not None


async def project_status(
    connection: AsyncConnection, index_id: IndexId, life: int, format_name: str, project: NormalizedName
) -> str | None:
    """Return the status of a project, None when it does not exist yet."""
    return await connection.scalar(
        select(Project.status).where(
            Project.index_id == index_id, Project.life == life, Project.format == format_name, Project.name == project
        )
    )


_ALIKE: tuple[ColumnElement[str], ...] = (literal_column("'lio-'"), literal_column("'110'"))
"""What names are compared without: `l` and `i` become `1`, `o` becomes `0`, separators vanish. Literals and no
parameters, since the index `ix_project_alike` has the same expression."""


async def confusable_project(
    connection: AsyncConnection, index_id: IndexId, life: int, format_name: str, project: NormalizedName
) -> NormalizedName | None:
    """Return another project of an index whose name people may take for this one, None when there is none.

    Names look alike when they are equal without separators, with `l` and `i` as `1` and `o` as `0`.
    Source: contract python-index section 2.3 (row 3).
    """
    alike = (
        select(Project.name)
        .where(Project.index_id == index_id, Project.life == life, Project.format == format_name)
        .where(func.translate(Project.name, *_ALIKE) == func.translate(project, *_ALIKE), Project.name != project)
        .cte("alike")
        # Else the first by name is looked for by walking through all names, in the hope that one comes soon.
        .prefix_with("MATERIALIZED")
    )
    found = await connection.scalar(select(func.min(alike.c.name)))
    return None if found is None else NormalizedName(found)


class SourceArchiveTaken(Exception):
    """The release has a source archive already, of the name `args[0]`."""


@dataclass(frozen=True, slots=True)
class NamedRelease:
    """A release and its version as its first file wrote it."""

    id: ReleaseId
    version: str


async def release_named(
    connection: AsyncConnection, project_id: ProjectId, version: str, key: str
) -> NamedRelease | None:
    """Return the release that a version means: the one written so, else the one that it equals; None without any.

    Args:
        version: normalised.
        key: what equal versions have in common; see `Coordinates.release_key`.
    """
    query = (
        select(Release.id, Release.version)
        .where(Release.project_id == project_id, (Release.version == version) | (Release.version_key == key))
        .order_by(Release.version != version)
        .limit(1)
    )
    row = (await connection.execute(query)).first()
    return None if row is None else NamedRelease(ReleaseId(row.id), row.version)


async def insert_file(
    connection: AsyncConnection, index_id: IndexId, life: int, side: str, new: NewFile
) -> tuple[ProjectId, FileId]:
    """Add a file, with its project and release where they are new; the caller's transaction decides.

    Raises:
        SourceArchiveTaken: it is a source archive, and its release has one.
        sqlalchemy.exc.IntegrityError: another upload took the name first.
    """
    at = new.coordinates
    project_id = await _project(connection, index_id, life, new)
    release_id = await _release(connection, project_id, new)
    if at.package_type == SDIST:
        await _one_source_archive(connection, release_id, at.file_name)
    file_id = FileId(new_uuid())
    metadata = new.core_metadata
    await connection.execute(
        insert(File).values(
            id=file_id,
            index_id=index_id,
            project_id=project_id,
            release_id=release_id,
            file_name=at.file_name,
            package_type=at.package_type,
            sha256=new.sha256,
            path_key=new.sha256[:16],
            blake2b_256=new.blake2b_256,
            md5=new.md5,
            length=new.length,
            requires_python=new.requires_python,
            core_metadata_sha256=None if metadata is None else metadata[0],
            core_metadata_length=None if metadata is None else metadata[1],
            uploaded_at=new.uploaded_at,
            uploader=new.uploader,
            token_id=new.token_id,
            warnings=list(new.warnings),
        )
    )
    stored = insert(StoredObject).values(
        side=side, sha256=new.sha256, file_name=at.file_name, length=new.length, stored_at=new.uploaded_at
    )
    await connection.execute(stored.on_conflict_do_nothing())
    return project_id, file_id


async def _project(connection: AsyncConnection, index_id: IndexId, life: int, new: NewFile) -> ProjectId:
    at = new.coordinates
    keys = {"index_id": index_id, "life": life, "format": at.format, "name": at.project}
    await connection.execute(
        insert(Project)
        .values(id=new_uuid(), **keys, display_name=at.display_name, status="active", created_at=new.uploaded_at)
        .on_conflict_do_nothing()
    )
    found = await connection.scalar(select(Project.id).filter_by(**keys))
    assert found is not None
    return ProjectId(found)


async def _release(connection: AsyncConnection, project_id: ProjectId, new: NewFile) -> ReleaseId:
    at = new.coordinates
    await connection.execute(
        insert(Release)
        .values(
            id=new_uuid(),
            project_id=project_id,
            version=at.version,
            version_key=at.release_key,
            core_metadata=dict(new.fields),
            created_at=new.uploaded_at,
        )
        .on_conflict_do_nothing()
    )
    found = await release_named(connection, project_id, at.version, at.release_key)
    assert found is not None
    return found.id


async def _one_source_archive(connection: AsyncConnection, release_id: ReleaseId, file_name: FileName) -> None:
    """Let a release have one source archive: another spelling of its version must not bring a second.

    Source: contract python-index section 2.3 (row 9).
    """
    # The release stays locked until the commit, so that of two at once the second sees the first.
    await connection.execute(select(Release.id).where(Release.id == release_id).with_for_update(key_share=True))
    query = select(File.file_name).where(
        File.release_id == release_id,
        File.package_type == SDIST,
        File.file_name != file_name,
        File.removed_at.is_(None),
    )
    found = await connection.scalar(query.limit(1))
    if found is not None:
        raise SourceArchiveTaken(found)


def _known(row: Any) -> KnownFile:
    return KnownFile(
        id=FileId(row.id),
        project=NormalizedName(row.name),
        version=row.version,
        file_name=FileName(row.file_name),
        sha256=Sha256(row.sha256),
        length=Length(row.length),
        uploader=row.uploader,
        uploaded_at=row.uploaded_at,
        removed=row.removed_at is not None,
    )
