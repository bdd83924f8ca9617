"""The writer of accounts, tokens, grants, indexes, owner links and the deployment's own row.

Used by the UI and by the command line. Each function is one transaction, see `gateway.writer`.
Source: architecture sections 11.1, 11.5, 11.9.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import insert, select, update
from sqlalchemy.dialects.postgresql import insert as pg_insert

from countermark.core.names import IndexName, parse_index_name
from gateway.index_lives import Birth, begin
from gateway.writer import (
    CatalogueWriter,
    check_account,
    check_description,
    check_email,
    checked_index_name,
    no_account,
    parse_owner_name,
)
from shared.auth.directory import scope_to
from shared.auth.passwords import MAX_PASSWORD, hash_password
from shared.auth.principal import Scope
from shared.auth.tokens import FORMAT_VERSION, new_secret, token_sha256
from shared.catalogue.tables import Account, Deployment, OwnerLink, Token
from shared.catalogue.unit_of_work import UnitOfWork
from shared.errors import ErrorKind, ServiceError
from shared.ids import IndexId, TokenId, new_uuid

MIN_PASSWORD = 12
"""Characters of a password at the least."""

MAX_LABEL = 100
"""Characters of a token's label."""

MAX_SCOPES = 50
"""Scopes of one token."""

MAX_TOKEN_LIFETIME = timedelta(days=366)
"""Every token expires; a year is the most."""

OWNER_LINK_LIFETIME = timedelta(hours=24)
"""How long a one-time owner link can be used."""

Visibility = Literal["public", "private"]


@dataclass(frozen=True, slots=True)
class NewIndex:
    """An index to be made: a stage, not volatile, with strict admission."""

    name: IndexName
    visibility: Visibility = "public"
    description: str | None = None


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token to be made: whose, what for, for how long, its owner's name for it, and the CI run it is for."""

    account: str
    scopes: tuple[Scope, ...]
    lifetime: timedelta
    label: str
    publisher: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class MintedToken:
    """A token as its owner gets it, once. `secret` is kept nowhere."""

    id: TokenId
    secret: str
    expires_at: datetime

    def __repr__(self) -> str:
        return f"MintedToken(id={self.id}, expires_at={self.expires_at})"


@dataclass(frozen=True, slots=True)
class DeploymentInfo:
    """Which deployment this catalogue belongs to; `created` says whether the call made it."""

    id: UUID
    default_index: IndexName
    default_index_id: IndexId
    created: bool


