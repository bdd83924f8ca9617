"""Lists of accounts, tokens and indexes for operators, each bounded. Reads only."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.auth.directory import scope_from
from shared.auth.principal import Scope
from shared.catalogue.tables import Account, IndexRow, Token, TufHead

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


async def accounts(connection: AsyncConnection) -> Sequence[AccountLine]:
    """Return accounts by name, the disabled ones as well."""
    has_password = Account.password_hash.is_not(None)
    columns = (Account.name, Account.email, has_password, Account.created_at, Account.disabled_at)
    rows = await connection.execute(select(*columns).order_by(Account.name).limit(LIMIT))
    return [AccountLine(*row) for row in rows]


async def tokens(connection: AsyncConnection, account: str | None = None) -> Sequence[TokenLine]:
    """Return the newest tokens, of one account or of all, the expired and revoked ones as well."""
    columns = (Token.id, Token.account, Token.label, Token.scopes, Token.created_at, Token.expires_at, Token.revoked_at)
    query = select(*columns).order_by(Token.created_at.desc()).limit(LIMIT)
    rows = await connection.execute(query if account is None else query.where(Token.account == account))
    return [
        TokenLine(
            id=row.id,
            account=row.account,
            label=row.label,
            scopes=tuple(map(scope_from, row.scopes)),
            created_at=row.created_at,
            expires_at=row.expires_at,
            revoked_at=row.revoked_at,
        )
        for row in rows
    ]


async def indexes(connection: AsyncConnection) -> Sequence[IndexLine]:
    """Return living indexes by name."""
    columns = (IndexRow.owner, IndexRow.name, IndexRow.type, IndexRow.visibility, IndexRow.volatile)
    rows = await connection.execute(
        select(*columns, TufHead.serial, IndexRow.created_at)
        .outerjoin(TufHead, TufHead.index_id == IndexRow.id)
        .where(IndexRow.deleted_at.is_(None))
        .order_by(IndexRow.owner, IndexRow.name)
        .limit(LIMIT)
    )
    return [IndexLine(*row) for row in rows]
