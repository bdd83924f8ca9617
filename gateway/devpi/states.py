"""Accounts and indexes as the catalogue has them now, for devpi's documents. Reads only.

Asked of the catalogue and not of memory: whoever made something through one gateway finds it through the next.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import accumulate
from typing import Any

from sqlalchemy import ColumnElement, Text, cast, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from countermark.core.names import IndexName
from gateway.devpi.values import MIRROR, SETTINGS, Config
from shared.auth.permissions import Decision, authorize
from shared.auth.principal import Grant, Principal, Resource, Verb
from shared.catalogue import projects
from shared.catalogue.tables import Account, IndexBase, IndexRow
from shared.catalogue.tables import Grant as GrantRow
from shared.ids import IndexId

ACCOUNTS_AT_ONCE = 50
"""Accounts of a list that are read with one query; each has some hundred kilobytes of its own words at the most."""

INDEXES_AT_ONCE = 200
"""Indexes of a list that are in memory at a time."""

BYTES_AT_ONCE = 1 << 20
"""Bytes of their settings as JSON; one index alone may have more."""


@dataclass(frozen=True, slots=True)
class IndexState:
    """An index; `settings` are those of `shared.catalogue.tables.IndexRow`."""

    id: IndexId
    name: IndexName
    life: int
    type: str
    public: bool
    volatile: bool
    settings: Mapping[str, Any]
    bases: tuple[IndexName, ...]
    grants: frozenset[Grant]

    def allows(self, principal: Principal, verb: Verb) -> bool:
        """Return whether `principal` may do `verb` here."""
        return authorize(principal, verb, Resource(self.name, self.grants)) is Decision.ALLOWED

    def config(self) -> Config:
        """Return what devpi's document shows, without the projects."""
        kept = {option: value for option, value in self.settings.items() if option in SETTINGS and value is not None}
        config: Config = {"type": self.type, "volatile": self.volatile}
        if self.type == MIRROR:
            return config | kept
        return (
            config
            | {"mirror_whitelist": [], "mirror_whitelist_inheritance": "intersection"}
            | kept
            | {
                "bases": [str(base) for base in self.bases],
                "acl_upload": self._listed("acl_upload", Verb.UPLOAD),
                "acl_toxresult_upload": self._listed("acl_toxresult_upload", Verb.TEST_RESULT),
            }
        )

    def _listed(self, option: str, verb: Verb) -> list[str]:
        """Return who may do `verb`: in the order in which it was written, then whoever got the right elsewhere."""
        allowed = {grant.subject for grant in self.grants if grant.verb is verb}
        written = [subject for subject in self.settings.get(option, ()) if subject in allowed]
        return written + sorted(allowed.difference(written))


@dataclass(frozen=True, slots=True)
class AccountState:
    """A living account; `profile` has its own words (`title`, `description`, `custom_data`)."""

    name: str
    password_hash: str | None
    email: str | None
    profile: Mapping[str, Any]
    created_at: datetime
    modified_at: datetime | None

    def document(self, *, private: bool) -> dict[str, Any]:
        """Return devpi's document of the account, without its indexes.

        Args:
            private: whether the caller may see the address as well.
        """
        document: dict[str, Any] = {"username": self.name, "created": _moment(self.created_at), **self.profile}
        if self.modified_at is not None:
            document["modified"] = _moment(self.modified_at)
        if private and self.email:
            document["email"] = self.email
        return document


_ACCOUNT = (
    Account.name,
    Account.password_hash,
    Account.email,
    Account.profile,
    Account.created_at,
    Account.modified_at,
)
_INDEX = (
    IndexRow.id,
    IndexRow.owner,
    IndexRow.name,
    IndexRow.life,
    IndexRow.type,
    IndexRow.visibility,
    IndexRow.volatile,
    IndexRow.settings,
)


async def account(connection: AsyncConnection, name: str) -> AccountState | None:
    """Return a living account."""
    if not name.isprintable():
        # The catalogue takes no question with a null byte.
        return None
    query = select(*_ACCOUNT).where(Account.name == name, Account.disabled_at.is_(None))
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else AccountState(**row._mapping)


