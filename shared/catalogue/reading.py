"""Queries of the reading services: which file a path means, which metadata is published, which static pages are due.

Each is bounded and uses an index; none runs for what is in memory already (architecture section 9).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from countermark.core.digest import Length, Sha256
from countermark.core.names import FileName, IndexName, NormalizedName
from sqlalchemy import exists, func, select
from sqlalchemy.dialects.postgresql import distinct_on, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.catalogue.heads import PageRef
from shared.catalogue.tables import File, IndexRow, Laid, Page, Project, PublishedFile, TrustFile, TufFile, TufHead
from shared.ids import IndexId
from shared.reading.facts import FileFacts


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
    shown = PublishedFile.file_id == File.id
    columns = (Project.name.label("project"), File.sha256, File.length, File.uploaded_at, File.core_metadata_sha256)
    marks = (File.core_metadata_length, File.removed_at, File.held_at, File.held_reason)
    states = (
        exists().where(shown, PublishedFile.to_serial.is_(None)).label("visible"),
        exists().where(shown, PublishedFile.index_id == File.index_id).label("was_visible"),
    )
    row = (
        await connection.execute(
            select(*columns, *marks, *states)
            .join(Project, Project.id == File.project_id)
            .where(File.index_id == index_id, File.path_key == path_key, File.file_name == file_name)
        )
    ).first()
    if row is None:
        return None
    digest, length = row.core_metadata_sha256, row.core_metadata_length
    return FileFacts(
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
        held_reason=None if row.held_at is None else (row.held_reason or ""),
    )


async def metadata_digest(connection: AsyncConnection, index_id: IndexId, role: str, version: int) -> Sha256 | None:
    """Return the digest of a version of a role's metadata that was published: the index's own, else the shared one."""
    own = select(TufFile.sha256).where(TufFile.index_id == index_id, TufFile.role == role, TufFile.version == version)
    digest = await connection.scalar(own)
    if digest is None:
        shared = select(TrustFile.sha256).where(TrustFile.role == role, TrustFile.version == version)
        digest = await connection.scalar(shared)
    return None if digest is None else Sha256(digest)


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
