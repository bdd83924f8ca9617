"""What the writers of rights share: one transaction holds the change, its audit row, and the notice by which every
process reads the directory again.

Source: architecture sections 11.1 and 11.9.
"""

from __future__ import annotations

from sqlalchemy import select, text, update
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.names import IndexName, InvalidName, parse_index_name, parse_owner
from shared.auth.directory import CHANNEL
from shared.auth.tokens import LOGIN_FORMAT_VERSIONS
from shared.catalogue import audit
from shared.catalogue.tables import Account, IndexRow, OwnerLink, Token
from shared.catalogue.unit_of_work import UnitOfWork
from shared.clock import Clock
from shared.errors import ErrorKind, ServiceError
from shared.ids import IndexId, TokenId

MAX_DESCRIPTION = 300
"""Characters of an index's description."""


MAX_EMAIL = 320
"""Characters of an e-mail address. Source: RFC 3696, erratum 1690."""


class CatalogueWriter:
    """Writes in the name of `actor` (an account's name, or `cli` for the operator's shell)."""

    def __init__(self, engine: AsyncEngine, clock: Clock, *, actor: str) -> None:
        self._engine = engine
        self._clock = clock
        self._actor = actor

    async def _index_id(self, work: UnitOfWork, name: IndexName) -> IndexId:
        of_name = (IndexRow.owner == name.owner, IndexRow.name == name.name, IndexRow.deleted_at.is_(None))
        found = await work.connection.scalar(select(IndexRow.id).where(*of_name))
        if found is None:
            raise ServiceError(ErrorKind.NOT_FOUND, f"There is no index {name}.")
        return IndexId(found)

    async def _living(self, work: UnitOfWork, account: str) -> None:
        check_account(account)
        of_name = (Account.name == account, Account.disabled_at.is_(None))
        if await work.connection.scalar(select(Account.name).where(*of_name)) is None:
            raise no_account(account)

    async def _end_links(self, work: UnitOfWork, account: str) -> None:
        """Use up what could still sign the account in without its password."""
        unused = (OwnerLink.account == account, OwnerLink.used_at.is_(None))
        await work.connection.execute(update(OwnerLink).where(*unused).values(used_at=self._clock.now()))

    async def _revoke_tokens(
        self, work: UnitOfWork, account: str, *, logins_only: bool = False, keep: TokenId | None = None
    ) -> int:
        """Make an account's tokens useless, and return how many were not yet.

        Args:
            logins_only: only those of the devpi client's logins.
            keep: the one that asks for it.
        """
        which = [Token.account == account, Token.revoked_at.is_(None)]
        which += [Token.format_version.in_(LOGIN_FORMAT_VERSIONS)] if logins_only else []
        which += [Token.id != keep] if keep is not None else []
        revoked = await work.connection.execute(update(Token).where(*which).values(revoked_at=self._clock.now()))
        return int(revoked.rowcount)

    async def _record(self, work: UnitOfWork, action: str, subject: str, **detail: object) -> None:
        now = self._clock.now()
        await audit.record(work.connection, at=now, actor=self._actor, action=action, subject=subject, **detail)

    async def _commit(self, work: UnitOfWork) -> None:
        await work.connection.execute(text(f"NOTIFY {CHANNEL}"))
        await work.commit()


def parse_owner_name(name: str) -> str:
    """Return a name that an account may have.

    Raises:
        ServiceError: INVALID.
    """
    try:
        return parse_owner(name)
    except InvalidName as error:
        raise ServiceError(ErrorKind.INVALID, f"{error}.") from error


def checked_index_name(name: IndexName) -> IndexName:
    """Return a name that an index may have.

    Raises:
        ServiceError: INVALID.
    """
    return index_name_from(str(name))


def index_name_from(written: str) -> IndexName:
    """Read `owner/name`.

    Raises:
        ServiceError: INVALID.
    """
    try:
        return parse_index_name(written)
    except InvalidName as error:
        raise ServiceError(ErrorKind.INVALID, f"{error}.") from error


def check_description(description: str | None) -> None:
    """Return when an index may be described so.

    Raises:
        ServiceError: INVALID for a text that is empty, too long or not printable.
    """
    if description is not None and not (0 < len(description) <= MAX_DESCRIPTION and description.isprintable()):
        raise ServiceError(
            ErrorKind.INVALID, f"A description has 1 to {MAX_DESCRIPTION} printable characters on one line."
        )


def check_email(email: str | None) -> None:
    """Return when an account may have this address, or none.

    Raises:
        ServiceError: INVALID.
    """
    if email is not None and not (len(email) <= MAX_EMAIL and email.isprintable() and "@" in email):
        raise ServiceError(ErrorKind.INVALID, "That is no e-mail address. Correct it, or leave it out.")


def check_account(name: str) -> None:
    """Return when there can be such an account: the catalogue takes no question with a null byte.

    Raises:
        ServiceError: NOT_FOUND.
    """
    if not name.isprintable():
        raise no_account(name)


def no_account(name: str) -> ServiceError:
    """Return the error for an account that is not there, or no longer."""
    return ServiceError(ErrorKind.NOT_FOUND, f"There is no account {name[:64]}.")
