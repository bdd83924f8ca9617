"""Short-lived tokens by which the pages ask the API in the name of who is signed in; in memory only.

Reading has one token per session. A change has one of its own, for one verb on one project, so that a page that only
shows things never holds a right to change them (architecture section 11.9).
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

from packaging.utils import NormalizedName
from sqlalchemy import ColumnElement
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.names import IndexName
from gateway.accounts import Accounts, MintedToken, NewToken
from gateway.sessions import Session
from shared.auth.directory import Directory
from shared.auth.principal import Scope, Verb
from shared.catalogue.listings import TokenLine
from shared.catalogue.tables import Token
from shared.clock import Clock

LABEL = "dashboard"
"""What these tokens are called in the catalogue and the audit log."""

LIFETIME = timedelta(minutes=5)

_LEFT = timedelta(minutes=1)
"""A token with less than this left is replaced before it is used."""

_READING = Scope(None, None, frozenset({Verb.READ}))


def own_tokens() -> ColumnElement[bool]:
    """Return the condition that a row of the token table is one of these: people cannot make any that live so short."""
    return (Token.label == LABEL) & (Token.expires_at <= Token.created_at + LIFETIME)


class SessionTokens:
    """Makes and keeps such tokens."""

    def __init__(self, engine: AsyncEngine, clock: Clock, directory: Directory) -> None:
        self._engine = engine
        self._clock = clock
        self._directory = directory
        self._tokens: dict[tuple[str, Scope], MintedToken] = {}
        self._minting = asyncio.Lock()

    @staticmethod
    def is_own(token: TokenLine) -> bool:
        """Return whether a token is one of these; as `own_tokens`."""
        return token.label == LABEL and token.expires_at <= token.created_at + LIFETIME

    async def reading(self, session: Session) -> str:
        """Return a token that reads what the session's account may read."""
        return await self._of(session, _READING)

    async def acting(self, session: Session, verb: Verb, index: IndexName, project: str | None = None) -> str:
        """Return a token for one verb on one index, or on one project in it."""
        normal = None if project is None else NormalizedName(project)
        return await self._of(session, Scope(index, normal, frozenset({verb})))

    async def drop(self, session: Session) -> None:
        """Revoke the session's tokens."""
        for key in [key for key in self._tokens if key[0] == session.key]:
            kept = self._tokens.pop(key, None)
            if kept is not None:
                await self._accounts(session).revoke_token(kept.id, account=session.account)

    async def _of(self, session: Session, scope: Scope) -> str:
        async with self._minting:
            now = self._clock.now()
            kept = self._tokens.get((session.key, scope))
            if kept is None or kept.expires_at - now < _LEFT:
                self._tokens = {key: token for key, token in self._tokens.items() if token.expires_at > now}
                kept = await self._accounts(session).create_token(
                    NewToken(account=session.account, scopes=(scope,), lifetime=LIFETIME, label=LABEL)
                )
                self._tokens[session.key, scope] = kept
                await self._directory.refresh()
            return kept.secret

    def _accounts(self, session: Session) -> Accounts:
        return Accounts(self._engine, self._clock, actor=session.account)
