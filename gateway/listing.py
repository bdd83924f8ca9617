"""What the home page shows: the indexes someone may read, and the projects in each as the index service lists them.

The gateway asks the service like any client, with a short-lived token of the person who looks, never with a right of
its own (architecture section 11.9).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx2
import orjson
import structlog
from countermark.core.names import IndexName
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.types import Message, Scope

from gateway.accounts import Accounts, MintedToken, NewToken
from gateway.sessions import Session
from gateway.upstream import Upstream
from shared.auth.directory import Directory, IndexRecord
from shared.auth.permissions import Decision, authorize
from shared.auth.principal import Principal, Verb
from shared.auth.principal import Scope as TokenScope
from shared.clock import Clock
from shared.errors import ServiceError

PROJECT_LIST = "application/vnd.pypi.simple.v1+json"

MAX_LIST = 8 << 20
"""Bytes of a project list that are read: enough for 200,000 projects; a longer list is shown as not available."""

_LIST_TIMEOUT = 5.0
"""Seconds a list may take."""

_INDEXES_SHOWN = 50
_PROJECTS_SHOWN = 200
_LISTS_AT_ONCE = 2

_TOKEN_LIFETIME = timedelta(minutes=5)
_TOKEN_LEFT = timedelta(minutes=1)
"""A token with less than this left is replaced before it is used."""


@dataclass(frozen=True, slots=True)
class ShownIndex:
    """An index as the page shows it; `projects` is None when the list could not be had, else the first of `total`."""

    name: str
    url: str
    public: bool
    projects: Sequence[str] | None
    total: int


class ReaderTokens:
    """Short-lived tokens by which the UI asks services for who is signed in; one per session, in memory only."""

    def __init__(self, engine: AsyncEngine, clock: Clock, directory: Directory) -> None:
        self._engine = engine
        self._clock = clock
        self._directory = directory
        self._tokens: dict[str, MintedToken] = {}
        self._minting = asyncio.Lock()

    async def of(self, session: Session) -> str:
        """Return a token that reads what the session's account may read."""
        async with self._minting:
            now = self._clock.now()
            kept = self._tokens.get(session.key)
            if kept is None or kept.expires_at - now < _TOKEN_LEFT:
                self._tokens = {key: token for key, token in self._tokens.items() if token.expires_at > now}
                kept = await self._accounts(session).create_token(
                    NewToken(
                        account=session.account,
                        scopes=(TokenScope(None, None, frozenset({Verb.READ})),),
                        lifetime=_TOKEN_LIFETIME,
                        label="dashboard",
                    )
                )
                self._tokens[session.key] = kept
                await self._directory.refresh()
            return kept.secret

    async def drop(self, session: Session) -> None:
        """Revoke the session's token, if it has one."""
        kept = self._tokens.pop(session.key, None)
        if kept is not None:
            await self._accounts(session).revoke_token(kept.id, account=session.account)

    def _accounts(self, session: Session) -> Accounts:
        return Accounts(self._engine, self._clock, actor=session.account)


class Listing:
    """Reads what the home page shows."""

    def __init__(
        self, directory: Directory, tokens: ReaderTokens, index_service: Upstream | None, api_url: str
    ) -> None:
        self._directory = directory
        self._tokens = tokens
        self._index_service = index_service
        self._api_url = api_url

    async def shown(self, session: Session) -> tuple[list[ShownIndex], int]:
        """Return the indexes the session's account may read, and how many more there are."""
        principal = Principal(account=session.account)
        readable = [
            record
            for record in self._directory.indexes()
            if authorize(principal, Verb.READ, record.resource()) is Decision.ALLOWED
        ]
        if not readable:
            return [], 0
        token = await self._tokens.of(session)
        turns = asyncio.Semaphore(_LISTS_AT_ONCE)

        async def one(record: IndexRecord) -> ShownIndex:
            async with turns:
                return await self._shown(record, token)

        shown = await asyncio.gather(*(one(record) for record in readable[:_INDEXES_SHOWN]))
        return list(shown), len(readable) - len(shown)

    async def _shown(self, record: IndexRecord, token: str) -> ShownIndex:
        projects = None
        try:
            async with asyncio.timeout(_LIST_TIMEOUT):
                projects = await self._projects(record.name, token)
        except (TimeoutError, ServiceError, ValueError, TypeError, httpx2.TransportError) as error:
            structlog.get_logger().warning("project_list_missing", index=str(record.name), error=repr(error)[:300])
        url = f"{self._api_url}/{record.name}"
        first = None if projects is None else projects[:_PROJECTS_SHOWN]
        return ShownIndex(str(record.name), url, record.public, first, len(projects or ()))

    async def _projects(self, name: IndexName, token: str) -> list[str]:
        if self._index_service is None:
            raise ValueError("no index service")
        headers = [
            (b"host", b"gateway"),
            (b"accept", PROJECT_LIST.encode()),
            (b"authorization", f"Bearer {token}".encode()),
        ]
        status, body = await fetch(self._index_service, f"/{name}/+simple/", headers, limit=MAX_LIST)
        if status == 404:
            return []
        if status != 200:
            raise ValueError(f"the index service answered {status}")
        # Parsing a long list takes longer than the event loop may be held.
        return await asyncio.to_thread(_names, body)


async def fetch(
    upstream: Upstream, path: str, headers: Sequence[tuple[bytes, bytes]], *, limit: int
) -> tuple[int, bytes]:
    """GET `path` from a service and return status and body.

    Raises:
        ValueError: the body is longer than `limit` bytes.
        ServiceError: the service cannot be reached.
    """
    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": list(headers),
        "client": None,
        "server": None,
    }
    status, body = 0, bytearray()
    asked = False

    async def receive() -> Message:
        nonlocal asked
        if asked:
            # The caller stays until it has its answer; waiting here ends with it.
            await asyncio.Event().wait()
        asked = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        nonlocal status, body
        if message["type"] == "http.response.start":
            status = message["status"]
        else:
            body += message.get("body", b"")
            if len(body) > limit:
                raise ValueError(f"an answer of more than {limit} bytes")

    await upstream(scope, receive, send)
    return status, bytes(body)


def _names(body: bytes) -> list[str]:
    document: Any = orjson.loads(body)
    projects = document.get("projects") if isinstance(document, dict) else None
    if not isinstance(projects, list):
        raise TypeError("no list of projects")
    names = [project.get("name") for project in projects if isinstance(project, dict)]
    return sorted(name for name in names if isinstance(name, str))
