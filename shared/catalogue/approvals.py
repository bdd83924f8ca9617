"""Reads on release approval: what is demanded of a file, and how far its approvals are. Writer: signing.

Source: architecture section 11.7 (what an upload is told while approvals are pending).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from packaging.utils import NormalizedName
from sqlalchemy import ColumnElement, Select, and_, case, exists, func, or_, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import aliased

from countermark.core.digest import Sha256
from countermark.core.names import FileName
from shared.catalogue.tables import (
    ApprovalDemand,
    ApprovalGiven,
    ApprovalRequest,
    File,
    Project,
    PublishedFile,
    Release,
)
from shared.ids import FileId, IndexId, ProjectId

OPEN, APPROVED, WITHDRAWN = "open", "approved", "withdrawn"
"""States of a request as they are kept."""

WAITING, EXPIRED = "waiting", "expired"
"""What an open request is called as long as it can be approved, and afterwards."""

WHOLE_INDEX = ""
"""In place of a project's name: the demand of the index."""


@dataclass(frozen=True, slots=True)
class Demand:
    """How many approvals are needed, and whose count.

    Attributes:
        project: None for the whole index.
        people: accounts; None for whoever may approve.
        own: whether whoever brought a file may approve it.
    """

    project: NormalizedName | None
    needed: int
    people: tuple[str, ...] | None
    own: bool
    set_at: datetime
    set_by: str


