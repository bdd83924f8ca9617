"""Queries that bring files of other registries into an index, hundreds at a time. Writer: upload.

What is there already is left as it is, so that the same import can be run again, and goes on where it was cut.
Source: architecture section 11.1; contract devpi section 18.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from packaging.utils import NormalizedName
from sqlalchemy import func, select, text, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from countermark.core.digest import Length, Sha256
from countermark.core.names import FileName
from shared.catalogue.attachments import NewAttachment
from shared.catalogue.outbox import CHANNEL
from shared.catalogue.tables import Attachment, File, Outbox, Project, Release, StoredObject
from shared.formats.interface import Coordinates
from shared.ids import FileId, IndexId, ProjectId, ReleaseId, new_uuid
from shared.jobs.messages import PublishIndex, ids_of

_SENT_LATER = timedelta(minutes=1)
"""How long the jobs of a batch but its first wait for the relay: that one has signing drain them all, and each of the
others is sent only if it is still open then."""

Version = tuple[NormalizedName, str]
"""A project's normalised name, and a version of it in its normal form."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where files go: an index in its current life, and the side of the store that has its bytes."""

    index_id: IndexId
    life: int
    side: str
    owner: str


@dataclass(frozen=True, slots=True)
class KnownName:
    """What a name stands for, or stood for."""

    id: FileId
    file_name: FileName
    project: NormalizedName
    sha256: Sha256
    removed: bool
    this_life: bool


@dataclass(frozen=True, slots=True)
class ImportedRelease:
    """A version that is known without looking at its files, as another registry had it."""

    coordinates: Coordinates
    fields: Mapping[str, Any]
    at: datetime


@dataclass(frozen=True, slots=True)
class ImportedFile:
    """A file of another registry with its bytes stored.

    Attributes:
        release: of the file; its `coordinates` are the file's.
        history: in devpi's form (contract devpi section 4.5), empty for a plain upload.
    """

    release: ImportedRelease
    sha256: Sha256
    blake2b_256: str
    md5: str
    length: Length
    requires_python: str | None
    core_metadata: tuple[Sha256, Length] | None
    uploader: str
    uploaded_at: datetime
    history: Sequence[Mapping[str, Any]] = ()
    yanked: str | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """The ids that attachments need: of releases, and of living files by name."""

    releases: Mapping[Version, ReleaseId] = field(default_factory=dict)
    files: Mapping[FileName, tuple[FileId, ReleaseId, Sha256]] = field(default_factory=dict)


async def known_names(
    connection: AsyncConnection, place: Place, names: Collection[FileName]
) -> dict[FileName, list[KnownName]]:
    """Return what an index has, or had, under file names: name -> all that ever had it."""
    rows = await connection.execute(
        select(File.id, File.file_name, File.sha256, File.removed_at, Project.life, Project.name)
        .join(Project, Project.id == File.project_id)
        .where(File.index_id == place.index_id, File.file_name.in_(names))
    )
    found: dict[FileName, list[KnownName]] = {}
    for row in rows:
        known = KnownName(
            FileId(row.id),
            FileName(row.file_name),
            NormalizedName(row.name),
            Sha256(row.sha256),
            row.removed_at is not None,
            row.life == place.life,
        )
        found.setdefault(known.file_name, []).append(known)
    return found


async def add_releases(
    connection: AsyncConnection, place: Place, releases: Sequence[ImportedRelease]
) -> dict[Version, tuple[ProjectId, ReleaseId]]:
    """Add projects and releases where they are new; returns the ids of all, whether new or not."""
    projects = await _projects(connection, place, releases)
    new = {
        (projects[one.coordinates.project], one.coordinates.version): {
            "id": new_uuid(),
            "project_id": projects[one.coordinates.project],
            "version": one.coordinates.version,
            "version_key": one.coordinates.release_key,
            "metadata": dict(one.fields),
            "created_at": one.at,
        }
        for one in releases
    }
    rows = sorted(new.values(), key=lambda row: (row["project_id"], row["version"]))
    await connection.execute(insert(Release).on_conflict_do_nothing(), rows)
    keys = {(row["project_id"], row["version_key"]) for row in rows}
    query = select(Release.id, Release.project_id, Release.version, Release.version_key).where(
        tuple_(Release.project_id, Release.version_key).in_(keys) | tuple_(Release.project_id, Release.version).in_(new)
    )
    by_version, by_key = {}, {}
    for row in await connection.execute(query):
        by_version[row.project_id, row.version] = ReleaseId(row.id)
        by_key[row.project_id, row.version_key] = ReleaseId(row.id)
    found: dict[Version, tuple[ProjectId, ReleaseId]] = {}
    for one in releases:
        at, project = one.coordinates, projects[one.coordinates.project]
        release = by_version.get((project, at.version)) or by_key[project, at.release_key]
        found[at.project, at.version] = (project, release)
    await _unmark(connection, Release, [release for _, release in found.values()])
    return found


