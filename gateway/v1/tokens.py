"""Routes of the caller's account and of tokens.

Source: contract python-index section 3.6; architecture section 11.9.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from countermark.core.names import InvalidName, parse_project_name
from gateway.accounts import NewToken
from gateway.v1 import schemas
from gateway.v1.callers import Callers, holds, name_of
from gateway.writer import check_account, index_name_from
from shared.auth.access import decided, is_administrator
from shared.auth.permissions import Decision, authorize, unlimited
from shared.auth.principal import Principal, Scope, Verb
from shared.catalogue import listings
from shared.catalogue.listings import TokenLine
from shared.errors import ErrorKind, ServiceError
from shared.ids import TokenId
from shared.paging import DEFAULT_LIMIT, After, Limit, Page, cursor_text, decode_cursor, page_of

_LIFETIME = timedelta(days=90)
"""How long a token lives unless it is said."""

_EVERYBODY = "*"


class TokenRoutes:
    """`/api/v1/account` and `/api/v1/tokens`."""

    def __init__(self, callers: Callers) -> None:
        self._callers = callers
        self._engine = callers.resources.engine
        self._clock = callers.resources.clock
        self.router = router = APIRouter(tags=["tokens"])
        router.get("/account")(self.me)
        router.get("/tokens")(self.tokens)
        router.post("/tokens", status_code=201)(self.create)
        router.delete("/tokens/{token_id}", status_code=204)(self.revoke)

    async def me(self, request: Request) -> schemas.Me:
        """Tell who asks, and with which token."""
        principal = await self._callers.known(request)
        line = None if principal.token_id is None else await self._line(principal.token_id)
        return schemas.Me(
            name=name_of(principal),
            administrator=is_administrator(self._callers.directory, principal),
            token=None if line is None else self._shown(line),
        )

    async def tokens(
        self,
        request: Request,
        account: str | None = Query(None, max_length=200, description="whose, for administrators; * for everybody's"),
        limit: Limit = DEFAULT_LIMIT,
        after: After = None,
    ) -> Page[schemas.Token]:
        """List the newest tokens of the caller's account, the expired and revoked ones as well."""
        principal = await self._callers.known(request)
        whose = account or name_of(principal)
        if whose != principal.account:
            await self._callers.administrator(request)
            check_account(whose)
        before = None if after is None else _uuid(cursor_text(decode_cursor(after), "id"))
        async with self._engine.connect() as connection:
            lines = await listings.tokens(
                connection, None if whose == _EVERYBODY else whose, before=before, limit=limit + 1
            )
        return page_of(lines, limit, self._shown, lambda line: {"id": str(line.id)})

    async def create(self, payload: schemas.TokenPayload, request: Request, response: Response) -> schemas.MintedToken:
        """Make a token; its text is in this answer and nowhere else. A token makes none that may more, or longer."""
        principal = await self._callers.known(request)
        account = payload.account or name_of(principal)
        if account != principal.account:
            await self._callers.administrator(request)
            if not unlimited(principal):
                raise _limited("make tokens of other accounts")
        scopes = tuple(map(_scope, payload.scopes))
        if not holds(principal, scopes):
            raise ServiceError(ErrorKind.FORBIDDEN, "A token cannot make one that may do more than itself.")
        await decided(self._callers.directory, lambda: self._readable(Principal(account), scopes))
        lifetime = await self._lifetime(principal, payload.days)
        new = NewToken(account, scopes, lifetime, payload.label)
        minted = await self._callers.accounts(principal).create_token(new)
        await self._callers.directory.refresh()
        response.headers["cache-control"] = "no-store"
        return schemas.MintedToken(id=minted.id, account=account, token=minted.secret, expires_at=minted.expires_at)

    async def revoke(self, token_id: UUID, request: Request) -> None:
        """Make a token useless; twice is no error. A token revokes itself and what it could have made."""
        principal = await self._callers.known(request)
        line = await self._line(token_id)
        administrator = is_administrator(self._callers.directory, principal)
        if line is None or (line.account != principal.account and not administrator):
            raise ServiceError(ErrorKind.NOT_FOUND, "There is no such token.")
        if token_id != principal.token_id and not administrator and not holds(principal, line.scopes):
            raise ServiceError(ErrorKind.FORBIDDEN, "A token cannot revoke one that may do more than itself.")
        await self._callers.accounts(principal).revoke_token(TokenId(token_id))
        await self._callers.directory.refresh()

    async def _line(self, token_id: UUID) -> TokenLine | None:
        async with self._engine.connect() as connection:
            return await listings.token(connection, token_id)

    async def _readable(self, owner: Principal, scopes: tuple[Scope, ...]) -> None:
        """Refuse indexes that the owner may not read as if they were not there: their names may be a secret."""
        for scope in scopes:
            if scope.index is None:
                continue
            record = self._callers.directory.index(scope.index)
            if record is None or authorize(owner, Verb.READ, record.resource()) is not Decision.ALLOWED:
                raise ServiceError(ErrorKind.NOT_FOUND, f"There is no index {scope.index}.")

    async def _lifetime(self, principal: Principal, days: int | None) -> timedelta:
        line = None if principal.token_id is None else await self._line(principal.token_id)
        most = None if line is None else line.expires_at - self._clock.now()
        if days is None:
            return _LIFETIME if most is None else min(_LIFETIME, most)
        if most is not None and timedelta(days=days) > most:
            raise ServiceError(ErrorKind.FORBIDDEN, "A token cannot make one that lives longer than itself.")
        return timedelta(days=days)

    def _shown(self, line: TokenLine) -> schemas.Token:
        return shown_token(line, self._clock.now())


def shown_token(line: TokenLine, now: datetime) -> schemas.Token:
    """Return a token as the API shows it."""
    scopes = [
        schemas.Scope(
            index=None if scope.index is None else str(scope.index), project=scope.project, verbs=sorted(scope.verbs)
        )
        for scope in line.scopes
    ]
    return schemas.Token(
        id=line.id,
        account=line.account,
        label=line.label,
        scopes=scopes,
        state="revoked" if line.revoked_at is not None else "expired" if line.expires_at <= now else "active",
        created_at=line.created_at,
        expires_at=line.expires_at,
        revoked_at=line.revoked_at,
        last_used_at=line.last_used_at,
    )


def _scope(payload: schemas.ScopePayload) -> Scope:
    try:
        project = None if payload.project is None else parse_project_name(payload.project)
    except InvalidName as error:
        raise ServiceError(ErrorKind.INVALID, f"{error}.") from error
    index = None if payload.index is None else index_name_from(payload.index)
    return Scope(index, project, frozenset(payload.verbs))


def _limited(what: str) -> ServiceError:
    detail = f"A token cannot {what}, unless it may do everything everywhere: use the account's password."
    return ServiceError(ErrorKind.FORBIDDEN, detail)


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        raise ServiceError(ErrorKind.MALFORMED, "The cursor in `after` is none of this server.") from error
