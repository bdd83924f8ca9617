"""Queries of a publication: what waits, what is current, and the one commit that makes a batch visible. Writer:
signing."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Select, case, exists, func, insert, select, text, tuple_, update
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import aliased

from countermark.core.digest import Length, Sha256
from countermark.core.names import FileName, IndexName
from shared.catalogue.heads import CHANNEL
from shared.catalogue.publication_rows import (
    CurrentFile,
    FileState,
    HeadState,
    IndexFacts,
    IntentLine,
    NewHead,
    NewTufFile,
    ProjectState,
    Request,
)
from shared.catalogue.tables import (
    Audit,
    File,
    IndexRow,
    Intent,
    Journal,
    Page,
    Project,
    Publication,
    PublishedFile,
    Release,
    TufFile,
    TufHead,
)
from shared.ids import AuditId, FileId, IndexId, ProjectId
from shared.reading.resolution import MIRROR


async def index_facts(connection: AsyncConnection, index_id: IndexId) -> IndexFacts | None:
    """Return what signing needs to know of an index, None when there is no such row or it is a mirror, which is never
    signed."""
    row = (await connection.execute(_facts_of(index_id))).first()
    return None if row is None or row.type == MIRROR else _facts(row)


async def index_names(connection: AsyncConnection) -> list[tuple[IndexName, IndexId]]:
    """Return every index that is signed, by name, also those that were deleted."""
    query = select(IndexRow.owner, IndexRow.name, IndexRow.id).where(IndexRow.type != MIRROR)
    rows = await connection.execute(query.order_by(IndexRow.owner, IndexRow.name))
    return [(IndexName(row.owner, row.name), IndexId(row.id)) for row in rows]


async def unchanged(connection: AsyncConnection, index: IndexFacts) -> bool:
    """Return whether an index is as it was; until the end of the transaction it stays so."""
    row = (await connection.execute(_facts_of(index.id).with_for_update(read=True))).one()
    return _facts(row) == index


def _facts_of(index_id: IndexId) -> Select[*tuple[Any, ...]]:
    columns = (IndexRow.id, IndexRow.owner, IndexRow.name, IndexRow.life, IndexRow.visibility, IndexRow.deleted_at)
    return select(*columns, IndexRow.type).where(IndexRow.id == index_id)


def _facts(row: Row[*tuple[Any, ...]]) -> IndexFacts:
    return IndexFacts(
        IndexId(row.id),
        IndexName(row.owner, row.name),
        row.life,
        row.visibility == "public",
        row.deleted_at is not None,
    )


async def head_state(connection: AsyncConnection, index_id: IndexId) -> HeadState | None:
    """Return the head of an index, None before its first publication."""
    columns = (TufHead.serial, TufHead.snapshot_version, TufHead.snapshot_expires_at, TufHead.timestamp_version)
    more = (TufHead.timestamp_expires_at, TufHead.registry_version)
    shared = (TufHead.root_version, TufHead.targets_version, TufHead.trust_version)
    query = select(*columns, *more, *shared).where(TufHead.index_id == index_id)
    row = (await connection.execute(query)).first()
    return None if row is None else HeadState(**row._mapping)


async def current_files(connection: AsyncConnection, index_id: IndexId) -> dict[str, CurrentFile]:
    """Return the current version of each bin of an index, role -> file."""
    rows = await connection.execute(
        select(TufFile.role, TufFile.version, TufFile.expires_at).where(
            TufFile.index_id == index_id, TufFile.current, TufFile.role != "snapshot"
        )
    )
    return {row.role: CurrentFile(row.role, row.version, row.expires_at) for row in rows}


async def current_contents(connection: AsyncConnection, index_id: IndexId, roles: Collection[str]) -> dict[str, bytes]:
    """Return the bytes of the current version of some roles, role -> bytes."""
    rows = await connection.execute(
        select(TufFile.role, TufFile.content).where(
            TufFile.index_id == index_id, TufFile.current, TufFile.role.in_(roles)
        )
    )
    return {row.role: row.content for row in rows}


async def all_current_files(connection: AsyncConnection, index_id: IndexId) -> list[NewTufFile]:
    """Return every current online metadata file of an index but the timestamp: what a rebuild writes again."""
    rows = await connection.execute(
        select(TufFile.role, TufFile.version, TufFile.sha256, TufFile.expires_at, TufFile.content).where(
            TufFile.index_id == index_id, TufFile.current
        )
    )
    return [NewTufFile(**row._mapping) for row in rows]


async def head_timestamp(connection: AsyncConnection, index_id: IndexId) -> bytes | None:
    """Return the bytes of the current timestamp, None before the first publication."""
    return await connection.scalar(select(TufHead.timestamp).where(TufHead.index_id == index_id))


async def project_states(connection: AsyncConnection, ids: Collection[ProjectId]) -> list[ProjectState]:
    """Return projects by their ids, each with the digest of its current page document."""
    columns = (Project.id, Project.name, Project.format, Project.status, Project.status_reason, Project.life)
    page = select(Page.sha256).where(Page.index_id == Project.index_id, Page.project_id == Project.id)
    newest = page.order_by(Page.serial.desc()).limit(1).scalar_subquery()
    removed = Project.removed_at.is_not(None).label("removed")
    rows = await connection.execute(select(*columns, newest.label("page_sha256"), removed).where(Project.id.in_(ids)))
    return [ProjectState(**row._mapping) for row in rows]


async def requests(connection: AsyncConnection, ids: Collection[AuditId]) -> dict[AuditId, Request]:
    """Return what was asked for, by its number in the audit table."""
    if not ids:
        return {}
    rows = await connection.execute(select(Audit.id, Audit.action, Audit.actor, Audit.detail).where(Audit.id.in_(ids)))
    return {
        AuditId(row.id): Request(
            action=row.action,
            actor=row.actor,
            version=row.detail.get("version"),
            file=row.detail.get("file"),
            status=row.detail.get("status"),
        )
        for row in rows
    }


async def file_states(
    connection: AsyncConnection,
    projects: Collection[ProjectId],
    batch: Collection[FileId],
    whole: Collection[ProjectId] = (),
) -> list[FileState]:
    """Return the files a batch is about: those of its own, and those of the touched projects that are visible now.

    A file that was uploaded but is not in this batch is left out: its bytes were not checked yet.

    Args:
        whole: projects of which every file is wanted that was not removed, since their status decides what is visible.
    """
    if not projects:
        return []
    wanted = _IS_OPEN | File.id.in_(batch) | (File.project_id.in_(whole) & File.removed_at.is_(None))
    rows = await connection.execute(_file_rows().where(File.project_id.in_(projects), wanted))
    return [_file_state(row) for row in rows]


async def changed_files(
    connection: AsyncConnection,
    projects: Collection[ProjectId],
    batch: Collection[FileId],
    releases: Collection[tuple[ProjectId, str]],
) -> list[FileState]:
    """Return the files of some projects that a batch may change, and no others, however many the projects have.

    Args:
        batch: files that are new.
        releases: (project, version) of those of which something was asked for: their files that are visible now.
    """
    if not projects:
        return []
    rows = list(await connection.execute(_file_rows().where(File.id.in_(batch), File.project_id.in_(projects))))
    if releases:
        marked = tuple_(File.project_id, Release.version).in_(list(releases)) & _IS_OPEN
        rows += await connection.execute(_file_rows().where(marked, File.id.not_in(batch)))
    return [_file_state(row) for row in rows]


_IS_OPEN = PublishedFile.file_id.is_not(None)


_LAST_STEP = File.history[-1]
_BROUGHT_BY = case(
    (_LAST_STEP["what"].astext == "push", func.coalesce(_LAST_STEP["who"].astext, "")), else_=File.uploader
).label("uploader")
"""Who brought a file into this index: of one that was pushed here, whoever pushed it and not who made it elsewhere."""


def _file_rows() -> Select[*tuple[Any, ...]]:
    earlier = aliased(PublishedFile)
    was_open = exists().where(earlier.index_id == File.index_id, earlier.file_id == File.id)
    columns = (File.id, File.project_id, Release.version, File.file_name, File.package_type, File.sha256, File.length)
    more = (File.requires_python, File.core_metadata_sha256, File.uploaded_at, _BROUGHT_BY, File.yanked_at)
    marks = (File.yanked_reason, File.removed_at, File.removed_by, File.held_at, _IS_OPEN.label("published"))
    return (
        select(*columns, *more, *marks, (_IS_OPEN | was_open).label("was_published"))
        .join(Release, Release.id == File.release_id)
        .outerjoin(PublishedFile, (PublishedFile.file_id == File.id) & PublishedFile.to_serial.is_(None))
    )


def _file_state(row: Any) -> FileState:
    return FileState(
        id=FileId(row.id),
        project_id=ProjectId(row.project_id),
        version=row.version,
        file_name=FileName(row.file_name),
        package_type=row.package_type,
        sha256=Sha256(row.sha256),
        length=Length(row.length),
        requires_python=row.requires_python,
        core_metadata_sha256=None if row.core_metadata_sha256 is None else Sha256(row.core_metadata_sha256),
        uploaded_at=row.uploaded_at,
        uploader=row.uploader,
        yanked=None if row.yanked_at is None else (row.yanked_reason or ""),
        removed=row.removed_at is not None,
        held=row.held_at is not None,
        published=row.published,
        was_published=row.was_published,
        removed_by=row.removed_by,
    )


async def visible_projects(connection: AsyncConnection, index_id: IndexId) -> list[tuple[ProjectId, int]]:
    """Return each project that has a page, with the serial of its current one: what a rebuild renders again. Of several
    of a name, from several lives of the index, the one whose page is current."""
    rows = await connection.execute(
        select(Page.project_id, Page.serial)
        .where(Page.index_id == index_id)
        .ext(distinct_on(Page.project_name))
        .order_by(Page.project_name, Page.serial.desc())
    )
    return [(ProjectId(project_id), serial) for project_id, serial in rows]


async def insert_intents(
    connection: AsyncConnection, index_id: IndexId, version: int, fence: int, lines: Sequence[IntentLine]
) -> None:
    """Keep what a batch is about to sign, before any signature."""
    if lines:
        await connection.execute(
            insert(Intent),
            [
                {
                    "index_id": index_id,
                    "version": version,
                    "path": line.path,
                    "operation": line.operation,
                    "sha256": line.sha256,
                    "length": line.length,
                    "fence": fence,
                }
                for line in lines
            ],
        )


async def insert_head(connection: AsyncConnection, index_id: IndexId, head: NewHead) -> None:
    """Make a batch current, in the caller's transaction (which has guarded the lease) and notify `heads.CHANNEL`."""
    await keep_tuf_files(connection, index_id, head.tuf_files, head.committed_at)
    await _show_and_hide(connection, index_id, head)
    if head.changes:
        await connection.execute(
            insert(Publication).values(
                index_id=index_id,
                serial=head.serial,
                version=head.version,
                changes=head.changes,
                started_at=head.started_at,
                committed_at=head.committed_at,
            )
        )
    await connection.execute(
        update(Intent).where(Intent.index_id == index_id, Intent.version == head.version).values(serial=head.serial)
    )
    values = {
        "fence": head.fence,
        "serial": head.serial,
        "root_version": head.root_version,
        "registry_version": head.registry_version,
        "targets_version": head.targets_version,
        "trust_version": head.trust_version,
        "snapshot_expires_at": head.snapshot_expires_at,
        "timestamp_version": head.version,
        "timestamp_expires_at": head.timestamp_expires_at,
        "timestamp": head.timestamp,
        "committed_at": head.committed_at,
        "snapshot_version": head.snapshot_version,
    }
    statement = upsert(TufHead).values(index_id=index_id, **values)
    await connection.execute(statement.on_conflict_do_update(index_elements=["index_id"], set_=values))
    await connection.execute(
        text("select pg_notify(:channel, :payload)"), {"channel": CHANNEL, "payload": str(index_id)}
    )