async def add_files(connection: AsyncConnection, place: Place, files: Sequence[ImportedFile]) -> list[FileId]:
    """Add files whose names are free, with their projects and releases, and ask for their publication.

    Raises:
        sqlalchemy.exc.IntegrityError: somebody took one of the names meanwhile.
    """
    releases = await add_releases(connection, place, [file.release for file in files])
    rows, jobs = [], []
    for file in files:
        at = file.release.coordinates
        project_id, release_id = releases[at.project, at.version]
        row = _row(place, file) | {"project_id": project_id, "release_id": release_id}
        rows.append(row)
        jobs.append(PublishIndex(place.index_id, project_id, FileId(row["id"])))
    await connection.execute(insert(File), rows)
    stored = [(file.sha256, file.release.coordinates.file_name, file.length, file.uploaded_at) for file in files]
    await _stored(connection, place, stored)
    await _enqueue(connection, jobs)
    return [FileId(row["id"]) for row in rows]


async def register(connection: AsyncConnection, place: Place, releases: Sequence[ImportedRelease]) -> None:
    """Add versions that have no file, and ask for the publication of the projects that are new with them."""
    names = {one.coordinates.project for one in releases}
    before = set(await connection.scalars(_ids(place, names, Project.name)))
    added = await add_releases(connection, place, releases)
    fresh = {project_id for (name, _), (project_id, _) in added.items() if name not in before}
    await _enqueue(connection, [PublishIndex(place.index_id, project_id) for project_id in sorted(fresh)])


async def ids_of_names(
    connection: AsyncConnection, place: Place, versions: Collection[Version], names: Collection[FileName]
) -> Found:
    """Return the ids of releases and of living files of an index, as far as they are there."""
    wanted = {name for name, _ in versions}
    rows = await connection.execute(
        select(Release.id, Project.name, Release.version)
        .join(Project, Project.id == Release.project_id)
        .where(Project.index_id == place.index_id, Project.life == place.life, Project.name.in_(wanted))
    )
    releases = {(NormalizedName(row.name), str(row.version)): ReleaseId(row.id) for row in rows}
    files = await connection.execute(
        select(File.id, File.file_name, File.release_id, File.sha256)
        .join(Project, Project.id == File.project_id)
        .where(File.index_id == place.index_id, Project.life == place.life)
        .where(File.file_name.in_(names), File.removed_at.is_(None))
    )
    by_name = {
        FileName(row.file_name): (FileId(row.id), ReleaseId(row.release_id), Sha256(row.sha256)) for row in files
    }
    return Found(releases, by_name)


async def known_addresses(
    connection: AsyncConnection, place: Place, addresses: Collection[tuple[str, FileName]]
) -> dict[tuple[str, FileName], Sha256]:
    """Return which addresses of attachments are taken, also by what was removed: (path key, name) -> digest."""
    rows = await connection.execute(
        select(Attachment.path_key, Attachment.file_name, Attachment.sha256).where(
            Attachment.index_id == place.index_id, tuple_(Attachment.path_key, Attachment.file_name).in_(addresses)
        )
    )
    return {(row.path_key, FileName(row.file_name)): Sha256(row.sha256) for row in rows}


async def add_attachments(connection: AsyncConnection, place: Place, attachments: Sequence[NewAttachment]) -> None:
    """Add attachments whose addresses are free.

    Raises:
        sqlalchemy.exc.IntegrityError: somebody took one of the addresses meanwhile.
    """
    rows = [
        {
            "id": new_uuid(),
            "index_id": one.index_id,
            "release_id": one.release_id,
            "file_id": one.file_id,
            "kind": one.kind,
            "file_name": one.file_name,
            "path_key": one.path_key,
            "sha256": one.sha256,
            "length": one.length,
            "history": [dict(entry) for entry in one.history],
            "added_at": one.added_at,
            "added_by": one.added_by,
        }
        for one in attachments
    ]
    await connection.execute(insert(Attachment), rows)
    await _stored(connection, place, [(one.sha256, one.file_name, one.length, one.added_at) for one in attachments])


