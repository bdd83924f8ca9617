"""A site whose pointers name attestations, with a forge and a policy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import select

from countermark.core.attestations.bundle import read_bundle
from countermark.core.pointer import Pointer, parse_pointer
from services.signing.ceremonies.own_trust import set_trust_targets
from services.signing.publication.usecases import Publisher
from services.signing.upkeep.checking import check
from shared.catalogue import releases
from shared.catalogue.tables import PublishedFile
from shared.resources import Resources
from tests.integration.signing.changes import upload
from tests.support.attesting import attest
from tests.support.builds import Forge, body, policy
from tests.support.factories import MadeFile, MadeIndex
from tests.support.sigstore.tokens import github
from tests.support.tuf_reader import TreeReader

WHEEL, BYTES = "widget-1.0-py3-none-any.whl", b"bytes"


@dataclass
class Site:
    """An index of a deployment whose trust role signs a test forge's root, and a policy or none."""

    resources: Resources
    index: MadeIndex
    forge: Forge
    folder: Path
    publisher: Publisher
    read: int = 0

    async def policy(self, content: bytes | None) -> None:
        """Let trust sign a policy in place of what it signed."""
        if content is None:
            await set_trust_targets(self.resources, {}, ("trust/policy.yaml",), "no policy")
        else:
            await set_trust_targets(self.resources, {"trust/policy.yaml": content}, (), "a policy")

    async def upload(self, name: str = WHEEL, content: bytes = BYTES) -> MadeFile:
        """Do what an upload does, and nothing is published yet."""
        return await upload(self.resources, self.index, name, content)

    async def attest(self, file: MadeFile, bundle: bytes, *, named: bool = True) -> str:
        """Keep a bundle about a file, and ask for a publication."""
        return await attest(self.resources, self.index, file, bundle, self.forge.material(OPEN), named=named)

    def bundle(self, file: MadeFile, **run: str) -> bytes:
        """Return build provenance of a file, of another run each time."""
        return body(self.forge.built(file.file_name, file.content, github(**run)))

    async def publish(self) -> None:
        """Sign what waits."""
        await self.publisher.publish(self.index.id)

    def target(self, path: str) -> bytes | None:
        """Return a target as a new client gets it."""
        self.read += 1
        tree = self.folder / "public/indexes/root/stable"
        return TreeReader(tree, self.folder / f"cache{self.read}").target(f"pointers/widget/{path}")

    def pointer(self, file: MadeFile) -> Pointer | None:
        """Return the signed pointer of a file."""
        content = self.target(f"{file.file_name}.pointer")
        return None if content is None else parse_pointer(content)

    def summary(self) -> dict[str, Any]:
        """Return the statement of the wheel's signed summary."""
        said: dict[str, Any] = orjson.loads(read_bundle(self.target(f"{WHEEL}.vsa.json") or b"").payload)
        return said

    def listed(self) -> dict[str, str | None]:
        """Return the files of the signed page, name -> address of the provenance object."""
        page = orjson.loads(self.target("_simple.json") or b'{"files": []}')
        return {file["filename"]: file.get("provenance") for file in page["files"]}

    async def state(self, file: MadeFile) -> tuple[str, str]:
        """Return how far a file's upload is, and what went wrong."""
        async with self.resources.engine.connect() as connection:
            found = await releases.progress(connection, file.id)
        assert found is not None
        return found.state(self.resources.clock.now()), found.error or ""

    async def named(self, file: MadeFile) -> str | None:
        """Return which attestation the published pointer names, as the catalogue has it."""
        query = select(PublishedFile.attestation_sha256).where(PublishedFile.file_id == file.id)
        async with self.resources.engine.connect() as connection:
            return await connection.scalar(query.where(PublishedFile.to_serial.is_(None)))

    async def agree(self) -> bool:
        """Return whether what is signed is what the catalogue says."""
        found = await check(self.resources, self.index.id)
        assert found is not None
        return not found.faults


OPEN = policy("nothing-else")
"""A policy that names the forge's root and demands nothing of widget."""
