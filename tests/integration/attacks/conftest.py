"""A signer on a real catalogue and a real folder, and a client that reads the folder."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.signing.ceremonies.trust_root import ensure_trust
from services.signing.publication.usecases import Publisher
from shared.jobs.messages import PublishIndex
from shared.resources import Resources
from tests.integration.signing.changes import enqueue, upload
from tests.support.factories import MadeFile, MadeIndex, make_index
from tests.support.resources import service_resources
from tests.support.tampering.forger import Forger, stolen_keys
from tests.support.tampering.victim import Victim

OLD, NEW = "widget-1.0-py3-none-any.whl", "widget-2.0-py3-none-any.whl"


@dataclass(frozen=True, slots=True)
class Ledger:
    """An index with one published file, whose catalogue can be written by the attacker."""

    resources: Resources
    index: MadeIndex
    client: Victim
    tree: Path
    keys: Path

    async def tamper(self, statement: str, **values: object) -> None:
        """Write to the catalogue as who holds its password does."""
        async with self.resources.engine.begin() as connection:
            done = await connection.execute(text(statement), values)
            assert done.rowcount == 1

    async def upload(self, name: str, content: bytes) -> MadeFile:
        """Upload a file; it waits for the signer."""
        return await upload(self.resources, self.index, name, content)

    async def publish(self) -> None:
        """Run a signer that starts anew, so that it knows nothing but what the catalogue says."""
        await Publisher(self.resources).publish(self.index.id)

    def demand(self, targets: Mapping[str, bytes]) -> None:
        """Have the holders of the trust role's keys sign targets, into the tree that clients read."""

        def read(name: str) -> bytes | None:
            file = self.tree / name
            return file.read_bytes() if file.is_file() else None

        forger = Forger(read, stolen_keys(self.keys))
        for path, data in targets.items():
            forger.put_trusted(path, data)
        for name, data in forger.files.items():
            (self.tree / name).parent.mkdir(parents=True, exist_ok=True)
            (self.tree / name).write_bytes(data)


@pytest.fixture
async def ledger(engine: AsyncEngine, tmp_path: Path) -> AsyncIterator[Ledger]:
    """The index `root/stable` with widget 1.0 published; the client has pinned its root."""
    async with service_resources(engine, tmp_path / "data") as resources:
        await ensure_trust(resources)
        index = await make_index(resources.engine)
        await enqueue(resources, PublishIndex(index.id))
        tree = tmp_path / "data" / "public" / "indexes" / "root" / "stable"
        made = Ledger(resources, index, Victim(tmp_path / "home", str(tree)), tree, tmp_path / "data" / "keys")
        await made.upload(OLD, b"genuine")
        await made.publish()
        made.client.pin((tree / "metadata" / "1.root.json").read_bytes())
        yield made