@dataclass(frozen=True, slots=True)
class Standing:
    """How far the approvals of a file are.

    Attributes:
        kept: `open`, `approved` or `withdrawn`; None when nobody was asked yet.
        given: accounts whose approval counts.
        others: further files that came with it and are not approved yet.
    """

    file_id: FileId
    kept: str | None
    needed: int
    people: tuple[str, ...] | None
    given: tuple[str, ...] = ()
    others: int = 0
    expires_at: datetime | None = None

    def state(self, now: datetime) -> str:
        """Return `waiting`, `expired`, `withdrawn` or `approved`."""
        if self.kept in {APPROVED, WITHDRAWN}:
            return str(self.kept)
        return EXPIRED if self.expires_at is not None and self.expires_at <= now else WAITING

    def words(self, now: datetime) -> str:
        """Return the state as a part of a sentence: `waiting for 1 of 2 approvals of alice, bob`."""
        state = self.state(now)
        if state == APPROVED:
            return f"approved by {', '.join(self.given) or 'nobody, since nothing is demanded any more'}"
        if state == WITHDRAWN:
            return "withdrawn before it was approved"
        left = max(self.needed - len(self.given), 0)
        whom = f" of {', '.join(self.people)}" if self.people else ""
        approvals = "approval" if self.needed == 1 else "approvals"
        if state == EXPIRED:
            return f"not approved in time: {left} of {self.needed} {approvals}{whom} were missing"
        if not left:
            return f"approved, and waiting for {self.others} more that came with it"
        return f"waiting for {left} of {self.needed} {approvals}{whom}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What stands between a file and its publication.

    Attributes:
        demand: (needed, people, own) that applies now, None when nothing is demanded.
        kept: state of the request as kept, None without one.
        pointer_sha256: of the request.
    """

    file_id: FileId
    project_id: ProjectId
    demand: tuple[int, tuple[str, ...] | None, bool] | None
    kept: str | None
    round: int
    expires_at: datetime | None
    pointer_sha256: Sha256 | None
    was_published: bool

    @property
    def blocks(self) -> bool:
        """Whether a file that arrives is not to be published."""
        return self.kept != APPROVED


async def verdicts(connection: AsyncConnection, index_id: IndexId, files: Collection[FileId]) -> dict[FileId, Verdict]:
    """Return what is demanded of files, and asked for, file -> verdict; nothing of those that need nothing.

    Files that are visible now are left out, and those that were removed: nobody need approve them. What was asked for
    in an earlier life of the index says nothing in this one.
    """
    if not files:
        return {}
    earlier = aliased(PublishedFile)
    published = exists().where(earlier.index_id == index_id, earlier.file_id == File.id)
    visible = exists().where(PublishedFile.file_id == File.id, PublishedFile.to_serial.is_(None))
    request = (ApprovalRequest.state, ApprovalRequest.round, ApprovalRequest.expires_at, ApprovalRequest.pointer_sha256)
    asked_for = ApprovalRequest.project_id.label("asked_for")
    rows = await connection.execute(
        _with_demands(select(File.id, File.project_id, *_DEMAND, *request, asked_for, published.label("was_published")))
        .where(File.id.in_(files), File.index_id == index_id, File.removed_at.is_(None), ~visible)
        .where(or_(ApprovalDemand.id.is_not(None), ApprovalRequest.file_id.is_not(None)))
    )
    return {
        FileId(row.id): Verdict(
            file_id=FileId(row.id),
            project_id=ProjectId(row.project_id),
            demand=None if row.needed is None else (row.needed, _people(row.people), row.own),
            kept=row.state if row.asked_for == row.project_id else None,
            round=row.round or 0,
            expires_at=row.expires_at,
            pointer_sha256=None if row.pointer_sha256 is None else Sha256(row.pointer_sha256),
            was_published=row.was_published,
        )
        for row in rows
        if row.needed is not None or row.asked_for == row.project_id
    }


_DEMAND = (ApprovalDemand.needed, ApprovalDemand.people, ApprovalDemand.own)


def _with_demands(columns: Select[*tuple[Any, ...]]) -> Select[*tuple[Any, ...]]:
    """Join the project, its demand or that of its index, and the request of each file."""
    applies = and_(
        ApprovalDemand.index_id == File.index_id,
        ApprovalDemand.life == Project.life,
        ApprovalDemand.project.in_([Project.name, WHOLE_INDEX]),
        ApprovalDemand.lifted_at.is_(None),
    )
    return (
        columns.select_from(File)
        .join(Project, Project.id == File.project_id)
        .outerjoin(ApprovalDemand, applies)
        .outerjoin(ApprovalRequest, ApprovalRequest.file_id == File.id)
        .ext(distinct_on(File.id))
        # A project's own demand goes before that of its index, whose name is empty.
        .order_by(File.id, _own_demand_last())
    )


def _own_demand_last() -> ColumnElement[int]:
    return case((ApprovalDemand.project == WHOLE_INDEX, 1), else_=0)


async def standing(connection: AsyncConnection, file_id: FileId) -> Standing | None:
    """Return how far the approvals of a file are; None when it needs none: nothing is demanded, or it is visible
    without ever having been asked for, or it was removed."""
    visible = exists().where(PublishedFile.file_id == File.id, PublishedFile.to_serial.is_(None))
    columns = (ApprovalRequest.state, ApprovalRequest.round, ApprovalRequest.group_id, ApprovalRequest.expires_at)
    asked = (ApprovalRequest.needed.label("asked_needed"), ApprovalRequest.people.label("asked_people"))
    row = (
        await connection.execute(
            _with_demands(select(File.id, *_DEMAND, *columns, *asked))
            .where(File.id == file_id, File.removed_at.is_(None))
            .where(or_(ApprovalRequest.file_id.is_not(None), and_(ApprovalDemand.id.is_not(None), ~visible)))
        )
    ).first()
    if row is None:
        return None
    if row.state is None:
        return Standing(file_id, None, row.needed, _people(row.people))
    people = _people(row.asked_people)
    given = await counted(connection, {file_id: (row.round, people)})
    others = await connection.scalar(
        select(func.count())
        .select_from(ApprovalRequest)
        .join(File, (File.id == ApprovalRequest.file_id) & File.removed_at.is_(None))
        .where(
            ApprovalRequest.group_id == row.group_id, ApprovalRequest.file_id != file_id, ApprovalRequest.state == OPEN
        )
    )
    return Standing(file_id, row.state, row.asked_needed, people, given.get(file_id, ()), others or 0, row.expires_at)


async def counted(
    connection: AsyncConnection, wanted: Mapping[FileId, tuple[int, Sequence[str] | None]]
) -> dict[FileId, tuple[str, ...]]:
    """Return whose approvals of files count, by name; that of whoever brought a file only where its own counts now.

    Args:
        wanted: file -> (its round, whose count; None for all).
    """
    if not wanted:
        return {}
    rows = await connection.execute(
        select(ApprovalGiven.file_id, ApprovalGiven.round, ApprovalGiven.account)
        .join(ApprovalRequest, ApprovalRequest.file_id == ApprovalGiven.file_id)
        .where(ApprovalGiven.file_id.in_(wanted))
        .where(or_(ApprovalRequest.own, ApprovalGiven.account != ApprovalRequest.asked_by))
        .order_by(ApprovalGiven.account)
    )
    found: dict[FileId, tuple[str, ...]] = {}
    for row in rows:
        file_id = FileId(row.file_id)
        number, people = wanted[file_id]
        if row.round == number and (people is None or row.account in people):
            found[file_id] = (*found.get(file_id, ()), row.account)
    return found


async def any_to_settle(connection: AsyncConnection, projects: Collection[ProjectId | None]) -> bool:
    """Return whether a file of some projects waits for approvals, or was removed and is not withdrawn yet."""
    if not projects:
        return False
    request = select(ApprovalRequest.file_id)
    waits = request.where(ApprovalRequest.project_id.in_(projects), ApprovalRequest.state == OPEN)
    gone = request.join(File, File.id == ApprovalRequest.file_id).where(
        File.project_id.in_(projects), File.removed_at.is_not(None), ApprovalRequest.state != WITHDRAWN
    )
    return bool(await connection.scalar(select(or_(waits.exists(), gone.exists()))))


async def approved_pointers(connection: AsyncConnection, files: Collection[FileId]) -> dict[FileId, Sha256]:
    """Return the digests of pointers that people approved, of those files of which approvals were demanded."""
    columns = (ApprovalRequest.file_id, ApprovalRequest.pointer_sha256)
    rows = await connection.execute(
        select(*columns).where(
            ApprovalRequest.file_id.in_(files), ApprovalRequest.state == APPROVED, ApprovalRequest.needed > 0
        )
    )
    return {FileId(row.file_id): Sha256(row.pointer_sha256) for row in rows}


async def kept_states(connection: AsyncConnection, files: Collection[str]) -> dict[str, str]:
    """Return the states of requests as they are kept, by the text of their files' ids."""
    if not files:
        return {}
    rows = await connection.execute(
        select(ApprovalRequest.file_id, ApprovalRequest.state).where(ApprovalRequest.file_id.in_(map(UUID, files)))
    )
    return {str(row.file_id): row.state for row in rows}


