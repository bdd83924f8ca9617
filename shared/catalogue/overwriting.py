"""Adding a file to an index where its name is, or was, in use: the one place that knows when a name is free. Writer:
upload.

| the name in this index | non-volatile | volatile |
|---|---|---|
| is new | added | added |
| has the same bytes | nothing changes | nothing changes |
| has other bytes | `NameTaken` | replaced: the old file is removed in the same commit |
| was removed | `NameBurnt` under admission `strict`, else added | added |

An address never gets other bytes: index, 16 digits of the digest and name belong to one row for ever. Bytes that come
again (A, then B, then A) bring their row back, with the marks of a new file. A replacement is one job of the outbox, so
that what goes and what comes are in one publication: see `Added.message`.

Source: architecture sections 11.1, 11.4 and 11.8; contract devpi sections 9 and 23.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from packaging.utils import NormalizedName
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from countermark.core.digest import Sha256
from countermark.core.names import FileName
from shared.auth.directory import IndexRecord
from shared.catalogue import audit, marks, releases
from shared.catalogue.marks import Mark
from shared.catalogue.releases import STRICT, KnownFile, NewFile, Room
from shared.catalogue.tables import File, Project, Release
from shared.ids import AuditId, FileId, ProjectId
from shared.jobs.messages import PublishIndex

OVERWRITE = "overwrite"
"""What the entry of a file's history is called that counts replacements. Source: contract devpi section 4.5."""


class Way(Enum):
    """What becomes of a file that arrives under a name."""

    FREE = "free"
    THERE = "there"
    OVERWRITE = "overwrite"
    TAKEN = "taken"
    BURNT = "burnt"


class NameTaken(Exception):
    """The name is in use with other bytes, and stays so; or an address of these 64 bits of digest had other bytes."""


class NameBurnt(Exception):
    """The name was removed, and is not given out again in this index."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What an index has under a file name, as seen by bytes that arrive.

    Attributes:
        living: the file that has the name now.
        same: the row that these bytes had under this name before, in this or an earlier life of the index; also that of
            `living`, when the bytes are the same.
        clash: whether other bytes had these 64 bits of digest under this name.
        burnt: whether a file of the name was removed in this life of the index.
        history: of `living`, or nothing.
    """

    living: KnownFile | None
    same: FileId | None
    clash: bool
    burnt: bool
    history: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, slots=True)
class Added:
    """What `add_file` did.

    Attributes:
        there: whether the file was there already with the same bytes: nothing was changed, and there is no job to make.
        audit_id: the record of the replacement, None when nothing was replaced.
    """

    project_id: ProjectId
    file_id: FileId
    there: bool = False
    audit_id: AuditId | None = None

    def message(self, index: IndexRecord) -> PublishIndex:
        """Return the job that publishes the file, and in the same batch drops the one it replaced."""
        return PublishIndex(index.id, self.project_id, self.file_id, self.audit_id)


def way_for(index: IndexRecord, project: NormalizedName, sha256: Sha256, standing: Standing) -> Way:
    """Decide what becomes of bytes that arrive under a name. Pure."""
    living = standing.living
    if standing.clash:
        return Way.TAKEN
    if living is not None:
        if living.project != project:
            # Under admission `devpi` a name does not tell its project; it is still listed once.
            return Way.TAKEN
        if living.sha256 == sha256:
            return Way.THERE
        return Way.OVERWRITE if index.volatile else Way.TAKEN
    if standing.burnt and not index.volatile and index.admission == STRICT:
        return Way.BURNT
    return Way.FREE


async def standing(connection: AsyncConnection, index: IndexRecord, file_name: FileName, sha256: Sha256) -> Standing:
    """Return what an index has under a name."""
    rows = (
        await connection.execute(
            select(*releases.KNOWN, File.history, Project.name, Project.life, Release.version)
            .join(Project, Project.id == File.project_id)
            .join(Release, Release.id == File.release_id)
            .where(File.index_id == index.id, File.file_name == file_name)
            .where((File.path_key == sha256[:16]) | ((File.removed_at.is_(None)) & (Project.life == index.life)))
        )
    ).all()
    living = next((row for row in rows if row.removed_at is None and row.life == index.life), None)
    return Standing(
        living=None if living is None else releases.known(living),
        same=next((FileId(row.id) for row in rows if row.sha256 == sha256), None),
        clash=any(row.sha256[:16] == sha256[:16] and row.sha256 != sha256 for row in rows),
        burnt=await _burnt(connection, index, file_name),
        history=() if living is None else living.history,
    )


