"""A gateway at which jobs exchange identity tokens, and what jobs and owners do with it."""

from __future__ import annotations

from typing import Any

import httpx2

from countermark.core.names import IndexName
from shared.auth.permissions import Decision, authorize
from shared.auth.principal import Principal, Verb
from shared.auth.verifier import Verifier
from tests.support.ci_claims import github_job
from tests.support.ci_issuer import CiIssuer
from tests.support.gateway import TestGateway

STABLE = IndexName("root", "stable")
SHUT = IndexName("alice", "shut")
PASSWORD = "correct horse battery"


class Site:
    """A gateway, and what a job and an owner do with it."""

    def __init__(self, gateway: TestGateway, issuer: CiIssuer) -> None:
        self.gateway = gateway
        self.issuer = issuer
        self.verifier = Verifier(gateway.resources.directory, gateway.clock)
        transport = httpx2.ASGITransport(app=gateway.apps.api, client=("192.0.2.1", 1))
        self.http = httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:3141")

    async def add(self, index: IndexName = STABLE, user: str = "root", **payload: Any) -> httpx2.Response:
        """Register a publisher of GitHub, unless the payload says otherwise."""
        standing = {"project": "thing", "kind": "github", "issuer": self.issuer.url}
        if payload.get("kind") != "generic":
            standing |= {"repository": "acme/thing", "workflow": "release.yml"}
        path = f"/api/v1/indexes/{index}/publishers"
        return await self.http.post(path, json=standing | payload, auth=(user, PASSWORD))

    async def added(self, index: IndexName = STABLE, user: str = "root", **payload: Any) -> dict[str, Any]:
        """Register a publisher, and return it."""
        answer = await self.add(index, user, **payload)
        assert answer.status_code == 201, answer.text
        document: dict[str, Any] = answer.json()
        return document

    async def mint(self, claims: Any = None, **how: Any) -> httpx2.Response:
        """Exchange a token of a job."""
        token = self.issuer.token(github_job() if claims is None else claims, **how)
        return await self.exchange(token)

    async def exchange(self, token: object) -> httpx2.Response:
        """Exchange a token."""
        return await self.http.post("/_/oidc/mint-token", json={"token": token})

    async def minted(self, claims: Any = None) -> Principal:
        """Exchange a token and return whom the upload token makes its bearer."""
        answer = await self.mint(claims)
        assert answer.status_code == 200, answer.text
        return await self.verifier.verify(f"Bearer {answer.json()['token']}")

    async def audit(self, action: str) -> list[dict[str, Any]]:
        """Return the rows of an action, oldest first."""
        answer = await self.http.get("/api/v1/audit?limit=200", auth=("root", PASSWORD))
        return [row for row in reversed(answer.json()["items"]) if row["action"] == action]

    def may(self, principal: Principal, index: IndexName, project: str | None = "thing") -> Decision:
        """Return whether somebody may upload."""
        record = self.gateway.resources.directory.index(index)
        assert record is not None
        return authorize(principal, Verb.UPLOAD, record.resource(project))  # type: ignore[arg-type]


def code_of(answer: httpx2.Response) -> tuple[str, str]:
    """Return code and description of a refusal, which has the shape that clients read."""
    assert answer.status_code == 422, answer.text
    document = answer.json()
    assert document["message"] == "Token request failed"
    (error,) = document["errors"]
    assert error.keys() == {"code", "description"}
    return error["code"], error["description"]
