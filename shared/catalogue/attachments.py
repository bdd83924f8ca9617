"""Queries on attachments: documentation of releases and test results of files. Writer: upload.

They show at commit and are part of no publication. Rows are marked, never deleted: their addresses answer 410.
Source: contract devpi sections 9, 12 and 13; architecture sections 11.1 and 11.7.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from packaging.utils import NormalizedName
from sqlalchemy import Select, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from countermark.core.digest import Length, Sha256
from countermark.core.names import FileName
from shared.catalogue.projects import FORMAT
from shared.catalogue.tables import Attachment, File, Project, Release, StoredObject
from shared.ids import AttachmentId, FileId, IndexId, ReleaseId, new_uuid

DOC = "doc"
"""Kind: the documentation of a release, a zip."""

TEST_RESULT = "test-result"
"""Kind: what a test run found about a file, JSON."""

MOST = 10_000
"""Releases or documentations of one project that are looked at; the newest of more."""


@dataclass(frozen=True, slots=True)
class Attached:
    """An attachment, and what it belongs to.

    Attributes:
        file_id: the file that a test result is about, None for documentation.
        path_key: with `file_name` its address; see `shared.catalogue.tables.Attachment`.
        history: where it came from, in devpi's form (contract devpi section 4.5); empty for a plain upload.
        added_by: the account, None for nobody known.
        removed: whether it was removed, itself or with an earlier life of its index.
        held_reason: why it is not handed out for now, "" without words; None when it is.
    """

    id: AttachmentId
    release_id: ReleaseId
    file_id: FileId | None
    kind: str
    project: NormalizedName
    version: str
    file_name: FileName
    path_key: str
    sha256: Sha256
    length: Length
    history: Sequence[Mapping[str, Any]]
    added_at: datetime
    added_by: str | None
    removed: bool
    held_reason: str | None

    @property
    def path(self) -> str:
        """What follows `+f/` in its address."""
        return f"{self.path_key[:3]}/{self.path_key[3:]}/{self.file_name}"


@dataclass(frozen=True, slots=True)
class NewAttachment:
    """An attachment whose bytes are stored. Exactly those of kind `TEST_RESULT` have a `file_id`.

    Attributes:
        path_key: the first 16 hex digits of the sha256 of these bytes, or of the file that they are about.
    """

    index_id: IndexId
    release_id: ReleaseId
    file_id: FileId | None
    kind: str
    file_name: FileName
    path_key: str
    sha256: Sha256
    length: Length
    added_at: datetime
    added_by: str | None
    history: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, slots=True)
class ReleaseLine:
    """A release that documentation may be about; `living` when it was not removed."""

    id: ReleaseId
    version: str
    living: bool


@dataclass(frozen=True, slots=True)
class TestedFile:
    """A living file that a test result is about."""

    id: FileId
    release_id: ReleaseId
    project: NormalizedName


class AddressTaken(Exception):
    """Other bytes have, or had, this address; it names these for ever."""


async def at_path(
    connection: AsyncConnection, index_id: IndexId, life: int, path_key: str, file_name: FileName
) -> Attached | None:
    """Return what an address below `+f/` means for ever, None when it never meant an attachment.

    Args:
        life: of the index now: what was attached in an earlier one counts as removed.
    """
    query = _attached(life).where(
        Attachment.index_id == index_id, Attachment.path_key == path_key, Attachment.file_name == file_name
    )
    row = (await connection.execute(query)).first()
    return None if row is None else _from(row)


async def docs_of_project(
    connection: AsyncConnection,
    index_id: IndexId,
    life: int,
    project: NormalizedName,
    named: tuple[str, str] | None = None,
) -> list[Attached]:
    """Return the documentation that releases of a project have now, in no order; one of each release.

    Args:
        named: a version as it is written, and what equal versions have in common: only the release so written, else
            the one that it equals. None for all.
    """
    query = _attached(life).where(
        Project.index_id == index_id,
        Project.life == life,
        Project.format == FORMAT,
        Project.name == project,
        Attachment.kind == DOC,
        Attachment.removed_at.is_(None),
    )
    if named is None:
        query = query.order_by(Attachment.added_at.desc()).limit(MOST)
    else:
        written, key = named
        query = query.where((Release.version == written) | (Release.version_key == key))
        query = query.order_by(Release.version != written).limit(1)
    return [_from(row) for row in await connection.execute(query)]


async def doc_of_release(connection: AsyncConnection, release_id: ReleaseId) -> Attached | None:
    """Return the documentation that a release has, else the newest that it had; None when it never had any."""
    query = _attached().where(Attachment.release_id == release_id, Attachment.kind == DOC)
    newest = query.order_by(Attachment.removed_at.desc().nulls_first(), Attachment.added_at.desc()).limit(1)
    row = (await connection.execute(newest)).first()
    return None if row is None else _from(row)


async def releases_of(
    connection: AsyncConnection, index_id: IndexId, life: int, project: NormalizedName, named: tuple[str, str] | None
) -> list[ReleaseLine]:
    """Return the releases of a project that a version may mean, the one written so first, or all without one.

    Args:
        named: a version as it is written, and what equal versions have in common; None for any.
    """
    query = (
        select(Release.id, Release.version, Release.removed_at.is_(None).label("living"))
        .join(Project, Project.id == Release.project_id)
        .where(Project.index_id == index_id, Project.life == life, Project.format == FORMAT, Project.name == project)
    )
    if named is None:
        query = query.order_by(Release.created_at.desc())
    else:
        written, key = named
        query = query.where((Release.version == written) | (Release.version_key == key))
        query = query.order_by(Release.version != written)
    rows = await connection.execute(query.limit(MOST))
    return [ReleaseLine(ReleaseId(row.id), row.version, row.living) for row in rows]


async def tested_file(
    connection: AsyncConnection, index_id: IndexId, life: int, path_key: str, file_name: FileName
) -> TestedFile | None:
    """Return the file that has an address now, kept from being removed until the transaction ends; None without."""
    row = (
        await connection.execute(
            select(File.id, File.release_id, Project.name)
            .join(Project, Project.id == File.project_id)
            .where(File.index_id == index_id, File.path_key == path_key, File.file_name == file_name)
            .where(Project.life == life, File.removed_at.is_(None))
            .with_for_update(of=File, read=True)
        )
    ).first()
    return None if row is None else TestedFile(FileId(row.id), ReleaseId(row.release_id), NormalizedName(row.name))


async def results_of_file(connection: AsyncConnection, file_id: FileId) -> int:
    """Return how many test results a file ever got; they are numbered from 0."""
    query = select(func.count()).where(Attachment.file_id == file_id, Attachment.kind == TEST_RESULT)
    return await connection.scalar(query) or 0


async def insert_attachment(connection: AsyncConnection, side: str, life: int, new: NewAttachment) -> AttachmentId:
    """Add an attachment; the caller's transaction decides. The same bytes at an address that was removed are back.

    Args:
        side: of the store that has the bytes, `public` or `private`.
        life: of the index; what belongs to an earlier one counts as removed.

    Raises:
        AddressTaken: the address means something else.
    """
    values = {
        "release_id": new.release_id,
        "file_id": new.file_id,
        "kind": new.kind,
        "length": new.length,
        "history": [dict(entry) for entry in new.history],
        "added_at": new.added_at,
        "added_by": new.added_by,
    }
    address = {"index_id": new.index_id, "path_key": new.path_key, "file_name": new.file_name}
    row = insert(Attachment).values(id=new_uuid(), sha256=new.sha256, **address, **values)
    earlier = (
        select(Release.id)
        .join(Project, Project.id == Release.project_id)
        .where(Release.id == Attachment.release_id, Project.life != life)
        .correlate(Attachment)
        .exists()
    )
    back = row.on_conflict_do_update(
        index_elements=[Attachment.index_id, Attachment.path_key, Attachment.file_name],
        set_={**values, "removed_at": None, "removed_by": None},
        where=(Attachment.sha256 == new.sha256) & (Attachment.removed_at.is_not(None) | earlier),
    ).returning(Attachment.id)
    found = await connection.scalar(back)
    if found is None:
        raise AddressTaken
    stored = insert(StoredObject).values(
        side=side, sha256=new.sha256, file_name=new.file_name, length=new.length, stored_at=new.added_at
    )
    await connection.execute(stored.on_conflict_do_nothing())
    return AttachmentId(found)


async def remove(
    connection: AsyncConnection, attachments: Sequence[AttachmentId], *, at: datetime, by: str | None
) -> None:
    """Mark attachments as removed."""
    living = update(Attachment).where(Attachment.id.in_(attachments), Attachment.removed_at.is_(None))
    await connection.execute(living.values(removed_at=at, removed_by=by))


def _attached(life: int | None = None) -> Select[Any]:
    """Return the query of attachments with what they belong to; a life other than `life` counts as removed."""
    columns = (Attachment.id, Attachment.release_id, Attachment.file_id, Attachment.kind, Attachment.file_name)
    more = (Attachment.path_key, Attachment.sha256, Attachment.length, Attachment.history, Attachment.added_at)
    removed = Attachment.removed_at.is_not(None)
    gone = removed if life is None else removed | (Project.life != life)
    return (
        select(*columns, *more, Attachment.added_by, gone.label("removed"))
        .add_columns(Project.name.label("project"), Project.status, Project.status_reason, Release.version)
        .add_columns(File.held_at, File.held_reason, File.removed_at.label("file_removed_at"))
        .join(Release, Release.id == Attachment.release_id)
        .join(Project, Project.id == Release.project_id)
        .outerjoin(File, File.id == Attachment.file_id)
    )


def _from(row: Any) -> Attached:
    held = None
    if row.held_at is not None:
        held = row.held_reason or ""
    elif row.status == "quarantined":
        held = row.status_reason or ""
    return Attached(
        id=AttachmentId(row.id),
        release_id=ReleaseId(row.release_id),
        file_id=None if row.file_id is None else FileId(row.file_id),
        kind=row.kind,
        project=NormalizedName(row.project),
        version=row.version,
        file_name=FileName(row.file_name),
        path_key=row.path_key,
        sha256=Sha256(row.sha256),
        length=Length(row.length),
        history=row.history,
        added_at=row.added_at,
        added_by=row.added_by,
        # A test result is never there without its file, whoever removed that.
        removed=row.removed or row.file_removed_at is not None,
        held_reason=held,
    )
