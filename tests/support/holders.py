"""People who hold the keys of a deployment, and the API of ceremonies as they use it."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import httpx2
from securesystemslib.signer import CryptoSigner

from countermark.core.ceremony.documents import parse_event
from countermark.core.ceremony.keys import key_document
from services.signing.ceremonies.bootstrapping import HeldKey
from shared.resources import Resources
from shared.settings import Signing
from shared.trust.roles import Role

API = "/api/v1/trust"


def in_profile(resources: Resources, profile: str, **more: object) -> Resources:
    """Return the same resources under another signing profile, and with other settings of signing."""
    signing = Signing.model_validate(resources.settings.signing.model_dump() | {"profile": profile} | more)
    return replace(resources, settings=resources.settings.model_copy(update={"signing": signing}))


@dataclass
class Holders:
    """Named people with a key of their own for each role they hold: role -> name -> key."""

    keys: dict[str, dict[str, CryptoSigner]] = field(default_factory=dict)

    @classmethod
    def of(cls, *roles: str, names: Sequence[str] = ("alice", "bob", "carol")) -> Holders:
        """Make keys for each role and name."""
        return cls({role: {name: CryptoSigner.generate_ed25519() for name in names} for role in roles})

    def held(self) -> list[HeldKey]:
        """Return what a bootstrap is told of them."""
        return [
            HeldKey(Role(role), key.public_key, name) for role, keys in self.keys.items() for name, key in keys.items()
        ]


def adding(role: str, key: CryptoSigner) -> dict[str, Any]:
    """Return the entry of a change that adds a key."""
    return {"role": role, "key": key_document(key.public_key)}


def signed(document: Mapping[str, Any], *keys: CryptoSigner) -> dict[str, Any]:
    """Sign an event's payload and return what is handed in."""
    payload = base64.b64decode(document["payload"])
    made = [key.sign(payload) for key in keys]
    signatures = [{"keyid": one.keyid, "sig": one.signature} for one in made]
    return {"payload_sha256": document["payload_sha256"], "signatures": signatures}


@dataclass
class CeremonyApi:
    """The API as one account uses it."""

    http: httpx2.AsyncClient
    headers: Mapping[str, str]

    async def ask(self, method: str, path: str, body: Any = None, *, status: int = 200) -> dict[str, Any]:
        """Return an answer, which must have this status."""
        answer = await self.http.request(method, f"{API}{path}", json=body, headers=dict(self.headers))
        assert answer.status_code == status, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def open(self) -> dict[str, dict[str, Any]]:
        """Return the open events with their files, role -> document."""
        listed = await self.ask("GET", "/events?state=open")
        assert all("payload" not in item for item in listed["items"])
        found = [await self.ask("GET", f"/events/{item['id']}") for item in listed["items"]]
        for document in found:
            assert parse_event(document).id == document["id"], "as the client reads it"
        return {document["role"]: document for document in found}

    async def propose(self, role: str, change: Mapping[str, Any] | None = None, *, status: int = 201) -> dict[str, Any]:
        """Propose a change."""
        body = {"role": role, "change": change or {}, "reason": "a test"}
        return await self.ask("POST", "/events", body, status=status)

    async def submit(self, document: Mapping[str, Any], *keys: CryptoSigner, status: int = 201) -> dict[str, Any]:
        """Sign an event and hand that in."""
        return await self.ask("POST", f"/events/{document['id']}/signatures", signed(document, *keys), status=status)

    async def finalise(self, document: Mapping[str, Any], *, status: int = 200) -> dict[str, Any]:
        """Finalise an event."""
        return await self.ask("POST", f"/events/{document['id']}/finalise", status=status)
