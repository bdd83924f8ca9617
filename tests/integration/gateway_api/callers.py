"""Who calls the gateway's API in these tests, with which rights."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx2
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from countermark.core.names import IndexName
from gateway.accounts import NewToken
from shared.auth.principal import Scope, Verb
from tests.support.gateway import TestGateway

STABLE = IndexName("root", "stable")
SHUT = IndexName("alice", "shut")
PASSWORD = "correct horse battery"
EVERYTHING = Scope(None, None, frozenset(Verb))


class Client:
    """Somebody who calls the API."""

    def __init__(self, gateway: TestGateway, user: str | None = None, secret: str = PASSWORD) -> None:
        auth = None if user is None else httpx2.BasicAuth(user, secret)
        transport = httpx2.ASGITransport(app=gateway.apps.api, client=("192.0.2.1", 1))
        self._http = httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:3141", auth=auth)

    async def __call__(self, method: str, path: str, **how: Any) -> httpx2.Response:
        """Ask; a path without a leading slash is below `/api/v1`."""
        return await self._http.request(method, path if path.startswith("/") else f"/api/v1/{path}", **how)


def pem_of(key: Any) -> str:
    """Return the public half of a key as settings have it."""
    return str(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode())


async def token_of(gateway: TestGateway, account: str, *scopes: Scope, days: float = 30) -> tuple[UUID, Client]:
    """Make a token of an account; return its id and a client that uses it."""
    minted = await gateway.accounts.create_token(NewToken(account, scopes, timedelta(days=days), "for a test"))
    await gateway.resources.directory.refresh()
    return minted.id, Client(gateway, "__token__", minted.secret)


async def audited(gateway: TestGateway) -> list[tuple[str, str, str]]:
    """Return what is in the audit log: actor, action, subject."""
    entries = (await Client(gateway, "root")("GET", "audit?limit=200")).json()["items"]
    return [(entry["actor"], entry["action"], entry["subject"]) for entry in entries]
