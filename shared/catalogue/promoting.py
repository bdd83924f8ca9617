"""Queries of a push: a release as it stands in one index, and its rows in another. Writer: upload.

Each is one statement, however many files the release has. What becomes of a name is decided by the rules of
`overwriting`, which adds one file at a time.
Source: contract devpi section 11; architecture sections 11.1 and 11.7.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from packaging.utils import NormalizedName
from sqlalchemy import bindparam, insert, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from countermark.core.names import FileName
from shared.auth.directory import IndexRecord
from shared.catalogue import releases
from shared.catalogue.marks import Mark
from shared.catalogue.overwriting import OVERWRITE, NameBurnt, NameTaken, Standing, Way, way_for
from shared.catalogue.projects import FORMAT
from shared.catalogue.promotion_rows import Carried, CarriedAttachment, SourceRelease
from shared.catalogue.releases import STRICT, KnownFile
from shared.catalogue.tables import Attachment, Audit, File, Project, PublishedFile, Release, StoredObject
from shared.formats.python.names import SDIST, release_key
from shared.ids import AuditId, FileId, IndexId, ProjectId, ReleaseId, new_uuid

_FILE = tuple(field.name for field in fields(Carried) if field.name != "held")
_FILE_ROW = tuple(name for name in _FILE if name not in {"id", "history"})
_ATTACHED = tuple(field.name for field in fields(CarriedAttachment))
_ATTACHED_ROW = tuple(name for name in _ATTACHED if name not in {"file_id", "history"})
_REMOVAL = {"removed_at": None, "removed_by": None}

Row = dict[str, Any]
"""Column -> value."""


@dataclass(frozen=True, slots=True)
class TargetRelease:
    """The release of an index into which something is pushed; until the transaction ends nobody else adds to its
    project who pushes, or replaces a file."""

    index_id: IndexId
    project_id: ProjectId
    id: ReleaseId

    @property
    def place(self) -> Row:
        """The columns that say where a row belongs."""
        return {"index_id": self.index_id, "release_id": self.id}


@dataclass(frozen=True, slots=True)
class Plan:
    """What becomes of the files of a push.

    Attributes:
        added: those that get a row, or their own one back.
        kept: rows of files that are there with the same bytes, by name.
        back: rows that the bytes of `added` ones had before, by name.
        replaced: files that go, since others take their names; how often each name was replaced before, by name.
    """

    added: Sequence[Carried]
    kept: Mapping[FileName, FileId]
    back: Mapping[FileName, FileId]
    replaced: Sequence[KnownFile]
    overwrites: Mapping[FileName, int]


async def source_release(
    connection: AsyncConnection, index_id: IndexId, life: int, project: NormalizedName, version: str
) -> SourceRelease | None:
    """Return the release that a project and a version mean in an index, in whichever spelling of the version."""
    names = (Project.name.label("project"), Project.display_name, Project.status)
    rest = (Release.version, Release.version_key, Release.core_metadata.label("fields"))
    row = (
        await connection.execute(
            select(Release.id, *names, *rest)
            .join(Project, Project.id == Release.project_id)
            .where(Project.index_id == index_id, Project.life == life, Project.format == FORMAT)
            .where(Project.name == project, Release.removed_at.is_(None))
            .where((Release.version == version) | (Release.version_key == release_key(version)))
            .order_by(Release.version != version)
            .limit(1)
        )
    ).first()
    return None if row is None else SourceRelease(**row._mapping)


async def living_files(connection: AsyncConnection, release_id: ReleaseId) -> list[Carried]:
    """Return the files of a release that were not removed, by name."""
    # With the project known they are found by `ix_file_project`.
    project = select(Release.project_id).where(Release.id == release_id).scalar_subquery()
    rows = await connection.execute(
        select(*(getattr(File, name) for name in _FILE), File.held_at.is_not(None).label("held"))
        .where(File.release_id == release_id, File.project_id == project, File.removed_at.is_(None))
        .order_by(File.file_name)
    )
    return [Carried(**row._mapping) for row in rows]


async def not_shown(connection: AsyncConnection, files: Sequence[Carried]) -> list[FileName]:
    """Return which of the files no publication shows now, in order."""
    shown = select(PublishedFile.file_id).where(
        PublishedFile.file_id.in_([file.id for file in files]), PublishedFile.to_serial.is_(None)
    )
    visible = set(await connection.scalars(shown))
    return [file.file_name for file in files if file.id not in visible]


async def living_attachments(connection: AsyncConnection, release_id: ReleaseId) -> list[CarriedAttachment]:
    """Return documentation and test results of a release that were not removed, by name."""
    rows = await connection.execute(
        select(*(getattr(Attachment, name) for name in _ATTACHED))
        .where(Attachment.release_id == release_id, Attachment.removed_at.is_(None))
        .order_by(Attachment.file_name, Attachment.added_at)
    )
    return [CarriedAttachment(**row._mapping) for row in rows]


async def standings(
    connection: AsyncConnection, index: IndexRecord, files: Sequence[Carried]
) -> dict[FileName, Standing]:
    """Return what an index has under the name of each file; see `overwriting.standing`."""
    living = File.removed_at.is_(None) & (Project.life == index.life)
    wanted = living | tuple_(File.file_name, File.path_key).in_([(file.file_name, file.path_key) for file in files])
    burns = not index.volatile and index.admission == STRICT
    if burns:
        wanted = wanted | (Project.life == index.life)
    rows = await connection.execute(
        select(*releases.KNOWN, File.history, Project.name, Project.life, Release.version)
        .join(Project, Project.id == File.project_id)
        .join(Release, Release.id == File.release_id)
        .where(File.index_id == index.id, File.file_name.in_([file.file_name for file in files]), wanted)
    )
    by_name: dict[str, list[Any]] = {}
    for row in rows:
        by_name.setdefault(row.file_name, []).append(row)
    found = {}
    for file in files:
        under = by_name.get(file.file_name, [])
        now = next((row for row in under if row.removed_at is None and row.life == index.life), None)
        found[file.file_name] = Standing(
            living=None if now is None else releases.known(now),
            same=next((FileId(row.id) for row in under if row.sha256 == file.sha256), None),
            clash=any(row.sha256[:16] == file.path_key and row.sha256 != file.sha256 for row in under),
            burnt=burns and any(row.removed_at is not None and row.life == index.life for row in under),
            history=() if now is None else now.history,
        )
    return found


def plan(
    index: IndexRecord, project: NormalizedName, files: Sequence[Carried], found: Mapping[FileName, Standing]
) -> Plan:
    """Decide what becomes of each file. Pure.

    Where names are not used twice they are not even with the same bytes: unlike an upload, a push says what it
    promotes.

    Raises:
        NameTaken, NameBurnt: with the name of the first file that is refused, so that all are.

    Source: contract devpi section 11.
    """
    added, kept, back, replaced, overwrites = [], {}, {}, [], {}
    for file in files:
        standing = found[file.file_name]
        way = way_for(index, project, file.sha256, standing)
        if way is Way.TAKEN or (way is Way.THERE and not index.volatile):
            raise NameTaken(file.file_name)
        if way is Way.BURNT:
            raise NameBurnt(file.file_name)
        if standing.living is not None and way is Way.THERE:
            kept[file.file_name] = standing.living.id
            continue
        added.append(file)
        if standing.same is not None:
            back[file.file_name] = standing.same
        if standing.living is not None:
            replaced.append(standing.living)
            counts = (entry.get("count", 0) for entry in standing.history if entry.get("what") == OVERWRITE)
            overwrites[file.file_name] = int(sum(counts))
    return Plan(added, kept, back, replaced, overwrites)


async def other_source_archive(
    connection: AsyncConnection, release: TargetRelease, names: Collection[str]
) -> str | None:
    """Return a source archive of a release beside those named, None when there is none; the release stays locked.

    Source: contract python-index section 2.3 (row 9).
    """
    await connection.execute(select(Release.id).where(Release.id == release.id).with_for_update(key_share=True))
    return await connection.scalar(
        select(File.file_name)
        .where(File.project_id == release.project_id, File.release_id == release.id, File.package_type == SDIST)
        .where(File.removed_at.is_(None), File.file_name.not_in(names))
        .limit(1)
    )


async def describe(connection: AsyncConnection, release: TargetRelease, metadata: Mapping[str, Any]) -> None:
    """Give a release other metadata."""
    await connection.execute(update(Release).where(Release.id == release.id).values(core_metadata=dict(metadata)))


async def remove_replaced(connection: AsyncConnection, files: Sequence[KnownFile], mark: Mark) -> None:
    """Mark files as removed that others replace, with their test results."""
    if not files:
        return
    ids = [file.id for file in files]
    removal = {"removed_at": mark.at, "removed_by": mark.by}
    await connection.execute(update(File).where(File.id.in_(ids)).values(**removal, removed_reason=mark.reason))
    results = update(Attachment).where(Attachment.file_id.in_(ids), Attachment.removed_at.is_(None))
    await connection.execute(results.values(**removal))


async def write_files(
    connection: AsyncConnection, release: TargetRelease, plan: Plan, histories: Mapping[FileName, list[Row]]
) -> dict[FileId, FileId]:
    """Write the rows of a push; returns the row in the target for each file of the source, those kept included.

    Args:
        histories: of the files that are added, by name.

    Raises:
        sqlalchemy.exc.IntegrityError: an upload took a name first.
    """
    made: dict[FileId, FileId] = {}
    new: list[Row] = []
    back: list[Row] = []
    for file in plan.added:
        row = {name: getattr(file, name) for name in _FILE_ROW} | release.place
        row |= {"project_id": release.project_id, "path_key": file.path_key, "warnings": list(file.warnings)}
        row |= {"history": histories[file.file_name]}
        made[file.id] = plan.back.get(file.file_name) or FileId(new_uuid())
        (back if file.file_name in plan.back else new).append({**row, "id": made[file.id]})
    await _write(connection, File, new, back, _REMOVAL | {"removed_reason": None})
    return made


async def write_attachments(
    connection: AsyncConnection,
    release: TargetRelease,
    attachments: Sequence[tuple[CarriedAttachment, FileId | None, list[Row]]],
    mark: Mark,
    life: int,
) -> list[CarriedAttachment]:
    """Write documentation and test results; what stands there with the same bytes stays as it is, other documentation
    goes. Returns those that were written. An address never means other bytes than it once did.

    Args:
        attachments: each with the file of the target that it is about, and its history.
        life: of the target; what belongs to an earlier one is not there any more, and its address stays taken.

    Raises:
        NameBurnt: an address had other bytes.
        sqlalchemy.exc.IntegrityError: another request took an address first.
    """
    keys = {one.path_key for one, _, _ in attachments}
    documents = (Attachment.release_id == release.id) & (Attachment.kind == "doc") & Attachment.removed_at.is_(None)
    columns = (Attachment.id, Attachment.kind, Attachment.path_key, Attachment.file_name, Attachment.sha256)
    living = Attachment.removed_at.is_(None) & (Project.life == life)
    rows = (
        await connection.execute(
            select(*columns, living.label("living"))
            .join(Release, Release.id == Attachment.release_id)
            .join(Project, Project.id == Release.project_id)
            .where(Attachment.index_id == release.index_id, Attachment.path_key.in_(keys) | documents)
        )
    ).all()
    there = {(row.path_key, row.file_name): row for row in rows}
    new: list[Row] = []
    back: list[Row] = []
    written, kept = [], set()
    for one, file_id, history in attachments:
        known = there.get((one.path_key, one.file_name))
        if known is not None and known.sha256 != one.sha256:
            raise NameBurnt(one.file_name)
        kept.add((one.path_key, one.file_name))
        if known is not None and known.living:
            continue
        row = {name: getattr(one, name) for name in _ATTACHED_ROW} | release.place
        row |= {"file_id": file_id, "history": history, "id": new_uuid() if known is None else known.id}
        (new if known is None else back).append(row)
        written.append(one)
    if any(one.kind == "doc" for one, _, _ in attachments):
        others = [row for row in rows if row.kind == "doc" and (row.path_key, row.file_name) not in kept]
        gone = [row.id for row in others if row.living]
        removal = {"removed_at": mark.at, "removed_by": mark.by}
        of_release = (Attachment.release_id == release.id) & Attachment.id.in_(gone)
        await connection.execute(update(Attachment).where(of_release).values(**removal))
    await _write(connection, Attachment, new, back, _REMOVAL)
    return written


async def newest_documentation(connection: AsyncConnection, release: TargetRelease) -> tuple[str, bool] | None:
    """Return the file name of the documentation that a release has, or had last, and whether it was removed; None when
    it never had any."""
    row = (
        await connection.execute(
            select(Attachment.file_name, Attachment.removed_at.is_not(None).label("removed"))
            .where(Attachment.release_id == release.id, Attachment.kind == "doc")
            .order_by(Attachment.removed_at.desc().nulls_first())
            .limit(1)
        )
    ).first()
    return None if row is None else (row.file_name, row.removed)


async def note_objects(connection: AsyncConnection, rows: Sequence[Row]) -> None:
    """Record what a side of the object store holds; see `shared.catalogue.tables.StoredObject`."""
    if rows:
        # In the order of their keys: two transactions with the same objects wait for each other in one direction.
        ordered = sorted(rows, key=lambda row: (row["side"], row["sha256"], row["file_name"]))
        await connection.execute(upsert(StoredObject).on_conflict_do_nothing(), ordered)


async def record_all(connection: AsyncConnection, rows: Sequence[Row]) -> list[AuditId]:
    """Add rows to the audit table; returns their numbers in the same order. See `audit.record`."""
    if not rows:
        return []
    added = insert(Audit).returning(Audit.id, sort_by_parameter_order=True)
    return [AuditId(number) for number in await connection.scalars(added, rows)]


async def _write(
    connection: AsyncConnection, table: type[File | Attachment], new: list[Row], back: list[Row], cleared: Row
) -> None:
    """Add rows, and bring others back: those lose their mark of removal."""
    if new:
        await connection.execute(insert(table), new)
    if back:
        again = [{**row, **cleared, "row_id": row["id"]} for row in back]
        for row in again:
            del row["id"]
        await connection.execute(update(table).where(table.id == bindparam("row_id")), again)
