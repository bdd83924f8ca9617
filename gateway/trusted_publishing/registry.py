"""The writer of trusted publishers: which CI identity may upload to which project of which index.

A registration is itself the right to upload, given by somebody who may configure the index; it ends with the account
that made it, with the index's life, and when it is removed.
Source: contract python-index sections 3.4 and 3.5; architecture section 11.1.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from packaging.utils import NormalizedName
from sqlalchemy import Row, and_, exists, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert as pg_insert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import aliased

from countermark.core.names import IndexName
from gateway.trusted_publishing.identities import Identity, parse_identity
from gateway.writer import CatalogueWriter
from shared.auth.tokens import PUBLISHER_FORMAT_VERSION
from shared.catalogue.projects import FORMAT
from shared.catalogue.tables import Account, IndexRow, Project, Publisher, Token
from shared.catalogue.unit_of_work import UnitOfWork
from shared.errors import ErrorKind, ServiceError
from shared.ids import IndexId, new_uuid

PENDING_FOR = timedelta(days=30)
"""How long a publisher may wait for a project that does not exist. Source: contract python-index section 3.5."""

MOST_A_DAY = 100
"""Publishers that an account may register in a day. Source: as above."""

MOST_OF_PROJECT = 50
"""Living publishers of one project."""


@dataclass(frozen=True, slots=True)
class NewPublisher:
    """A publisher to be registered.

    Attributes:
        account: who vouches for it: the publisher ends with this account.
        pinned: claim -> id, see `identities.parse_pins`.
    """

    index: IndexName
    project: NormalizedName
    identity: Identity
    account: str
    pinned: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Registered:
    """A publisher as it is kept; `pending_until` while it waits for a project that does not exist."""

    id: uuid.UUID
    index_id: IndexId
    index: IndexName
    life: int
    project: NormalizedName
    identity: Identity
    pinned: dict[str, str]
    pending_until: datetime | None
    created_at: datetime
    account: str
    used_at: datetime | None

    def is_expired(self, now: datetime) -> bool:
        """Return whether it waited too long."""
        return self.pending_until is not None and self.pending_until <= now


class Publishers(CatalogueWriter):
    """Registers and removes trusted publishers."""

    async def add(self, new: NewPublisher, *, most: int | None = None) -> Registered:
        """Register a publisher; one of a project that does not exist is pending, and reserves no name.

        Args:
            most: that the account may register in a day; None for the operator.

        Raises:
            ServiceError: NOT_FOUND without such a living index or account, INVALID on a mirror, CONFLICT when the
                project has it or has too many, TOO_MANY after too many in a day.
        """
        now = self._clock.now()
        async with UnitOfWork(self._engine) as work:
            await self._living(work, new.account)
            index = await self._stage(work, new.index)
            if most is not None:
                await self._check_number(work, new.account, most)
            exists = await project_exists(work.connection, index.id, index.life, new.project)
            values = {
                "id": new_uuid(),
                "index_id": index.id,
                "life": index.life,
                "project": new.project,
                "kind": new.identity.kind,
                "issuer": new.identity.issuer,
                "subject": new.identity.subject,
                "identity": new.identity.to_document(),
                "pinned": new.pinned,
                "pending_until": None if exists else now + PENDING_FOR,
                "created_at": now,
                "account": new.account,
            }
            # Those that waited too long make room.
            of_project = (Publisher.index_id == index.id, Publisher.life == index.life)
            waiting = (*of_project, Publisher.project == new.project, Publisher.pending_until <= now)
            await self._mark(work, waiting, "expired")
            made = pg_insert(Publisher).values(values).on_conflict_do_nothing().returning(Publisher.id)
            if await work.connection.scalar(made) is None:
                detail = f"{new.project} on {new.index} has this publisher already."
                raise ServiceError(ErrorKind.CONFLICT, detail)
            living = (*of_project, Publisher.project == new.project, Publisher.removed_at.is_(None))
            number = await work.connection.scalar(select(func.count()).select_from(Publisher).where(*living)) or 0
            if number > MOST_OF_PROJECT:
                detail = f"{new.project} has {MOST_OF_PROJECT} publishers, the most that one may: remove one first."
                raise ServiceError(ErrorKind.CONFLICT, detail)
            told = {name: values[name] for name in ("kind", "issuer", "identity", "pinned", "account")}
            place = {"index": str(new.index), "project": new.project, "pending": not exists}
            await self._record(work, "publisher.add", str(values["id"]), **place, **told)
            await self._commit(work)
            found = (await work.connection.execute(_living().where(Publisher.id == values["id"]))).one()
        return registered(found)

    async def remove(self, publisher_id: uuid.UUID, *, index: IndexName | None = None) -> None:
        """Take a publisher away, with the tokens that it still holds; twice is no error.

        Args:
            index: of which it must be; None for the operator.

        Raises:
            ServiceError: NOT_FOUND when there is no such publisher.
        """
        async with UnitOfWork(self._engine) as work:
            of_index = () if index is None else (Publisher.index_id == await self._index_id(work, index),)
            wanted = (Publisher.id == publisher_id, *of_index)
            if await work.connection.scalar(select(Publisher.id).where(*wanted)) is None:
                raise ServiceError(ErrorKind.NOT_FOUND, "There is no such publisher.")
            if await self._mark(work, wanted, "removed"):
                await self._commit(work)

    async def _mark(self, work: UnitOfWork, which: Sequence[Any], why: str) -> int:
        """Mark the living ones among some publishers as removed, and revoke their tokens; returns how many."""
        now = self._clock.now()
        marked = (
            update(Publisher)
            .where(*which, Publisher.removed_at.is_(None))
            .values(removed_at=now, removed_by=self._actor)
            .returning(Publisher.id, Publisher.project)
        )
        rows = (await work.connection.execute(marked)).all()
        for row in rows:
            of_publisher = Token.publisher["publishers"].contains([str(row.id)])
            good = (Token.format_version == PUBLISHER_FORMAT_VERSION, Token.revoked_at.is_(None))
            revoked = await work.connection.execute(
                update(Token).where(*good, Token.expires_at > now, of_publisher).values(revoked_at=now)
            )
            told = {"project": row.project, "why": why, "tokens_revoked": revoked.rowcount}
            await self._record(work, "publisher.remove", str(row.id), **told)
        return len(rows)

    async def _stage(self, work: UnitOfWork, name: IndexName) -> Row[Any, int, str]:
        of_name = (IndexRow.owner == name.owner, IndexRow.name == name.name, IndexRow.deleted_at.is_(None))
        columns = (IndexRow.id, IndexRow.life, IndexRow.type)
        row = (await work.connection.execute(select(*columns).where(*of_name))).first()
        if row is None:
            raise ServiceError(ErrorKind.NOT_FOUND, f"There is no index {name}.")
        if row.type != "stage":
            raise ServiceError(ErrorKind.INVALID, f"{name} is a mirror: nothing is uploaded to it.")
        return row

    async def _check_number(self, work: UnitOfWork, account: str, most: int) -> None:
        # Those that are registered at the same time count one after the other.
        await work.connection.execute(select(Account.name).where(Account.name == account).with_for_update())
        since = (Publisher.account == account, Publisher.created_at > self._clock.now() - timedelta(days=1))
        number = await work.connection.scalar(select(func.count()).select_from(Publisher).where(*since)) or 0
        if number >= most:
            detail = f"{account} registered {number} publishers within a day, the most that one may: go on tomorrow."
            raise ServiceError(ErrorKind.TOO_MANY, detail, retry_after=timedelta(hours=1))


async def publishers_of(
    connection: AsyncConnection, index_id: IndexId | None, *, after: uuid.UUID | None = None, limit: int
) -> list[Registered]:
    """Return the living publishers of an index, or of all, in the order in which they were registered."""
    query = _living().order_by(Publisher.id).limit(limit)
    if index_id is not None:
        query = query.where(Publisher.index_id == index_id)
    if after is not None:
        query = query.where(Publisher.id > after)
    return [registered(row) for row in await connection.execute(query)]


async def has_issuer(connection: AsyncConnection, issuer: str) -> bool:
    """Return whether some living publisher is of this issuer."""
    return await connection.scalar(_living().where(Publisher.issuer == issuer).limit(1)) is not None


async def locked_of(
    connection: AsyncConnection, issuer: str, subjects: Sequence[str], *, limit: int
) -> list[Registered]:
    """Return the living publishers that a token may be of, and those that wait for the same project as one of them;
    they are locked, always in the same order, so that of two that wait one becomes real."""
    own = aliased(Publisher)
    rival = exists().where(
        own.issuer == issuer,
        own.subject.in_(list(subjects)),
        own.pending_until.is_not(None),
        own.removed_at.is_(None),
        *(own.index_id == Publisher.index_id, own.life == Publisher.life, own.project == Publisher.project),
    )
    same = and_(Publisher.issuer == issuer, Publisher.subject.in_(list(subjects)))
    which = or_(same, and_(Publisher.pending_until.is_not(None), rival))
    query = _living().where(which).order_by(Publisher.id).limit(limit).with_for_update(of=Publisher)
    return [registered(row) for row in await connection.execute(query)]


async def project_exists(connection: AsyncConnection, index_id: uuid.UUID, life: int, project: str) -> bool:
    """Return whether an index has a project of this name."""
    of_name = (Project.index_id == index_id, Project.life == life, Project.format == FORMAT, Project.name == project)
    return await connection.scalar(select(Project.id).where(*of_name, Project.removed_at.is_(None))) is not None


def registered(row: Any) -> Registered:
    """Read a row of `_living`."""
    return Registered(
        id=row.id,
        index_id=IndexId(row.index_id),
        index=IndexName(row.owner, row.name),
        life=row.life,
        project=NormalizedName(row.project),
        identity=parse_identity(row.kind, row.issuer, row.identity),
        pinned=dict(row.pinned),
        pending_until=row.pending_until,
        created_at=row.created_at,
        account=row.account,
        used_at=row.used_at,
    )


def _living() -> Any:
    """Return the query of publishers that count: not removed, of an index in its present life and an account that is
    not disabled."""
    row = Publisher
    own = (row.id, row.index_id, row.life, row.project, row.kind, row.issuer, row.identity, row.pinned)
    more = (row.pending_until, row.created_at, row.account, row.used_at, IndexRow.owner, IndexRow.name)
    same_life = and_(IndexRow.id == row.index_id, IndexRow.life == row.life, IndexRow.deleted_at.is_(None))
    good = and_(Account.name == row.account, Account.disabled_at.is_(None))
    return select(*own, *more).join(IndexRow, same_life).join(Account, good).where(row.removed_at.is_(None))
