"""Lists of accounts, tokens, indexes, jobs and the audit, for operators and `/api/v1`, each bounded. Reads only.

A list that is paged by keyset takes the key of the last row shown; see `shared.paging`.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, select
from sqlalchemy.ext.asyncio import AsyncConnection

from countermark.core.names import IndexName
from shared.auth.directory import scope_from
from shared.auth.principal import Scope, Verb
from shared.catalogue.tables import Account, Audit, Grant, IndexRow, Outbox, Token, TokenUse, TufHead

LIMIT = 1000
"""Rows of a list at the most; the newest, or the first by name."""


@dataclass(frozen=True, slots=True)
class AccountLine:
    """An account; `has_password` says whether it can sign in with one."""

    name: str
    email: str | None
    has_password: bool
    created_at: datetime
    disabled_at: datetime | None


@dataclass(frozen=True, slots=True)
class TokenLine:
    """A token without its secret."""

    id: uuid.UUID
    account: str
    label: str
    scopes: tuple[Scope, ...]
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class IndexLine:
    """A living index; `serial` is None before its first publication."""

    owner: str
    name: str
    type: str
    visibility: str
    volatile: bool
    serial: int | None
    created_at: datetime
    description: str | None = None


@dataclass(frozen=True, slots=True)
class GrantLine:
    """What a subject may do on an index."""

    subject: str
    verbs: tuple[Verb, ...]


@dataclass(frozen=True, slots=True)
class AuditLine:
    """Who did what to which thing."""

    id: int
    at: datetime
    source: str | None
    actor: str
    action: str
    subject: str
    detail: dict[str, Any]


@dataclass(frozen=True, slots=True)
class JobLine:
    """A job that waits or runs (`open`), or was given up (`dead`)."""

    id: int
    kind: str
    ids: dict[str, Any]
    state: str
    created_at: datetime
    attempts: int
    last_error: str | None


async def accounts(
    connection: AsyncConnection, *, after: str | None = None, limit: int = LIMIT
) -> Sequence[AccountLine]:
    """Return accounts by name, the disabled ones as well."""
    has_password = Account.password_hash.is_not(None)
    columns = (Account.name, Account.email, has_password, Account.created_at, Account.disabled_at)
    query = select(*columns).order_by(Account.name).limit(limit)
    rows = await connection.execute(query if after is None else query.where(Account.name > after))
    return [AccountLine(*row) for row in rows]


async def account(connection: AsyncConnection, name: str) -> AccountLine | None:
    """Return one account, also a disabled one."""
    has_password = Account.password_hash.is_not(None)
    columns = (Account.name, Account.email, has_password, Account.created_at, Account.disabled_at)
    row = (await connection.execute(select(*columns).where(Account.name == name))).one_or_none()
    return None if row is None else AccountLine(*row)


async def tokens(
    connection: AsyncConnection, account: str | None = None, *, before: uuid.UUID | None = None, limit: int = LIMIT
) -> Sequence[TokenLine]:
    """Return the newest tokens, of one account or of all, the expired and revoked ones as well."""
    # Ids are ordered by time.
    query = _token_lines().order_by(Token.id.desc()).limit(limit)
    if account is not None:
        query = query.where(Token.account == account)
    if before is not None:
        query = query.where(Token.id < before)
    return [_token_line(row) for row in await connection.execute(query)]


async def token(connection: AsyncConnection, token_id: uuid.UUID) -> TokenLine | None:
    """Return one token, whatever became of it."""
    row = (await connection.execute(_token_lines().where(Token.id == token_id))).one_or_none()
    return None if row is None else _token_line(row)


async def indexes(connection: AsyncConnection, *, among: Collection[uuid.UUID] | None = None) -> Sequence[IndexLine]:
    """Return living indexes by name, all or those of some ids."""
    columns = (IndexRow.owner, IndexRow.name, IndexRow.type, IndexRow.visibility, IndexRow.volatile)
    query = (
        select(*columns, TufHead.serial, IndexRow.created_at, IndexRow.settings["description"].astext)
        .outerjoin(TufHead, TufHead.index_id == IndexRow.id)
        .where(IndexRow.deleted_at.is_(None))
        .order_by(IndexRow.owner, IndexRow.name)
        .limit(LIMIT)
    )
    rows = await connection.execute(query if among is None else query.where(IndexRow.id.in_(among)))
    return [IndexLine(*row) for row in rows]


async def index_id(connection: AsyncConnection, name: IndexName) -> uuid.UUID | None:
    """Return the id of a living index."""
    of_name = (IndexRow.owner == name.owner, IndexRow.name == name.name, IndexRow.deleted_at.is_(None))
    return await connection.scalar(select(IndexRow.id).where(*of_name))


async def grants(connection: AsyncConnection, index_id: uuid.UUID) -> Sequence[GrantLine]:
    """Return who may do what on an index, by subject."""
    found: dict[str, list[Verb]] = {}
    query = select(Grant.subject, Grant.verb).where(Grant.index_id == index_id).order_by(Grant.subject, Grant.verb)
    for row in await connection.execute(query):
        found.setdefault(row.subject, []).append(Verb(row.verb))
    return [GrantLine(subject, tuple(verbs)) for subject, verbs in found.items()]


async def audit(connection: AsyncConnection, *, before: int | None = None, limit: int = LIMIT) -> Sequence[AuditLine]:
    """Return the audit, newest first."""
    columns = (Audit.id, Audit.at, Audit.source, Audit.actor, Audit.action, Audit.subject, Audit.detail)
    query = select(*columns).order_by(Audit.id.desc()).limit(limit)
    rows = await connection.execute(query if before is None else query.where(Audit.id < before))
    return [AuditLine(*row) for row in rows]


async def jobs(
    connection: AsyncConnection, *, dead: bool, before: int | None = None, limit: int = LIMIT
) -> Sequence[JobLine]:
    """Return jobs that were given up, or those that wait or run, newest first."""
    columns = (Outbox.id, Outbox.kind, Outbox.ids, Outbox.created_at, Outbox.attempts, Outbox.last_error)
    query = select(*columns).order_by(Outbox.id.desc()).limit(limit)
    if dead:
        query = query.where(Outbox.dead_at.is_not(None))
    else:
        query = query.where(Outbox.done_at.is_(None), Outbox.dead_at.is_(None))
    rows = await connection.execute(query if before is None else query.where(Outbox.id < before))
    state = "dead" if dead else "open"
    return [JobLine(row.id, row.kind, row.ids, state, row.created_at, row.attempts, row.last_error) for row in rows]


def _token_lines() -> Any:
    columns = (Token.id, Token.account, Token.label, Token.scopes, Token.created_at, Token.expires_at, Token.revoked_at)
    return select(*columns, TokenUse.last_used_at).outerjoin(TokenUse)


def _token_line(row: Row[Any]) -> TokenLine:
    return TokenLine(**{**row._mapping, "scopes": tuple(map(scope_from, row.scopes))})
