"""A person's own account: what it is, what it may do, and another password for it."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from gateway.accounts import MIN_PASSWORD
from gateway.dashboard.desk import Desk, Visitor
from gateway.limits import PASSWORD_BY_ACCOUNT
from shared.auth.passwords import MAX_PASSWORD, password_matches
from shared.auth.principal import Verb
from shared.catalogue import listings
from shared.errors import ErrorKind, ServiceError

FIRST_PASSWORD = timedelta(minutes=10)
"""How long after signing in an account without a password may be given one."""


class OwnAccountPages:
    """The pages below `/account`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.routes: list[BaseRoute] = [
            Route("/account", self.account),
            Route("/account/password", self.ask),
            Route("/account/password", self.change, methods=["POST"]),
        ]

    async def account(self, request: Request) -> Response:
        """Show the visitor's account."""
        visitor = await self._desk.visitor(request)
        async with self._desk.backing.engine.connect() as connection:
            line = await listings.account(connection, visitor.account)
        assert line is not None, "a session ends with its account"
        readable = self._desk.readable(visitor)
        return self._desk.answer(
            "own_account.html",
            visitor,
            account=line,
            indexes=[(record, [verb.value for verb in Verb if visitor.may(verb, record)]) for record in readable],
            changed=request.query_params.get("done") == "password",
            passwords=self._desk.backing.links,
        )

    async def ask(self, request: Request) -> Response:
        """Show the form for another password."""
        visitor = await self._desk.visitor(request)
        self._settable(visitor)
        return self._form(visitor)

    async def change(self, request: Request) -> Response:
        """Set another password, which ends the account's other sessions.

        Raises:
            ServiceError: FORBIDDEN for someone else's form and as `_settable`, TOO_MANY after too many wrong passwords.
        """
        visitor, fields = await self._desk.posted(request)
        try:
            await self._check(visitor, fields)
            await self._desk.accounts(visitor).set_password(visitor.account, fields["password"])
        except ServiceError as error:
            if error.kind is not ErrorKind.INVALID:
                raise
            return self._form(visitor, fault=error.detail)
        await self._desk.directory.refresh()
        answer = RedirectResponse("/account?done=password", 303)
        await self._desk.tokens.drop(visitor.session)
        await self._desk.login.renew(visitor.session, answer)
        return answer

    async def _check(self, visitor: Visitor, fields: dict[str, str]) -> None:
        """Refuse who does not know the password that there is: an open browser is not enough to take an account over.

        Raises:
            ServiceError: INVALID or TOO_MANY, and as `_settable`.
        """
        self._settable(visitor)
        if not fields.get("password"):
            raise ServiceError(ErrorKind.INVALID, "Type the new password, twice.")
        if fields["password"] != fields.get("again"):
            raise ServiceError(ErrorKind.INVALID, "The two new passwords differ. Type them again.")
        record = self._desk.directory.account(visitor.account)
        if record is None or record.password_hash is None:
            # The session began a moment ago.
            return
        await self._desk.backing.limits.count(PASSWORD_BY_ACCOUNT, visitor.account)
        current = fields.get("current", "")[: MAX_PASSWORD + 1]
        if not await asyncio.to_thread(password_matches, record.password_hash, current):
            raise ServiceError(ErrorKind.INVALID, "That is not the account's present password.")
        await self._desk.backing.limits.forget(PASSWORD_BY_ACCOUNT, visitor.account)

    def _settable(self, visitor: Visitor) -> None:
        """Refuse a password that would outlive the sign-in which it comes from.

        Raises:
            ServiceError: FORBIDDEN where another provider signs people in, and for an account without a password whose
                session began too long ago.
        """
        backing = self._desk.backing
        if not backing.links:
            detail = "People sign in by another provider here: passwords are changed there, this server takes none."
            raise ServiceError(ErrorKind.FORBIDDEN, detail)
        record = self._desk.directory.account(visitor.account)
        known = record is not None and record.password_hash is not None
        if not known and backing.clock.now() > visitor.session.created_at + FIRST_PASSWORD:
            minutes = int(FIRST_PASSWORD.total_seconds()) // 60
            detail = (
                f"A first password is set within {minutes} minutes of signing in. Sign out, sign in with a new link"
            )
            detail += " (an administrator makes one), and set it then."
            raise ServiceError(ErrorKind.FORBIDDEN, detail)

    def _form(self, visitor: Visitor, *, fault: str | None = None) -> Response:
        record = self._desk.directory.account(visitor.account)
        return self._desk.answer(
            "password.html",
            visitor,
            200 if fault is None else 400,
            has_password=record is not None and record.password_hash is not None,
            least=MIN_PASSWORD,
            most=MAX_PASSWORD,
            fault=fault,
        )
