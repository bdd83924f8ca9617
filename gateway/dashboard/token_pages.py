"""A person's own API tokens: list, make, revoke. A token's text is on the page that answers its making, nowhere else.

The gateway owns tokens, so these pages write them directly (architecture section 11.1).
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from countermark.core.names import IndexName, InvalidName, parse_index_name, parse_project_name
from gateway.accounts import MAX_LABEL, MAX_TOKEN_LIFETIME, NewToken
from gateway.dashboard.desk import Desk, Visitor
from gateway.dashboard.session_tokens import own_tokens
from gateway.dashboard.setup import uploading_recipes
from gateway.dashboard.verbs import TOKEN_VERBS, VERBS
from shared.auth.directory import scope_from
from shared.auth.principal import Scope, Verb
from shared.catalogue.tables import Token, TokenUse
from shared.errors import ErrorKind, ServiceError
from shared.ids import TokenId

MAX_DAYS = MAX_TOKEN_LIFETIME.days

_OFFERED = {verb: VERBS[verb] for verb in TOKEN_VERBS}
_SHOWN = 200
_EXPIRED_SHOWN = timedelta(days=30)
_DEFAULT_DAYS = 90


@dataclass(frozen=True, slots=True)
class ShownToken:
    """A token in the list; `last_used_at` is None when it was never used."""

    id: uuid.UUID
    label: str
    scopes: tuple[Scope, ...]
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None
    expired: bool


class TokenPages:
    """The pages below `/tokens`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.routes: list[BaseRoute] = [
            Route("/tokens", self.tokens),
            Route("/tokens", self.create, methods=["POST"]),
            Route("/tokens/{token:uuid}/revoke", self.ask),
            Route("/tokens/{token:uuid}/revoke", self.revoke, methods=["POST"]),
        ]

    async def tokens(self, request: Request) -> Response:
        """Show the visitor's tokens and the form for another."""
        visitor = await self._desk.visitor(request)
        return await self._page(visitor, {"verb_read": "on", "verb_upload": "on", "days": str(_DEFAULT_DAYS)})

    async def create(self, request: Request) -> Response:
        """Make a token and show its text this once; with a fault, show the form again and what is wrong."""
        visitor, fields = await self._desk.posted(request)
        try:
            new = _new_token(visitor.account, fields)
            self._readable(visitor, new.scopes)
            minted = await self._desk.accounts(visitor).create_token(new)
        except ServiceError as error:
            if error.kind not in {ErrorKind.INVALID, ErrorKind.NOT_FOUND}:
                raise
            return await self._page(visitor, fields, fault=error.detail, status=400)
        await self._desk.directory.refresh()
        index = new.scopes[0].index or self._desk.directory.default_index
        uploads = index is not None and Verb.UPLOAD in new.scopes[0].verbs
        return self._desk.answer(
            "token_made.html",
            visitor,
            label=new.label,
            minted=minted,
            recipes=uploading_recipes(f"{self._desk.addresses.api}/{index}") if uploads else [],
        )

    async def ask(self, request: Request) -> Response:
        """Ask whether a token shall be revoked."""
        visitor = await self._desk.visitor(request)
        found = [token for token in await self._of(visitor) if token.id == request.path_params["token"]]
        if not found:
            raise ServiceError(ErrorKind.NOT_FOUND, "There is no such token of yours, or it is revoked already.")
        return self._desk.answer("token_revoke.html", visitor, token=found[0])

    async def revoke(self, request: Request) -> Response:
        """Revoke a token of the visitor's."""
        visitor, _ = await self._desk.posted(request)
        token_id = TokenId(request.path_params["token"])
        await self._desk.accounts(visitor).revoke_token(token_id, account=visitor.account)
        await self._desk.directory.refresh()
        return RedirectResponse("/tokens", 303)

    async def _page(
        self, visitor: Visitor, fields: dict[str, str], *, fault: str | None = None, status: int = 200
    ) -> Response:
        return self._desk.answer(
            "tokens.html",
            visitor,
            status,
            tokens=await self._of(visitor),
            indexes=[str(record.name) for record in self._desk.readable(visitor)],
            verbs=[(verb.value, words) for verb, words in _OFFERED.items()],
            fields=fields,
            fault=fault,
            max_days=MAX_DAYS,
            max_label=MAX_LABEL,
        )

    def _readable(self, visitor: Visitor, scopes: Sequence[Scope]) -> None:
        """Refuse indexes that the visitor may not read as if they were not there: their names may be a secret."""
        for scope in scopes:
            record = None if scope.index is None else self._desk.directory.index(scope.index)
            if scope.index is not None and (record is None or not visitor.may(Verb.READ, record)):
                raise ServiceError(ErrorKind.NOT_FOUND, f"There is no index {scope.index}.")

    async def _of(self, visitor: Visitor) -> Sequence[ShownToken]:
        now = self._desk.backing.clock.now()
        columns = (Token.id, Token.label, Token.scopes, Token.created_at, Token.expires_at, TokenUse.last_used_at)
        # The pages' own tokens would only puzzle: five minutes old at the most, and gone with the session.
        query = (
            select(*columns)
            .outerjoin(TokenUse, TokenUse.token_id == Token.id)
            .where(Token.account == visitor.account, Token.revoked_at.is_(None), ~own_tokens())
            .where(Token.expires_at > now - _EXPIRED_SHOWN)
            .order_by(Token.created_at.desc())
            .limit(_SHOWN)
        )
        async with self._desk.backing.engine.connect() as connection:
            rows = (await connection.execute(query)).all()
        return [
            ShownToken(
                id=row.id,
                label=row.label,
                scopes=tuple(map(scope_from, row.scopes)),
                created_at=row.created_at,
                expires_at=row.expires_at,
                last_used_at=row.last_used_at,
                expired=row.expires_at <= now,
            )
            for row in rows
        ]


def _new_token(account: str, fields: dict[str, str]) -> NewToken:
    verbs = frozenset(verb for verb in _OFFERED if f"verb_{verb.value}" in fields)
    if not verbs:
        raise ServiceError(ErrorKind.INVALID, "Choose at least one thing that the token may do.")
    label = fields.get("label", "").strip()
    if not label:
        raise ServiceError(ErrorKind.INVALID, "Give the token a name by which you will know it again.")
    try:
        days = int(fields.get("days", ""))
    except ValueError:
        days = 0
    if not 1 <= days <= MAX_DAYS:
        raise ServiceError(ErrorKind.INVALID, f"A token lasts between 1 and {MAX_DAYS} days.")
    written_index, written_project = fields.get("index", ""), fields.get("project", "").strip()
    try:
        index: IndexName | None = parse_index_name(written_index) if written_index else None
        project = parse_project_name(written_project) if written_project else None
    except InvalidName as error:
        raise ServiceError(ErrorKind.INVALID, f"The index or project cannot be right: {error}.") from error
    return NewToken(account, (Scope(index, project, verbs),), timedelta(days=days), label)
