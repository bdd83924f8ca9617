"""Queries of the reading services: which file a path means, which metadata is published, which static pages are due.

Each is bounded and uses an index; none runs for what is in memory already (architecture section 9).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, exists, func, select
from sqlalchemy.dialects.postgresql import distinct_on, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from countermark.core.digest import Length, Sha256
from countermark.core.names import FileName, IndexName, NormalizedName
from shared.catalogue.heads import PageRef
from shared.catalogue.tables import (
    File,
    IndexRow,
    Laid,
    Page,
    Project,
    PublishedFile,
    Release,
    TrustFile,
    TufFile,
    TufHead,
)
from shared.ids import FileId, IndexId
from shared.reading.facts import FileFacts

PYTHON = "python"
"""Format of the projects that simple pages and the JSON API show."""


@dataclass(frozen=True, slots=True)
class LaidState:
    """Where the static pages of an index are to lie and how far they are: `serial` 0 before the first publication."""

    name: IndexName
    public: bool
    serial: int
    laid: int


async def file_facts(
    connection: AsyncConnection, index_id: IndexId, path_key: str, file_name: FileName
) -> FileFacts | None:
    """Return the file that a path of an index means for ever, None when it never meant one.

    Args:
        path_key: the first 16 hex digits of the file's sha256.
    """
    query = facts_query().where(File.index_id == index_id, File.path_key == path_key, File.file_name == file_name)
    row = (await connection.execute(query)).first()
    return None if row is None else facts_from(row, file_name)


def facts_query(*more: Any) -> Select[*tuple[Any, ...]]:
    """Return the query that `facts_from` reads the rows of; whoever calls says of which files.

    Args:
        more: columns that are wanted beside.
    """
    shown = PublishedFile.file_id == File.id
    columns = (
        File.id,
        Project.name.label("project"),
        File.sha256,
        File.length,
        File.uploaded_at,
        File.core_metadata_sha256,
    )
    marks = (File.core_metadata_length, File.removed_at, File.held_at, File.held_reason)
    status = (Project.status, Project.status_reason)
    states = (
        exists().where(shown, PublishedFile.to_serial.is_(None)).label("visible"),
        exists().where(shown, PublishedFile.index_id == File.index_id).label("was_visible"),
    )
    return select(*columns, *marks, *status, *states, *more).join(Project, Project.id == File.project_id)


def facts_from(row: Any, file_name: FileName) -> FileFacts:
    """Return what a row of `facts_query` says."""
    digest, length = row.core_metadata_sha256, row.core_metadata_length
    return FileFacts(
        id=FileId(row.id),
        project=NormalizedName(row.project),
        file_name=file_name,
        sha256=Sha256(row.sha256),
        length=Length(row.length),
        uploaded_at=row.uploaded_at,
        core_metadata_sha256=None if digest is None else Sha256(digest),
        core_metadata_length=None if length is None else Length(length),
        visible=row.visible,
        was_visible=row.was_visible,
        removed=row.removed_at is not None,
        held_reason=_held_reason(row),
    )


@dataclass(frozen=True, slots=True)
class FileDetails:
    """What a page does not say of a file it lists; nothing of it ever changes. "" is what is not known.

    Attributes:
        python_version: of what is no wheel, where that is said.
    """

    version: str
    package_type: str
    md5: str
    blake2b_256: str
    python_version: str = ""
    comment: str = ""


@dataclass(frozen=True, slots=True)
class ReleaseDetails:
    """A release's own metadata: `fields` has the keys of `packaging.metadata.RawMetadata`."""

    display_name: str
    fields: Mapping[str, Any]