class Accounts(CatalogueWriter):
    """Changes who and what there is."""

    async def create_account(self, name: str, *, password: str | None = None, email: str | None = None) -> None:
        """Make an account that can own indexes and, with a password, sign in.

        Raises:
            ServiceError: INVALID for a name, password or address that cannot be used, CONFLICT when the account exists.
        """
        owner = parse_owner_name(name)
        check_email(email)
        encoded = None if password is None else await _encoded(password)
        async with UnitOfWork(self._engine) as work:
            if not await self._add_account(work, owner, encoded, email):
                raise ServiceError(ErrorKind.CONFLICT, f"The account {owner} exists already.")
            await self._commit(work)

    async def set_password(
        self, name: str, password: str, *, keep: TokenId | None = None, every_token: bool = False
    ) -> int:
        """Give an account another password: its links and the devpi client's logins end at once, its sessions with the
        next look at the directory. Returns how many tokens were revoked.

        Args:
            keep: the token that asks for it, which goes on.
            every_token: revoke API tokens as well.

        Raises:
            ServiceError: INVALID for a password that cannot be used, NOT_FOUND when there is no such living account.
        """
        check_account(name)
        encoded = await _encoded(password)
        async with UnitOfWork(self._engine) as work:
            changed = await work.connection.scalar(
                update(Account)
                .where(Account.name == name, Account.disabled_at.is_(None))
                .values(password_hash=encoded)
                .returning(Account.name)
            )
            if changed is None:
                raise no_account(name)
            await self._end_links(work, name)
            revoked = await self._revoke_tokens(work, name, logins_only=not every_token, keep=keep)
            await self._record(work, "account.set-password", name, tokens_revoked=revoked)
            await self._commit(work)
        return revoked

    async def create_owner_link(self, account: str, *, lifetime: timedelta = OWNER_LINK_LIFETIME) -> str:
        """Make a one-time link for an account and return its secret, for `owner_link_url`; only its sha256 is kept.

        Raises:
            ServiceError: NOT_FOUND when there is no such living account.
        """
        secret = secrets.token_urlsafe(32)
        now = self._clock.now()
        async with UnitOfWork(self._engine) as work:
            await self._living(work, account)
            await work.connection.execute(
                insert(OwnerLink).values(
                    secret_sha256=_sha256(secret), account=account, created_at=now, expires_at=now + lifetime
                )
            )
            await self._record(work, "owner-link.create", account, expires_at=(now + lifetime).isoformat())
            await self._commit(work)
        return secret

    async def peek_owner_link(self, secret: str) -> str | None:
        """Return whose link this is while it can be used, without using it; None otherwise."""
        async with self._engine.connect() as connection:
            account = await connection.scalar(select(OwnerLink.account).where(*self._usable(secret)))
        return None if account is None else str(account)

    async def use_owner_link(self, secret: str, *, password: str | None = None) -> str | None:
        """Use a link up and return whose it was; None when it cannot be used (again). Of many callers one gets it.

        Args:
            password: set in the same transaction, in place of any other; the account's other links end with it.

        Raises:
            ServiceError: INVALID for a password that cannot be used; the link is then as before.
        """
        encoded = None if password is None else await _encoded(password)
        async with UnitOfWork(self._engine) as work:
            account = await work.connection.scalar(
                update(OwnerLink)
                .where(*self._usable(secret))
                .values(used_at=self._clock.now())
                .returning(OwnerLink.account)
            )
            if account is None:
                return None
            await self._record(work, "owner-link.use", account)
            if encoded is not None:
                await work.connection.execute(
                    update(Account).where(Account.name == account).values(password_hash=encoded)
                )
                await self._end_links(work, account)
                revoked = await self._revoke_tokens(work, account, logins_only=True)
                await self._record(work, "account.set-password", account, tokens_revoked=revoked)
            await self._commit(work)
        return str(account)

    async def create_index(self, new: NewIndex, *, most: int | None = None) -> IndexId:
        """Make a stage index with its grants, and ask for its first publication in the same transaction. One that was
        deleted begins another life.

        Args:
            most: indexes that its owner may have; None for the operator, who makes as many as they like.

        Raises:
            ServiceError: INVALID for a name that cannot be used, NOT_FOUND when its owner does not exist, CONFLICT when
                the index exists, FORBIDDEN when its owner has too many.
        """
        name = checked_index_name(new.name)
        check_description(new.description)
        async with UnitOfWork(self._engine) as work:
            await self._living(work, name.owner)
            settings = {} if new.description is None else {"description": new.description}
            index_id = await self._add_index(work, Birth(name, new.visibility, settings=settings), most)
            if index_id is None:
                raise ServiceError(ErrorKind.CONFLICT, f"The index {name} exists already.")
            await self._commit(work)
        return index_id

    async def create_token(self, new: NewToken) -> MintedToken:
        """Make an API token. Its text is in the answer and nowhere else.

        Raises:
            ServiceError: INVALID without a scope or with too many, with a lifetime that is not positive or above
                `MAX_TOKEN_LIFETIME`, or with an unusable label; NOT_FOUND without such a living account or index.
        """
        _check_token(new)
        secret = new_secret()
        minted = MintedToken(TokenId(new_uuid()), secret, self._clock.now() + new.lifetime)
        async with UnitOfWork(self._engine) as work:
            await self._living(work, new.account)
            await self._indexes_exist(work, new.scopes)
            scopes = [scope_to(scope) for scope in new.scopes]
            await work.connection.execute(
                insert(Token).values(
                    id=minted.id,
                    secret_sha256=token_sha256(secret),
                    format_version=FORMAT_VERSION,
                    account=new.account,
                    label=new.label,
                    scopes=scopes,
                    created_at=self._clock.now(),
                    expires_at=minted.expires_at,
                    publisher=new.publisher,
                )
            )
            told = {"account": new.account, "scopes": scopes} | ({"publisher": new.publisher} if new.publisher else {})
            await self._record(work, "token.create", str(minted.id), **told)
            await self._commit(work)
        return minted

    async def revoke_token(self, token_id: TokenId, *, account: str | None = None) -> None:
        """Make a token useless; revoking twice is no error.

        Args:
            account: whose token it must be; None for the operator, who may revoke any.

        Raises:
            ServiceError: NOT_FOUND when there is no such token.
        """
        whose = () if account is None else (Token.account == account,)
        async with UnitOfWork(self._engine) as work:
            known = await work.connection.scalar(select(Token.id).where(Token.id == token_id, *whose))
            if known is None:
                raise ServiceError(ErrorKind.NOT_FOUND, "There is no such token.")
            revoked = await work.connection.scalar(
                update(Token)
                .where(Token.id == token_id, Token.revoked_at.is_(None))
                .values(revoked_at=self._clock.now())
                .returning(Token.id)
            )
            if revoked is not None:
                await self._record(work, "token.revoke", str(token_id))
                await self._commit(work)

    async def disable_account(self, name: str) -> None:
        """End an account: it signs in no more, its tokens are revoked; its name and its indexes stay. Twice is no
        error.

        Raises:
            ServiceError: NOT_FOUND when there is no such account, CONFLICT for the owner of the default index.
        """
        check_account(name)
        async with UnitOfWork(self._engine) as work:
            if await work.connection.scalar(select(Account.name).where(Account.name == name)) is None:
                raise no_account(name)
            default = await work.connection.scalar(select(Deployment.default_index))
            if default is not None and parse_index_name(default).owner == name:
                detail = f"{name} owns the default index {default}: without it nobody would administrate."
                raise ServiceError(ErrorKind.CONFLICT, detail)
            now = self._clock.now()
            of_name = (Account.name == name, Account.disabled_at.is_(None))
            disabled = await work.connection.scalar(
                update(Account).where(*of_name).values(disabled_at=now).returning(Account.name)
            )
            if disabled is None:
                return
            revoked = await self._revoke_tokens(work, name)
            await self._end_links(work, name)
            await self._record(work, "account.disable", name, tokens_revoked=revoked)
            await self._commit(work)

    async def has_deployment(self) -> bool:
        """Return whether the deployment's row is there."""
        async with self._engine.connect() as connection:
            return await connection.scalar(select(Deployment.id)) is not None

    async def init_deployment(
        self, default_index: IndexName, *, visibility: Visibility = "public", mirror: Birth | None = None
    ) -> DeploymentInfo:
        """Make the deployment's row, the default index and its owner, or what is missing; safe to call at each start.

        Args:
            mirror: made beside the default index, when the deployment is made.

        Raises:
            ServiceError: CONFLICT when this catalogue belongs to a deployment with another default index.
        """
        name = checked_index_name(default_index)
        async with UnitOfWork(self._engine) as work:
            made = await work.connection.scalar(
                pg_insert(Deployment)
                .values(one=True, id=new_uuid(), default_index=str(name), created_at=self._clock.now())
                .on_conflict_do_nothing()
                .returning(Deployment.id)
            )
            row = (await work.connection.execute(select(Deployment.id, Deployment.default_index))).one()
            if row.default_index != str(name):
                detail = f"This catalogue's default index is {row.default_index}, not {name}. Start with that one."
                raise ServiceError(ErrorKind.CONFLICT, detail)
            if made is not None:
                await self._record(work, "deployment.create", str(row.id), default_index=str(name))
            await self._add_account(work, name.owner, None, None)
            index_id = await self._add_index(work, Birth(name, visibility)) or await self._index_id(work, name)
            if mirror is not None and made is not None:
                await self._add_index(work, mirror)
            await self._commit(work)
        return DeploymentInfo(row.id, name, index_id, made is not None)

    async def _add_account(self, work: UnitOfWork, name: str, encoded: str | None, email: str | None) -> bool:
        added = await work.connection.scalar(
            pg_insert(Account)
            .values(name=name, password_hash=encoded, email=email, created_at=self._clock.now())
            .on_conflict_do_nothing()
            .returning(Account.name)
        )
        if added is not None:
            await self._record(work, "account.create", name)
        return added is not None

    async def _add_index(self, work: UnitOfWork, birth: Birth, most: int | None = None) -> IndexId | None:
        index_id = await begin(work, birth, self._clock.now(), most=most)
        if index_id is not None:
            await self._record(work, "index.create", str(birth.name), visibility=birth.visibility, type=birth.type)
        return index_id

    async def _indexes_exist(self, work: UnitOfWork, scopes: Sequence[Scope]) -> None:
        for scope in scopes:
            if scope.index is not None:
                await self._index_id(work, scope.index)

    def _usable(self, secret: str) -> tuple[Any, ...]:
        living = select(Account.name).where(Account.disabled_at.is_(None))
        return (
            OwnerLink.secret_sha256 == _sha256(secret),
            OwnerLink.used_at.is_(None),
            OwnerLink.expires_at > self._clock.now(),
            OwnerLink.account.in_(living),
        )


def owner_link_url(ui_url: str, secret: str) -> str:
    """Return the address to print for an owner link."""
    return f"{ui_url}/welcome?code={secret}"


def _check_token(new: NewToken) -> None:
    if not 0 < len(new.scopes) <= MAX_SCOPES:
        raise ServiceError(ErrorKind.INVALID, f"A token has 1 to {MAX_SCOPES} scopes.")
    if not timedelta(0) < new.lifetime <= MAX_TOKEN_LIFETIME:
        detail = f"A token lives at most {MAX_TOKEN_LIFETIME.days} days, and longer than nothing."
        raise ServiceError(ErrorKind.INVALID, detail)
    if not 0 < len(new.label) <= MAX_LABEL or not new.label.isprintable():
        raise ServiceError(ErrorKind.INVALID, f"A token's label has 1 to {MAX_LABEL} printable characters.")


async def _encoded(password: str) -> str:
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        raise ServiceError(ErrorKind.INVALID, f"A password has {MIN_PASSWORD} to {MAX_PASSWORD} characters.")
    return await asyncio.to_thread(hash_password, password)


def _sha256(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