async def project_of(connection: AsyncConnection, file_id: FileId) -> ProjectId | None:
    """Return the project of a file that was not removed."""
    found = await connection.scalar(select(File.project_id).where(File.id == file_id, File.removed_at.is_(None)))
    return None if found is None else ProjectId(found)


async def demanded(connection: AsyncConnection, index_id: IndexId, life: int, project: NormalizedName) -> bool:
    """Return whether files of a project need approvals now."""
    of_it = (ApprovalDemand.project.in_([project, WHOLE_INDEX]), ApprovalDemand.lifted_at.is_(None))
    query = select(ApprovalDemand.id).where(ApprovalDemand.index_id == index_id, ApprovalDemand.life == life, *of_it)
    return await connection.scalar(query.limit(1)) is not None


async def demands(connection: AsyncConnection, index_id: IndexId, life: int) -> list[Demand]:
    """Return what is demanded in an index now: of the whole index first, then project by project, by name."""
    columns = (ApprovalDemand.project, *_DEMAND, ApprovalDemand.set_at, ApprovalDemand.set_by)
    rows = await connection.execute(
        select(*columns)
        .where(ApprovalDemand.index_id == index_id, ApprovalDemand.life == life, ApprovalDemand.lifted_at.is_(None))
        .order_by(ApprovalDemand.project)
    )
    return [
        Demand(
            NormalizedName(row.project) if row.project != WHOLE_INDEX else None,
            row.needed, _people(row.people), row.own, row.set_at, row.set_by,
        )
        for row in rows
    ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class RequestLine:
    """A request as a list shows it."""

    file_id: FileId
    project: NormalizedName
    version: str
    file_name: FileName
    sha256: Sha256
    length: int
    round: int
    group_id: Any
    own: bool
    pointer: bytes
    pointer_sha256: Sha256
    asked_by: str
    opened_at: datetime
    decided_at: datetime | None
    decided_by: str | None
    standing: Standing


async def request_lines(  # noqa: PLR0913 - what a list is asked for by
    connection: AsyncConnection,
    index_id: IndexId,
    life: int,
    states: Collection[str],
    *,
    after: FileId | None = None,
    limit: int = 1,
    only: FileId | None = None,
) -> list[RequestLine]:
    """Return requests of an index whose files were not removed, by the id of the file.

    Args:
        states: as kept.
        only: the file that is wanted.
    """
    columns = [column for column in ApprovalRequest.__table__.columns if column.name not in {"index_id", "project_id"}]
    file = (Project.name.label("project"), Release.version, File.file_name, File.sha256, File.length)
    others, removed = aliased(ApprovalRequest), aliased(File)
    beside = (
        select(func.count())
        .select_from(others)
        .join(removed, (removed.id == others.file_id) & removed.removed_at.is_(None))
        .where(others.group_id == ApprovalRequest.group_id, others.file_id != ApprovalRequest.file_id)
        .where(others.state == OPEN)
        .scalar_subquery()
    )
    query = (
        select(*columns, *file, beside.label("others"))
        .join(File, File.id == ApprovalRequest.file_id)
        .join(Release, Release.id == File.release_id)
        .join(Project, Project.id == File.project_id)
        .where(ApprovalRequest.index_id == index_id, Project.life == life, ApprovalRequest.state.in_(states))
        .where(File.removed_at.is_(None))
        .order_by(ApprovalRequest.file_id)
        .limit(limit)
    )
    if after is not None:
        query = query.where(ApprovalRequest.file_id > after)
    if only is not None:
        query = query.where(ApprovalRequest.file_id == only)
    rows = (await connection.execute(query)).all()
    given = await counted(connection, {FileId(row.file_id): (row.round, _people(row.people)) for row in rows})
    return [_line(row, given.get(FileId(row.file_id), ())) for row in rows]


def _line(row: Any, given: tuple[str, ...]) -> RequestLine:
    file_id = FileId(row.file_id)
    return RequestLine(
        file_id=file_id,
        project=NormalizedName(row.project),
        version=row.version,
        file_name=FileName(row.file_name),
        sha256=Sha256(row.sha256),
        length=row.length,
        round=row.round,
        group_id=row.group_id,
        own=row.own,
        pointer=row.pointer,
        pointer_sha256=Sha256(row.pointer_sha256),
        asked_by=row.asked_by,
        opened_at=row.opened_at,
        decided_at=row.decided_at,
        decided_by=row.decided_by,
        standing=Standing(file_id, row.state, row.needed, _people(row.people), given, row.others, row.expires_at),
    )


def _people(value: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if value is None else tuple(value)
