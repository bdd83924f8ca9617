"""Queries on projects, releases and files. Writer: upload."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from packaging.utils import NormalizedName
from sqlalchemy import ColumnElement, case, exists, func, literal, literal_column, select, update
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from countermark.core.digest import Length, Sha256
from countermark.core.names import FileName
from shared.catalogue.approvals import APPROVED, Standing
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
class NewRelease:
    """A release that is registered, with or without a file; `display_name` is the project as people write it."""

    format: str
    project: NormalizedName
    display_name: str
    version: str
    release_key: str
    fields: Mapping[str, Any]
    at: datetime


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
    history: Sequence[Mapping[str, Any]] = ()
    """Where it came from, in devpi's form; nothing for a plain upload."""

    @property
    def release(self) -> NewRelease:
        """The release that it belongs to."""
        at = self.coordinates
        names = (at.format, at.project, at.display_name, at.version, at.release_key)
        return NewRelease(*names, self.fields, self.uploaded_at)


@dataclass(frozen=True, slots=True)
class FileProgress:
    """How far a file has come: derived from the rows that exist."""

    file: KnownFile
    index_id: IndexId
    published_serial: int | None
    error: str | None
    approval: Standing | None = None

    def state(self, now: datetime) -> str:
        """Return `removed`, `published`, `failed` (signing refused it), `waiting` (for approvals), `withdrawn`,
        `expired` or `received`."""
        if self.file.removed:
            return "removed"
        if self.published_serial is not None:
            return "published"
        if self.error is not None:
            return "failed"
        found = APPROVED if self.approval is None else self.approval.state(now)
        return "received" if found == APPROVED else found


KNOWN = (File.id, File.file_name, File.sha256, File.length, File.uploader, File.uploaded_at, File.removed_at)
"""Columns of `known`, beside the project's name and the release's version."""


