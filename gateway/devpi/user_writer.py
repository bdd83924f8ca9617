"""The writer of accounts as devpi's API makes, changes and removes them, and of its logins.

Source: contract devpi sections 2, 5 and 23; architecture sections 11.1 and 11.9.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sqlalchemy import delete, exists, insert, select, update
from sqlalchemy.dialects.postgresql import insert as pg_insert
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.names import parse_index_name
from gateway.devpi.states import AccountState, account
from gateway.index_lives import end
from gateway.writer import CatalogueWriter
from shared.auth.directory import scope_to
from shared.auth.principal import Scope, Verb
from shared.auth.tokens import LOGIN_FORMAT_VERSION, LOGIN_PREFIX, OPEN_LOGIN_FORMAT_VERSION, new_secret, token_sha256
from shared.catalogue.tables import Account, Deployment, Grant, IndexRow, Token
from shared.catalogue.unit_of_work import UnitOfWork
from shared.clock import Clock
from shared.errors import ErrorKind, ServiceError
from shared.ids import TokenId, new_uuid

LOGIN_LIFETIME = timedelta(seconds=36_000)
"""How long a login lasts; using it does not prolong it."""

LOGIN_LABEL = "devpi login"
"""What these tokens are called where tokens are listed."""

_EVERYTHING = Scope(None, None, frozenset(Verb))


@dataclass(frozen=True, slots=True)
class NewPassword:
    """What is kept of a password: its hash, None of an empty one, which is good only while the deployment is open."""

    hash: str | None


@dataclass(frozen=True, slots=True)
class Proven:
    """An account whose password was shown, and the hash it was compared with: None where an open devpi took none."""

    account: str
    hash: str | None


@dataclass(frozen=True, slots=True)
class AccountChange:
    """What becomes of an account.

    Attributes:
        password: a new one; None leaves the password as it is.
        fields: `email`, `title`, `description`, `custom_data` -> value, None for one that is taken away.
    """

    password: NewPassword | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)


class DevpiUsers(CatalogueWriter):
    """Changes accounts in devpi's way."""

    def __init__(self, engine: AsyncEngine, clock: Clock, *, actor: str, open_: bool) -> None:
        """Args: open_: whether the deployment is as open as a plain devpi-server: what logs in there may be anybody."""
        super().__init__(engine, clock, actor=actor)
        self._open = open_

    async def create(self, name: str, new: AccountChange) -> AccountState:
        """Make an account; one that was removed comes back with nothing of what it had.

        Raises:
            ServiceError: CONFLICT when there is one.
        """
        async with UnitOfWork(self._engine) as work:
            values = {
                "password_hash": None if new.password is None else new.password.hash,
                "email": new.fields.get("email"),
                "profile": _profile({}, new.fields),
                "created_at": self._clock.now(),
                "modified_at": None,
            }
            added = pg_insert(Account).values(name=name, **values).on_conflict_do_nothing().returning(Account.name)
            if await work.connection.scalar(added) is None:
                indexed = exists().where(IndexRow.owner == name, IndexRow.deleted_at.is_(None))
                gone = (Account.name == name, Account.disabled_at.is_not(None), ~indexed)
                again = update(Account).where(*gone).values(disabled_at=None, **values).returning(Account.name)
                if await work.connection.scalar(again) is None:
                    raise ServiceError(ErrorKind.CONFLICT, "user already exists")
                # It may have been disabled without being removed: then rights and all else are still there.
                await work.connection.execute(delete(Grant).where(Grant.subject == name))
                await self._revoke_tokens(work, name)
                await self._end_links(work, name)
            await self._record(work, "account.create", name)
            made = await account(work.connection, name)
            await self._commit(work)
        assert made is not None, "it was written in this transaction"
        return made

    async def modify(self, name: str, change: AccountChange, *, keep: TokenId | None) -> str | None:
        """Change an account. With a new password its logins end, and the secret of a new one is returned.

        Args:
            keep: the token that asks for it, which goes on.

        Raises:
            ServiceError: NOT_FOUND without such a living account.
        """
        secret = None
        async with UnitOfWork(self._engine) as work:
            of_name = (Account.name == name, Account.disabled_at.is_(None))
            query = select(Account.email, Account.profile).where(*of_name).with_for_update()
            row = (await work.connection.execute(query)).one_or_none()
            if row is None:
                raise no_user(name)
            now = self._clock.now()
            values = {
                "email": change.fields.get("email", row.email),
                "profile": _profile(row.profile, change.fields),
            }
            if values == {"email": row.email, "profile": row.profile} and change.password is None:
                return None
            changed = sorted(change.fields)
            if change.password is not None:
                values["password_hash"] = change.password.hash
            await work.connection.execute(update(Account).where(*of_name).values(**values, modified_at=now))
            await self._record(work, "account.modify", name, fields=changed)
            if change.password is not None:
                await self._end_links(work, name)
                revoked = await self._revoke_tokens(work, name, logins_only=True, keep=keep)
                await self._record(work, "account.set-password", name, tokens_revoked=revoked)
                secret = await self._mint(work, name)
            await self._commit(work)
        return secret

    async def delete(self, name: str) -> None:
        """End an account: its indexes are deleted, its tokens and links revoked, its rights on others' indexes gone.

        Raises:
            ServiceError: NOT_FOUND without such an account; FORBIDDEN while it has an index that is not volatile, or
                for the owner of the default index.
        """
        async with UnitOfWork(self._engine) as work:
            of_name = (Account.name == name, Account.disabled_at.is_(None))
            locked = select(Account.name).where(*of_name).with_for_update()
            if await work.connection.scalar(locked) is None:
                raise no_user(name)
            default = await work.connection.scalar(select(Deployment.default_index))
            if default is not None and parse_index_name(default).owner == name:
                detail = f"user {name!r} owns the default index {default} and cannot be deleted"
                raise ServiceError(ErrorKind.FORBIDDEN, detail)
            ended = await self._end_indexes(work, name)
            now = self._clock.now()
            await work.connection.execute(update(Account).where(*of_name).values(disabled_at=now))
            await work.connection.execute(delete(Grant).where(Grant.subject == name))
            revoked = await self._revoke_tokens(work, name)
            await self._end_links(work, name)
            await self._record(work, "account.delete", name, tokens_revoked=revoked, indexes=ended)
            await self._commit(work)

    async def log_in(self, proven: Proven) -> str:
        """Make a login for an account whose password was proven, and return its secret.

        Raises:
            ServiceError: NOT_FOUND when the account was removed meanwhile, or its password changed: a login that is
                under way then must not outlive what ends logins.
        """
        name = proven.account
        async with UnitOfWork(self._engine) as work:
            query = select(Account.password_hash).where(Account.name == name, Account.disabled_at.is_(None))
            row = (await work.connection.execute(query.with_for_update(read=True))).one_or_none()
            if row is None or row.password_hash != proven.hash:
                raise no_user(name)
            secret = await self._mint(work, name)
            await self._commit(work)
        return secret

    async def _mint(self, work: UnitOfWork, name: str) -> str:
        secret, now, token_id = new_secret(LOGIN_PREFIX), self._clock.now(), new_uuid()
        await work.connection.execute(
            insert(Token).values(
                id=token_id,
                secret_sha256=token_sha256(secret),
                format_version=OPEN_LOGIN_FORMAT_VERSION if self._open else LOGIN_FORMAT_VERSION,
                account=name,
                label=LOGIN_LABEL,
                scopes=[scope_to(_EVERYTHING)],
                created_at=now,
                expires_at=now + LOGIN_LIFETIME,
            )
        )
        await self._record(work, "token.create", str(token_id), account=name, login=True)
        return secret

    async def _end_indexes(self, work: UnitOfWork, name: str) -> Sequence[str]:
        columns = (IndexRow.id, IndexRow.name, IndexRow.life, IndexRow.volatile)
        living = select(*columns).where(IndexRow.owner == name, IndexRow.deleted_at.is_(None)).order_by(IndexRow.name)
        rows = (await work.connection.execute(living.with_for_update())).all()
        for row in rows:
            if not row.volatile:
                raise ServiceError(ErrorKind.FORBIDDEN, f"user {name!r} has non-volatile index: {row.name}")
        for row in rows:
            await end(work, row.id, row.life, self._clock.now())
        return [row.name for row in rows]


def no_user(name: str) -> ServiceError:
    """Return the error for an account that is not there, or no longer."""
    return ServiceError(ErrorKind.NOT_FOUND, f"no user {name!r}")


def _profile(before: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**before, **{option: value for option, value in fields.items() if option != "email"}}
    return {option: value for option, value in merged.items() if value is not None}