async def _burnt(connection: AsyncConnection, index: IndexRecord, file_name: FileName) -> bool:
    if index.volatile or index.admission != STRICT:
        return False
    query = (
        select(File.id)
        .join(Project, Project.id == File.project_id)
        .where(File.index_id == index.id, File.file_name == file_name, Project.life == index.life)
        .where(File.removed_at.is_not(None))
        .limit(1)
    )
    return await connection.scalar(query) is not None


async def add_file(connection: AsyncConnection, index: IndexRecord, new: NewFile) -> Added:
    """Add a file to a stage index by the index's rules, in the caller's transaction.

    Its project and release are made where they are new, or come back where they were removed. The caller has stored the
    bytes, and enqueues `Added.message` (unless the file was `there`) in the same transaction.

    Args:
        new: an admitted file; its `history` is what it brings along, to which a replacement adds its entry.

    Raises:
        NameTaken: other bytes have the name, or had its address.
        NameBurnt: the name was removed for ever.
        SourceArchiveTaken: admission is strict, and the release has another source archive.
        sqlalchemy.exc.IntegrityError: another transaction took the name first: roll back, and try again once.
    """
    at = new.coordinates
    # On a volatile index one writer at a time adds to a project: of two that replace a file the second sees the first.
    project_id = await releases.open_project(connection, index.id, index.life, new.release, alone=index.volatile)
    found = await standing(connection, index, at.file_name, new.sha256)
    match way_for(index, at.project, new.sha256, found):
        case Way.TAKEN:
            raise NameTaken(at.file_name)
        case Way.BURNT:
            raise NameBurnt(at.file_name)
        case Way.THERE:
            assert found.living is not None
            return Added(project_id, found.living.id, there=True)
        case Way.FREE:
            audit_id = None
            await _record_upload(connection, index, new)
        case Way.OVERWRITE:
            assert found.living is not None
            audit_id = await _remove_replaced(connection, index, found.living, new)
            new = replace(new, history=[_overwritten(found.history, new.uploaded_at), *new.history])
    release_id = await releases.open_release(connection, project_id, new.release, index.admission)
    side = "public" if index.public else "private"
    room = Room(index.id, project_id, release_id, side, found.same, index.admission)
    file_id = await releases.write_file(connection, room, new)
    return Added(project_id, file_id, audit_id=audit_id)


async def _remove_replaced(connection: AsyncConnection, index: IndexRecord, living: KnownFile, new: NewFile) -> AuditId:
    """Mark the file that has the name as removed, with its test results, and record who replaced it by what."""
    await marks.remove(connection, [living.id], Mark(new.uploaded_at, new.uploader, "replaced"))
    token = {} if new.token_id is None else {"token": str(new.token_id)}
    return await audit.record(
        connection,
        at=new.uploaded_at,
        actor=new.uploader,
        action="file.overwrite",
        subject=f"{index.name}/{living.project}/{living.version}/{living.file_name}",
        # As its release writes it: with it signing finds the file that goes.
        version=living.version,
        file=living.file_name,
        replaced=living.sha256,
        sha256=new.sha256,
        **token,
    )


async def _record_upload(connection: AsyncConnection, index: IndexRecord, new: NewFile) -> None:
    """Record who brought which bytes: the registry will sign them for everybody."""
    at = new.coordinates
    token = {} if new.token_id is None else {"token": str(new.token_id)}
    await audit.record(
        connection,
        at=new.uploaded_at,
        actor=new.uploader,
        action="file.upload",
        subject=f"{index.name}/{at.project}/{at.version}/{at.file_name}",
        sha256=new.sha256,
        length=new.length,
        **token,
    )


def _overwritten(history: Sequence[Mapping[str, Any]], at: datetime) -> Mapping[str, Any]:
    """Return the entry that counts replacements, first in a file's history.

    Args:
        history: of the file that is replaced.
        at: when.

    Source: contract devpi section 4.5.
    """
    before = next((int(entry["count"]) for entry in history if entry.get("what") == OVERWRITE), 0)
    when = list(at.astimezone(UTC).timetuple()[:6])
    return {"what": OVERWRITE, "who": None, "when": when, "count": before + 1}