async def progress(connection: AsyncConnection, file_id: FileId) -> FileProgress | None:
    """Return how far a file has come, None when there is no such file."""
    row = (
        await connection.execute(
            select(*KNOWN, File.index_id, Project.name, Release.version, PublishedFile.from_serial)
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
    return FileProgress(known(row), IndexId(row.index_id), row.from_serial, refused)


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


STRICT = "strict"
"""The admission that reads what files say of themselves; the other, `devpi`, takes the form's word."""

_MARKS = ("yanked_at", "yanked_by", "yanked_reason", "removed_at", "removed_by", "removed_reason")
"""Marks of a file that end when it is uploaded again."""


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
    """Add a file whose name is known to be free, with its project and release where they are new; the caller's
    transaction decides. For uploads see `overwriting.add_file`.

    Raises:
        SourceArchiveTaken: it is a source archive, and its release has one.
        sqlalchemy.exc.IntegrityError: another upload took the name first.
    """
    project_id = await open_project(connection, index_id, life, new.release)
    release_id = await open_release(connection, project_id, new.release)
    return project_id, await write_file(connection, Room(index_id, project_id, release_id, side), new)


async def open_project(
    connection: AsyncConnection, index_id: IndexId, life: int, new: NewRelease, *, alone: bool = False
) -> ProjectId:
    """Return the project of a file or release that is added: made, or brought back, where there is none.

    Until the transaction ends, nobody removes the project.

    Args:
        alone: until then, nobody else adds to it who asks for the same.
    """
    keys = {"index_id": index_id, "life": life, "format": new.format, "name": new.project}
    await connection.execute(
        insert(Project)
        .values(id=new_uuid(), **keys, display_name=new.display_name, status="active", created_at=new.at)
        .on_conflict_do_nothing()
    )
    query = select(Project.id, Project.removed_at).filter_by(**keys)
    row = (await connection.execute(query.with_for_update(key_share=True, read=not alone))).one()
    if row.removed_at is not None:
        back = {"removed_at": None, "removed_by": None, "display_name": new.display_name}
        await connection.execute(update(Project).where(Project.id == row.id).values(**back))
    return ProjectId(row.id)


async def open_release(
    connection: AsyncConnection, project_id: ProjectId, new: NewRelease, admission: str = STRICT
) -> ReleaseId:
    """Return the release of a file that is added: made, or brought back, where there is none.

    Under admission `strict` its metadata are those of its first file, whatever was registered before; else each file
    adds the fields that it has.
    """
    made = await _make_release(connection, project_id, new)
    if made is not None:
        return made
    found = await release_named(connection, project_id, new.version, new.release_key)
    assert found is not None
    begins = Release.removed_at.is_not(None) if admission != STRICT else ~_has_files()
    fields = literal(dict(new.fields), JSONB)
    change = update(Release).where(Release.id == found.id)
    if admission == STRICT:
        change = change.where(begins).values(core_metadata=fields)
    else:
        change = change.values(core_metadata=case((begins, fields), else_=Release.core_metadata.concat(fields)))
    await connection.execute(change.values(removed_at=None, removed_by=None))
    return found.id


async def register(connection: AsyncConnection, project_id: ProjectId, new: NewRelease, *, always: bool) -> bool:
    """Add a release without a file, or replace the metadata of one; returns whether that changed anything.

    Args:
        always: also those of a release that has files.
    """
    made = await _make_release(connection, project_id, new)
    if made is not None:
        return True
    found = await release_named(connection, project_id, new.version, new.release_key)
    assert found is not None
    fields = literal(dict(new.fields), JSONB)
    differs = Release.core_metadata.is_distinct_from(fields) | Release.removed_at.is_not(None)
    change = update(Release).where(Release.id == found.id, differs)
    if not always:
        change = change.where(~_has_files())
    changed = await connection.execute(change.values(core_metadata=fields, removed_at=None, removed_by=None))
    return changed.rowcount > 0


async def _make_release(connection: AsyncConnection, project_id: ProjectId, new: NewRelease) -> ReleaseId | None:
    """Add a release; returns None when the project has one of this version."""
    made = await connection.scalar(
        insert(Release)
        .values(
            id=new_uuid(),
            project_id=project_id,
            version=new.version,
            version_key=new.release_key,
            core_metadata=dict(new.fields),
            created_at=new.at,
        )
        .on_conflict_do_nothing()
        .returning(Release.id)
    )
    return None if made is None else ReleaseId(made)


def _has_files() -> ColumnElement[bool]:
    return exists().where(File.release_id == Release.id, File.removed_at.is_(None))


@dataclass(frozen=True, slots=True)
class Room:
    """Where the row of a file goes.

    Attributes:
        side: of the store, `public` or `private`.
        again: the row that these bytes had under this name before, which comes back; None for a new one.
        admission: of the index.
    """

    index_id: IndexId
    project_id: ProjectId
    release_id: ReleaseId
    side: str
    again: FileId | None = None
    admission: str = STRICT


async def write_file(connection: AsyncConnection, room: Room, new: NewFile) -> FileId:
    """Add the row of a file, or bring one back; what people held stays held.

    Raises:
        SourceArchiveTaken: admission is strict, it is a source archive, and its release has one.
        sqlalchemy.exc.IntegrityError: another upload took the name first.
    """
    at = new.coordinates
    if at.package_type == SDIST and room.admission == STRICT:
        await _one_source_archive(connection, room.release_id, at.file_name)
    metadata = new.core_metadata
    values = {
        "project_id": room.project_id,
        "release_id": room.release_id,
        "package_type": at.package_type,
        "requires_python": new.requires_python,
        "core_metadata_sha256": None if metadata is None else metadata[0],
        "core_metadata_length": None if metadata is None else metadata[1],
        "uploaded_at": new.uploaded_at,
        "uploader": new.uploader,
        "token_id": new.token_id,
        "warnings": list(new.warnings),
        "history": list(new.history),
    }
    if room.again is not None:
        cleared = dict.fromkeys(_MARKS)
        await connection.execute(update(File).where(File.id == room.again).values(**values, **cleared))
        file_id = room.again
    else:
        file_id = FileId(new_uuid())
        bytes_of = {"sha256": new.sha256, "path_key": new.sha256[:16], "length": new.length}
        digests = {"blake2b_256": new.blake2b_256, "md5": new.md5}
        row = {"id": file_id, "index_id": room.index_id, "file_name": at.file_name, **values, **bytes_of, **digests}
        await connection.execute(insert(File).values(**row))
    stored = insert(StoredObject).values(
        side=room.side, sha256=new.sha256, file_name=at.file_name, length=new.length, stored_at=new.uploaded_at
    )
    await connection.execute(stored.on_conflict_do_nothing())
    return file_id


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


def known(row: Any) -> KnownFile:
    """Return the file of a row that has the columns `KNOWN`, the project's `name` and the release's `version`."""
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
