"""An index with an attested wheel and its static tree, and what the tests of both have in common."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from shared.jobs.messages import LayPages
from shared.objects.interface import Key, ObjectStores
from tests.integration.reading.constants import WHEEL
from tests.integration.reading.family import Family
from tests.support.factories import MadeFile
from tests.support.kept_bundles import Keeper
from tests.support.published import Published
from tests.support.reading import Reading
from tests.support.sigstore.instance import SLSA, Instance, statement

CONTENT = b"wheel of 1.0"
OBJECT = f"indexes/root/stable/attestations/thing/{WHEEL}.provenance.json"
LIST = f"indexes/root/stable/attestations/thing/{WHEEL}.bundles.json"
SOURCE = "thing-1.0.tar.gz"
READ = "attestation.facts"
"""Part of the statement that asks what is attested of the file under a name, and of no other that laying sends."""


@dataclass(slots=True)
class Tree:
    """The index `root/stable` with an attested wheel, and its static tree."""

    family: Family
    reading: Reading
    stores: ObjectStores
    stable: Published
    file: MadeFile
    keeper: Keeper
    instance: Instance

    async def keep(self, file: MadeFile, content: bytes, *, kind: str = SLSA, **facts: Any) -> str:
        """Keep one more bundle of a file; returns its digest. Nothing is published."""
        bundle = self.instance.sign(statement(file.file_name, content, kind))
        return await self.keeper.keep(file, bundle, predicate_type=kind, **facts)

    async def lay(self) -> None:
        """Do the job as the worker does."""
        await self.reading.index.handlers[LayPages](LayPages(self.stable.index.id))

    async def at(self, path: str) -> bytes | None:
        """Return what lies in the public tree, None for nothing."""
        if await self.stores.public.head(Key(path)) is None:
            return None
        async with self.stores.public.open(Key(path)) as opened:
            return b"".join([chunk async for chunk in opened.chunks])

    async def attested(self) -> int:
        """Return how many attestations the wheel's laid object holds."""
        body = await self.at(OBJECT)
        assert body is not None
        return sum(len(bundle["attestations"]) for bundle in json.loads(body)["attestation_bundles"])
