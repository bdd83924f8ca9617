"""People who approve, with their keys, and an API host in front of the services that take uploads and approvals."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx2
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.approval.keys import ApprovalKey, parse_key
from countermark.core.approval.message import KeyRegistration, Statement, approval_of
from gateway.upstream import Mounted
from services.signing.app import create_service as signing_service
from services.signing.publication.usecases import Publisher
from services.upload.app import create_service as upload_service
from shared.auth.principal import Scope, Verb
from shared.catalogue.tables import Grant, Outbox, PublishedFile
from shared.resources import Resources
from tests.support.api_host import api_host
from tests.support.archives import make_wheel
from tests.support.factories import EVERYTHING, MadeIndex, make_index, make_token
from tests.support.uploading import form_body

WHEEL = "widget-1.0-py3-none-any.whl"


class Signer:
    """An Ed25519 key in memory."""

    def __init__(self) -> None:
        self._private = Ed25519PrivateKey.generate()
        pem = self._private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        self.public: ApprovalKey = parse_key(pem.decode())

    def sign(self, statement: Statement) -> str:
        """Return a signature as it is sent."""
        return base64.b64encode(self._private.sign(statement.to_bytes())).decode()


@dataclass
class Desk:
    """The API host with an index, and tokens of people.

    `root` owns and configures the index, `uploader` uploads, `alice`, `bob` and `carol` may approve, `reader` reads,
    `stranger` has an account; `other` owns another index.
    """

    resources: Resources
    index: MadeIndex
    http: httpx2.AsyncClient
    tokens: Mapping[str, str]
    keys: dict[str, Signer]
    publisher: Publisher

    async def call(self, who: str | None, method: str, path: str, body: object = None) -> httpx2.Response:
        """Call the API below the index, or anywhere for a path that begins with a slash."""
        url = f"/api/v1{path}" if path.startswith("/") else f"/api/v1/indexes/{self.index.name}/{path}"
        headers = {} if who is None else {"authorization": f"Bearer {self.tokens[who]}"}
        return await self.http.request(method, url, json=body, headers=headers)

    async def upload(
        self, name: str = WHEEL, content: bytes | None = None, who: str = "uploader", index: str | None = None
    ) -> httpx2.Response:
        """Upload as twine does."""
        body, form = form_body(name, content or make_wheel("widget", name.split("-")[1]))
        headers = {"authorization": f"Bearer {self.tokens[who]}"}
        return await self.http.post(f"/{index or self.index.name}/", content=body, headers=headers | form)

    async def sign(self) -> None:
        """Let the signer do what waits."""
        await self.publisher.publish(self.index.id)
        await self.resources.heads.wake(str(self.index.id))

    async def demand(self, needed: int, people: Sequence[str] | None = None, **more: object) -> None:
        """Demand approvals of the whole index."""
        body = {"needed": needed, "people": people, **more}
        answer = await self.call("root", "PUT", "approval-demands", body)
        assert answer.status_code == 200, answer.text

    async def register(self, *people: str) -> None:
        """Register a key of each."""
        for name in people:
            signer = self.keys.setdefault(name, Signer())
            answer = await self.call(name, "POST", "/approval-keys", key_body(name, signer))
            assert answer.status_code == 201, answer.text

    async def waiting(self, state: str = "waiting") -> list[dict[str, Any]]:
        """Return what waits, as a reader sees it."""
        return list((await self.call(None, "GET", f"approvals?state={state}")).json()["items"])

    async def approve(self, who: str, file_id: str) -> httpx2.Response:
        """Approve as the client does: by the pointer that the server shows."""
        shown = (await self.call(who, "GET", f"approvals/{file_id}")).json()
        statement, _ = approval_of(shown["pointer"].encode(), shown["round"])
        signer = self.keys[who]
        body = {"keyid": signer.public.keyid, "signature": signer.sign(statement)}
        return await self.call(who, "POST", f"approvals/{file_id}", body)

    async def visible(self) -> int:
        """Count the files that are visible."""
        async with self.resources.engine.connect() as connection:
            query = select(func.count()).select_from(PublishedFile).where(PublishedFile.to_serial.is_(None))
            return await connection.scalar(query) or 0

    async def open_jobs(self) -> int:
        """Count the jobs that somebody would be woken for."""
        async with self.resources.engine.connect() as connection:
            query = select(func.count()).where(
                Outbox.done_at.is_(None), Outbox.dead_at.is_(None), Outbox.kind == "publish_index"
            )
            return await connection.scalar(query) or 0


def key_body(account: str, signer: Signer) -> dict[str, str]:
    """Return the document that registers a key."""
    proof = signer.sign(KeyRegistration(account, signer.public.keyid))
    return {"public_key": signer.public.text, "label": "test", "signature": proof}


async def grant(engine: AsyncEngine, index: MadeIndex, **verbs: Sequence[str]) -> None:
    """Grant verbs to accounts: verb -> accounts."""
    rows = [
        {"index_id": index.id, "subject": name, "verb": verb.replace("_", "-")}
        for verb, names in verbs.items()
        for name in names
    ]
    async with engine.begin() as connection:
        await connection.execute(insert(Grant), rows)


@asynccontextmanager
async def open_desk(resources: Resources) -> AsyncIterator[Desk]:
    """Wire upload and signing behind an API host, with an index that demands nothing yet."""
    engine = resources.engine
    index, other = await make_index(engine), await make_index(engine, "other/own")
    people = ("root", "uploader", "alice", "bob", "carol", "reader", "stranger", "other")
    month = timedelta(days=30)
    tokens = {name: await make_token(engine, name, EVERYTHING, lifetime=month) for name in people}
    narrow = Scope(index.name, None, frozenset({Verb.UPLOAD, Verb.READ, Verb.APPROVE}))
    tokens["alice-ci"] = await make_token(engine, "alice", [narrow])
    approvers = ("alice", "bob", "carol", "uploader")
    await grant(engine, index, upload=["uploader"], approve=approvers, configure=["root"])
    await grant(engine, other, configure=["other"], approve=["other"])
    await resources.directory.refresh()
    upstreams = {"upload": Mounted(upload_service(resources)), "signing": Mounted(signing_service(resources))}
    transport = httpx2.ASGITransport(api_host(upstreams))
    async with httpx2.AsyncClient(transport=transport, base_url="http://registry") as http:
        desk = Desk(resources, index, http, tokens, {}, Publisher(resources))
        await desk.sign()
        yield desk