async def file_details(
    connection: AsyncConnection, index_ids: Collection[IndexId], project: NormalizedName, version: str | None
) -> dict[tuple[Sha256, FileName], FileDetails]:
    """Return what is known of every file a project ever had in some indexes, or of those of one version, by digest and
    name."""
    query = (
        select(File.sha256, File.file_name, Release.version, File.package_type, File.md5, File.blake2b_256)
        .join(Release, Release.id == File.release_id)
        .join(Project, Project.id == File.project_id)
        .where(Project.index_id.in_(index_ids), Project.format == PYTHON, Project.name == project)
    )
    if version is not None:
        query = query.where(Release.version == version)
    return {
        (Sha256(row.sha256), FileName(row.file_name)): FileDetails(
            row.version, row.package_type, row.md5, row.blake2b_256
        )
        for row in await connection.execute(query)
    }


async def release_details(
    connection: AsyncConnection, index_id: IndexId, project: NormalizedName, version: str
) -> ReleaseDetails | None:
    """Return the metadata of a release as its first file has them; of several lives of the index, the newest one's."""
    row = (
        await connection.execute(
            select(Project.display_name, Release.core_metadata)
            .join(Release, Release.project_id == Project.id)
            .where(Project.index_id == index_id, Project.format == PYTHON, Project.name == project)
            .where(Release.version == version)
            .order_by(Project.life.desc())
            .limit(1)
        )
    ).first()
    return None if row is None else ReleaseDetails(row.display_name, row.metadata)


def _held_reason(row: Any) -> str | None:
    """Return why a file is held: by a mark of its own, or with its whole project in quarantine."""
    if row.held_at is not None:
        return row.held_reason or ""
    return (row.status_reason or "") if row.status == "quarantined" else None


async def metadata_digest(connection: AsyncConnection, index_id: IndexId, role: str, version: int) -> Sha256 | None:
    """Return the digest of a version of a role's metadata that was published: the index's own, else the shared one."""
    own = select(TufFile.sha256).where(TufFile.index_id == index_id, TufFile.role == role, TufFile.version == version)
    digest = await connection.scalar(own)
    if digest is None:
        shared = select(TrustFile.sha256).where(TrustFile.role == role, TrustFile.version == version)
        digest = await connection.scalar(shared)
    return None if digest is None else Sha256(digest)


async def root_content(connection: AsyncConnection, version: int) -> bytes | None:
    """Return the bytes of a version of the root, None when there is none."""
    return await connection.scalar(
        select(TrustFile.content).where(TrustFile.role == "root", TrustFile.version == version)
    )


async def laid_state(connection: AsyncConnection, index_id: IndexId) -> LaidState | None:
    """Return how far the static pages of an index are behind its head; None when there is no such index.

    Deleted indexes count: they are published empty, and their static pages must follow.
    """
    row = (
        await connection.execute(
            select(IndexRow.owner, IndexRow.name, IndexRow.visibility, TufHead.serial, Laid.serial.label("laid"))
            .outerjoin(TufHead, TufHead.index_id == IndexRow.id)
            .outerjoin(Laid, Laid.index_id == IndexRow.id)
            .where(IndexRow.id == index_id)
        )
    ).first()
    if row is None:
        return None
    return LaidState(IndexName(row.owner, row.name), row.visibility == "public", row.serial or 0, row.laid or 0)


async def pages_since(connection: AsyncConnection, index_id: IndexId, serial: int) -> Sequence[PageRef]:
    """Return the newest page document of each project whose page changed after `serial`, by name; also empty ones."""
    rows = await connection.execute(
        select(Page.project_name, Page.serial, Page.sha256, Page.length, Page.files)
        .where(Page.index_id == index_id, Page.serial > serial)
        .ext(distinct_on(Page.project_name))
        .order_by(Page.project_name, Page.serial.desc())
    )
    return [PageRef(row.project_name, row.serial, Sha256(row.sha256), Length(row.length), row.files) for row in rows]


async def mark_laid(connection: AsyncConnection, index_id: IndexId, serial: int) -> None:
    """Record that the static pages are laid up to `serial`; never takes back what another process recorded."""
    row = insert(Laid).values(index_id=index_id, serial=serial)
    newest = func.greatest(Laid.serial, row.excluded.serial)
    await connection.execute(row.on_conflict_do_update(index_elements=[Laid.index_id], set_={"serial": newest}))
