"""Accounts, for administrators: who there is, another one, an end to one, and a one-time link that signs one in.

The gateway owns accounts, so these pages write them directly (architecture section 11.1). A link's text is on the page
that answers its making, nowhere else.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from gateway.accounts import OWNER_LINK_LIFETIME, owner_link_url
from gateway.dashboard.desk import Desk, Visitor, only_administrators
from gateway.writer import MAX_EMAIL, parse_owner_name
from shared.catalogue import listings
from shared.catalogue.listings import AccountLine
from shared.errors import ErrorKind, ServiceError

_ACCOUNTS = 50
_MAX_CURSOR = 200


class AccountPages:
    """The pages below `/accounts`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.routes: list[BaseRoute] = [
            Route("/accounts", self.accounts),
            Route("/accounts", self.create, methods=["POST"]),
            Route("/accounts/add", self.add),
            Route("/accounts/of/{name}", self.account),
            Route("/accounts/of/{name}/link", self.ask_link),
            Route("/accounts/of/{name}/link", self.link, methods=["POST"]),
            Route("/accounts/of/{name}/disable", self.ask_disable),
            Route("/accounts/of/{name}/disable", self.disable, methods=["POST"]),
        ]

    async def accounts(self, request: Request) -> Response:
        """Show accounts by name; `?after=` is the next page."""
        visitor = await self._desk.administering(request)
        after = request.query_params.get("after", "")[:_MAX_CURSOR].replace("\0", "")
        async with self._desk.backing.engine.connect() as connection:
            lines = await listings.accounts(connection, after=after or None, limit=_ACCOUNTS + 1)
        return self._desk.answer(
            "accounts.html",
            visitor,
            accounts=lines[:_ACCOUNTS],
            next=lines[_ACCOUNTS - 1].name if len(lines) > _ACCOUNTS else None,
            paged=bool(after),
        )

    async def add(self, request: Request) -> Response:
        """Show the form for another account."""
        return self._form(await self._desk.administering(request), {})

    async def create(self, request: Request) -> Response:
        """Make an account and show it; with a fault, show the form again and what is wrong."""
        visitor, fields = await self._posted(request)
        name, email = fields.get("name", "").strip(), fields.get("email", "").strip() or None
        try:
            await self._desk.accounts(visitor).create_account(name, email=email)
        except ServiceError as error:
            if error.kind not in {ErrorKind.INVALID, ErrorKind.CONFLICT}:
                raise
            return self._form(visitor, fields, fault=error)
        await self._desk.directory.refresh()
        return RedirectResponse(f"/accounts/of/{name}", 303)

    async def account(self, request: Request) -> Response:
        """Show one account."""
        visitor = await self._desk.administering(request)
        line = await self._line(request)
        async with self._desk.backing.engine.connect() as connection:
            tokens = await listings.tokens(connection, line.name, limit=listings.LIMIT)
        now = self._desk.backing.clock.now()
        living = [token for token in tokens if token.revoked_at is None and token.expires_at > now]
        return self._desk.answer(
            "account.html",
            visitor,
            account=line,
            indexes=[record for record in self._desk.directory.indexes() if record.name.owner == line.name],
            tokens=len([token for token in living if not self._desk.tokens.is_own(token)]),
            links=self._desk.backing.links,
        )

    async def ask_link(self, request: Request) -> Response:
        """Ask whether a link shall be made."""
        visitor = await self._desk.administering(request)
        return self._desk.answer(
            "account_link.html", visitor, account=await self._living(request), hours=_HOURS, secret=None
        )

    async def link(self, request: Request) -> Response:
        """Make a link and show it this once."""
        visitor, _ = await self._posted(request)
        line = await self._living(request)
        secret = await self._desk.accounts(visitor).create_owner_link(line.name)
        url = owner_link_url(self._desk.addresses.ui, secret)
        return self._desk.answer("account_link.html", visitor, account=line, hours=_HOURS, secret=url)

    async def ask_disable(self, request: Request) -> Response:
        """Ask whether an account shall end."""
        visitor = await self._desk.administering(request)
        return self._desk.answer("account_disable.html", visitor, account=await self._line(request))

    async def disable(self, request: Request) -> Response:
        """End an account and its tokens, and show it again."""
        visitor, _ = await self._posted(request)
        line = await self._line(request)
        await self._desk.accounts(visitor).disable_account(line.name)
        await self._desk.directory.refresh()
        return RedirectResponse(f"/accounts/of/{line.name}", 303)

    async def _posted(self, request: Request) -> tuple[Visitor, dict[str, str]]:
        visitor, fields = await self._desk.posted(request)
        return only_administrators(visitor), fields

    def _form(self, visitor: Visitor, fields: dict[str, str], *, fault: ServiceError | None = None) -> Response:
        return self._desk.answer(
            "account_add.html",
            visitor,
            200 if fault is None else 400,
            fields=fields,
            fault=None if fault is None else fault.detail,
            max_email=MAX_EMAIL,
        )

    async def _line(self, request: Request) -> AccountLine:
        """Return the account that a page's path names, also a disabled one."""
        name, line = request.path_params["name"], None
        try:
            parse_owner_name(name)
        except ServiceError as error:
            raise _missing() from error
        async with self._desk.backing.engine.connect() as connection:
            line = await listings.account(connection, name)
        if line is None:
            raise _missing()
        return line

    async def _living(self, request: Request) -> AccountLine:
        line = await self._line(request)
        if not self._desk.backing.links:
            detail = "People sign in by another provider here, which knows no links of this server."
            raise ServiceError(ErrorKind.NOT_FOUND, detail)
        if line.disabled_at is not None:
            raise ServiceError(ErrorKind.CONFLICT, f"The account {line.name} was disabled; it signs in no more.")
        return line


_HOURS = int(OWNER_LINK_LIFETIME.total_seconds()) // 3600


def _missing() -> ServiceError:
    return ServiceError(ErrorKind.NOT_FOUND, "There is no such account.")