async def waiting(connection: AsyncConnection, indexes: Collection[IndexId]) -> tuple[int, int]:
    """Return how many changes of some indexes wait for their publication, and how many were given up."""
    of = (Outbox.index_id.in_(indexes), Outbox.kind == PublishIndex.kind, Outbox.done_at.is_(None))
    query = select(
        func.count().filter(Outbox.dead_at.is_(None)).label("open"), func.count(Outbox.dead_at).label("dead")
    ).where(*of)
    row = (await connection.execute(query)).one()
    return row.open, row.dead


async def _projects(
    connection: AsyncConnection, place: Place, releases: Iterable[ImportedRelease]
) -> dict[NormalizedName, ProjectId]:
    new = {
        one.coordinates.project: {
            "id": new_uuid(),
            "index_id": place.index_id,
            "life": place.life,
            "format": one.coordinates.format,
            "name": one.coordinates.project,
            "display_name": one.coordinates.display_name,
            "status": "active",
            "created_at": one.at,
        }
        for one in releases
    }
    # By name, so that two transactions that add the same projects wait for each other and do not deadlock.
    await connection.execute(insert(Project).on_conflict_do_nothing(), [new[name] for name in sorted(new)])
    rows = await connection.execute(_ids(place, new, Project.id, Project.name))
    found = {NormalizedName(row.name): ProjectId(row.id) for row in rows}
    await _unmark(connection, Project, found.values())
    return found


async def _unmark(
    connection: AsyncConnection, table: type[Project | Release], ids: Iterable[ProjectId | ReleaseId]
) -> None:
    """Take back that projects or releases were removed: they get files again."""
    removed = update(table).where(table.id.in_(list(ids)), table.removed_at.is_not(None))
    await connection.execute(removed.values(removed_at=None, removed_by=None))


def _ids(place: Place, names: Collection[NormalizedName], *columns: Any) -> Any:
    of_index = (Project.index_id == place.index_id, Project.life == place.life, Project.format == "python")
    return select(*columns).where(*of_index, Project.name.in_(names))


def _row(place: Place, file: ImportedFile) -> dict[str, Any]:
    metadata = file.core_metadata
    return {
        "id": new_uuid(),
        "index_id": place.index_id,
        "file_name": file.release.coordinates.file_name,
        "package_type": file.release.coordinates.package_type,
        "sha256": file.sha256,
        "path_key": file.sha256[:16],
        "blake2b_256": file.blake2b_256,
        "md5": file.md5,
        "length": file.length,
        "requires_python": file.requires_python,
        "core_metadata_sha256": None if metadata is None else metadata[0],
        "core_metadata_length": None if metadata is None else metadata[1],
        "uploaded_at": file.uploaded_at,
        "uploader": file.uploader,
        "yanked_at": None if file.yanked is None else file.uploaded_at,
        "yanked_by": None if file.yanked is None else file.uploader,
        "yanked_reason": file.yanked or None,
        "history": [dict(entry) for entry in file.history],
    }


async def _stored(
    connection: AsyncConnection, place: Place, objects: Iterable[tuple[Sha256, FileName, int, datetime]]
) -> None:
    rows = [
        {"side": place.side, "sha256": sha256, "file_name": name, "length": length, "stored_at": at}
        for sha256, name, length, at in sorted(objects)
    ]
    await connection.execute(insert(StoredObject).on_conflict_do_nothing(), rows)


async def _enqueue(connection: AsyncConnection, messages: Sequence[PublishIndex]) -> None:
    """Add the jobs of a batch and wake the relay once, when it commits."""
    if not messages:
        return
    rows = [
        {
            "kind": message.kind,
            "ids": ids_of(message),
            "index_id": message.index_id,
            "available_at": func.now() + (_SENT_LATER if number else timedelta(0)),
        }
        for number, message in enumerate(messages)
    ]
    await connection.execute(insert(Outbox).values(rows))
    await connection.execute(text(f"NOTIFY {CHANNEL}"))