async def accounts(connection: AsyncConnection, after: str | None) -> list[AccountState]:
    """Return the next `ACCOUNTS_AT_ONCE` living accounts by name."""
    query = select(*_ACCOUNT).where(Account.disabled_at.is_(None)).order_by(Account.name).limit(ACCOUNTS_AT_ONCE)
    rows = await connection.execute(query if after is None else query.where(Account.name > after))
    return [AccountState(**row._mapping) for row in rows]


async def index(connection: AsyncConnection, name: IndexName) -> IndexState | None:
    """Return a living index."""
    found = await _indexes(connection, (IndexRow.owner == name.owner) & (IndexRow.name == name.name))
    return found[0] if found else None


async def indexes_of(engine: AsyncEngine, owners: Sequence[str]) -> AsyncIterator[IndexState]:
    """Yield the living indexes of some accounts, by owner and name, with a few of them in memory at a time; nothing is
    held open between two parts.
    """
    key = tuple_(IndexRow.owner, IndexRow.name)
    weight = func.octet_length(cast(IndexRow.settings, Text)).label("weight")
    query = select(IndexRow.id, IndexRow.owner, IndexRow.name, weight).where(
        IndexRow.owner.in_(owners), IndexRow.deleted_at.is_(None)
    )
    query = query.order_by(IndexRow.owner, IndexRow.name).limit(INDEXES_AT_ONCE)
    position: tuple[str, str] | None = None
    while True:
        async with engine.connect() as connection:
            after = query if position is None else query.where(key > position)
            rows = (await connection.execute(after)).all()
            weights = accumulate(row.weight for row in rows)
            part = [row for row, so_far in zip(rows, weights, strict=True) if so_far <= BYTES_AT_ONCE] or rows[:1]
            states = await _indexes(connection, IndexRow.id.in_([row.id for row in part]))
        for state in states:
            yield state
        if not part or (len(part) == len(rows) and len(rows) < INDEXES_AT_ONCE):
            return
        position = (part[-1].owner, part[-1].name)


async def indexes_named(connection: AsyncConnection, names: Collection[IndexName]) -> dict[IndexName, IndexState]:
    """Return those of some indexes that are living."""
    if not names:
        return {}
    pairs = [(name.owner, name.name) for name in names]
    found = await _indexes(connection, tuple_(IndexRow.owner, IndexRow.name).in_(pairs))
    return {state.name: state for state in found}


async def project_names(engine: AsyncEngine, state: IndexState) -> AsyncIterator[list[str]]:
    """Yield the names of an index's own projects, sorted, in parts; nothing is held open between two of them."""
    after: str | None = None
    while True:
        async with engine.connect() as connection:
            names = await projects.living_names(connection, state.id, state.life, after=after)
        if names:
            yield names
        if len(names) < projects.NAMES_AT_ONCE:
            return
        after = names[-1]


async def _indexes(connection: AsyncConnection, which: ColumnElement[bool]) -> list[IndexState]:
    living = which & IndexRow.deleted_at.is_(None)
    rows = (await connection.execute(select(*_INDEX).where(living).order_by(IndexRow.owner, IndexRow.name))).all()
    ids = [row.id for row in rows]
    grants: dict[uuid.UUID, set[Grant]] = {}
    bases: dict[uuid.UUID, list[IndexName]] = {}
    if ids:
        grant_rows = select(GrantRow.index_id, GrantRow.subject, GrantRow.verb).where(GrantRow.index_id.in_(ids))
        for row in await connection.execute(grant_rows):
            grants.setdefault(row.index_id, set()).add(Grant(row.subject, Verb(row.verb)))
        base_rows = select(IndexBase.index_id, IndexBase.base_owner, IndexBase.base_name)
        ordered = base_rows.where(IndexBase.index_id.in_(ids)).order_by(IndexBase.position)
        for row in await connection.execute(ordered):
            bases.setdefault(row.index_id, []).append(IndexName(row.base_owner, row.base_name))
    return [
        IndexState(
            id=IndexId(row.id),
            name=IndexName(row.owner, row.name),
            life=row.life,
            type=row.type,
            public=row.visibility == "public",
            volatile=row.volatile,
            settings=row.settings,
            bases=tuple(bases.get(row.id, ())),
            grants=frozenset(grants.get(row.id, ())),
        )
        for row in rows
    ]


def _moment(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
