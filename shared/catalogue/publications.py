"""Queries of a publication: what waits, what is current, and the one commit that makes a batch visible. Writer:
signing."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Select, insert, select, text, update
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from countermark.core.names import IndexName
from shared.catalogue.heads import CHANNEL
from shared.catalogue.publication_rows import (
    CurrentFile,
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
    IndexRow,
    Intent,
    Journal,
    Page,
    Project,
    Publication,
    PublishedFile,
    TufFile,
    TufHead,
)
from shared.ids import AuditId, IndexId, ProjectId
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
                {
                    "index_id": index_id,
                    "file_id": file_id,
                    "from_serial": head.serial,
                    "project_id": project_id,
                    "attestation_sha256": attestation,
                }
                for file_id, project_id, attestation in head.shown
            ],
        )
    for file_id, attestation in head.repointed:
        visible = (PublishedFile.file_id == file_id, PublishedFile.to_serial.is_(None))
        await connection.execute(update(PublishedFile).where(*visible).values(attestation_sha256=attestation))
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
