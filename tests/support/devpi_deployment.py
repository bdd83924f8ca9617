"""A whole deployment in one process, as the devpi client meets it: the gateway before real services."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from countermark.core.names import IndexName
from services.signing.publication.usecases import Publisher
from shared.auth.directory import IndexRecord
from shared.ids import IndexId
from tests.support.devpi_api import DevpiUser
from tests.support.gateway import TestGateway
from tests.support.uploading import basic, form_body

WHEEL = "widget-1.0-py3-none-any.whl"
DEV = IndexName("alice", "dev")


@dataclass
class Deployment:
    """Everything in one process, but for the loops: tests publish when they want."""

    gateway: TestGateway
    publisher: Publisher
    alice: DevpiUser
    token: str
    tree: Path
    ids: dict[IndexName, IndexId] = field(default_factory=dict)

    def record(self, name: IndexName = DEV) -> IndexRecord:
        """Return a living index."""
        record = self.gateway.resources.directory.index(name)
        assert record is not None
        self.ids[name] = record.id
        return record

    async def upload(self, file_name: str, content: bytes) -> httpx2.Response:
        """Upload a file to alice/dev."""
        body, form = form_body(file_name, content)
        return await DevpiUser(self.gateway).http.post("/alice/dev/", content=body, headers=basic(self.token) | form)

    async def publish(self, name: IndexName = DEV) -> None:
        """Sign what waits, and let everybody know."""
        await self.publisher.publish(self.ids[name])
        await self.gateway.resources.heads.wake("")

    async def serial(self) -> int:
        """Return the serial that is served of alice/dev."""
        head = self.gateway.resources.heads.get(self.ids[DEV])
        return 0 if head is None else head.serial

    async def page(self, path: str) -> Any:
        """Ask for a page's JSON."""
        accept = {"accept": "application/vnd.pypi.simple.v1+json"}
        return await self.alice.http.get(path, headers=accept)
