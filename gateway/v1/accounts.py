"""Routes of accounts, for administrators, and of passwords.

Source: architecture sections 11.1 and 11.9.
"""

from __future__ import annotations

from fastapi import APIRouter, Request

from gateway.v1 import schemas
from gateway.v1.callers import Callers
from shared.auth.permissions import unlimited
from shared.catalogue import listings
from shared.catalogue.listings import AccountLine
from shared.errors import ErrorKind, ServiceError
from shared.paging import DEFAULT_LIMIT, After, Limit, Page, cursor_text, decode_cursor, page_of


class AccountRoutes:
    """`/api/v1/accounts`."""

    def __init__(self, callers: Callers) -> None:
        self._callers = callers
        self._engine = callers.resources.engine
        self.router = router = APIRouter(prefix="/accounts", tags=["accounts"])
        router.get("")(self.accounts)
        router.post("", status_code=201)(self.create)
        router.delete("/{name}", status_code=204)(self.disable)
        router.put("/{name}/password", status_code=204)(self.set_password)

    async def accounts(
        self, request: Request, limit: Limit = DEFAULT_LIMIT, after: After = None
    ) -> Page[schemas.Account]:
        """List accounts by name, the disabled ones as well."""
        await self._callers.administrator(request)
        name = None if after is None else cursor_text(decode_cursor(after), "name")
        async with self._engine.connect() as connection:
            lines = await listings.accounts(connection, after=name, limit=limit + 1)
        return page_of(lines, limit, _shown, lambda line: {"name": line.name})

    async def create(self, payload: schemas.AccountPayload, request: Request) -> schemas.Account:
        """Make an account; without a password it can use tokens and owner links alone."""
        principal = await self._callers.administrator(request)
        writer = self._callers.accounts(principal)
        await writer.create_account(payload.name, password=payload.password, email=payload.email)
        await self._callers.directory.refresh()
        async with self._engine.connect() as connection:
            line = await listings.account(connection, payload.name)
        assert line is not None, "accounts are never deleted"
        return _shown(line)

    async def disable(self, name: str, request: Request) -> None:
        """End an account and its tokens; its name stays taken, its indexes stay. Twice is no error."""
        principal = await self._callers.administrator(request)
        await self._callers.accounts(principal).disable_account(name)
        await self._callers.directory.refresh()

    async def set_password(self, name: str, payload: schemas.PasswordPayload, request: Request) -> None:
        """Give an account a new password: one's own, or anybody's for administrators."""
        principal = await self._callers.known(request)
        if name != principal.account:
            await self._callers.administrator(request)
        if not unlimited(principal):
            detail = "A token cannot set passwords, unless it may do everything everywhere: use the account's password."
            raise ServiceError(ErrorKind.FORBIDDEN, detail)
        await self._callers.accounts(principal).set_password(name, payload.password, keep=principal.token_id)
        await self._callers.directory.refresh()


def _shown(line: AccountLine) -> schemas.Account:
    return schemas.Account(
        name=line.name,
        email=line.email,
        has_password=line.has_password,
        created_at=line.created_at,
        disabled_at=line.disabled_at,
    )