async def keep_tuf_files(
    connection: AsyncConnection, index_id: IndexId, files: Sequence[NewTufFile], at: datetime
) -> None:
    """Keep new versions of roles' metadata as the current ones, in the transaction that changes the head, at `at`."""
    if not files:
        return
    roles = [file.role for file in files]
    await connection.execute(
        update(TufFile)
        .where(TufFile.index_id == index_id, TufFile.role.in_(roles), TufFile.current)
        .values(current=False, superseded_at=at)
    )
    await connection.execute(
        insert(TufFile),
        [
            {
                "index_id": index_id,
                "role": file.role,
                "version": file.version,
                "sha256": file.sha256,
                "length": len(file.content),
                "expires_at": file.expires_at,
                "current": True,
                "content": file.content,
            }
            for file in files
        ],
    )


async def _show_and_hide(connection: AsyncConnection, index_id: IndexId, head: NewHead) -> None:
    if head.shown:
        await connection.execute(
            insert(PublishedFile),
            [
                {"index_id": index_id, "file_id": file_id, "from_serial": head.serial, "project_id": project_id}
                for file_id, project_id in head.shown
            ],
        )
    if head.hidden:
        await connection.execute(
            update(PublishedFile)
            .where(PublishedFile.file_id.in_(head.hidden), PublishedFile.to_serial.is_(None))
            .values(to_serial=head.serial)
        )
    if head.pages:
        await connection.execute(
            insert(Page),
            [
                {
                    "index_id": index_id,
                    "project_id": page.project_id,
                    "serial": head.serial,
                    "project_name": page.project_name,
                    "sha256": page.sha256,
                    "length": page.length,
                    "files": page.files,
                    "gone": page.gone,
                }
                for page in head.pages
            ],
        )
    if head.journal:
        await connection.execute(
            insert(Journal),
            [
                {
                    "index_id": index_id,
                    "serial": head.serial,
                    "position": position,
                    "project": line.project,
                    "version": line.version,
                    "action": line.action,
                    "actor": line.actor,
                    "at": head.committed_at,
                }
                for position, line in enumerate(head.journal)
            ],
        )
