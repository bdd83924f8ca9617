"""Keeps bundles of files as the upload service does, and publishes which one the pointer names as the signer does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.digest import Length, Sha256, sha256_of
from shared.catalogue import attestations
from shared.catalogue.attestations import BUNDLE, NewAttestation, object_name
from shared.catalogue.tables import PublishedFile
from shared.objects.interface import ObjectStores, Put
from shared.objects.keys import file_key
from tests.support.factories import MadeFile, MadeIndex, now

SLSA = "https://slsa.dev/provenance/v1"
OID = "1.3.6.1.4.1.57264.1."
GITHUB_CLAIMS = {
    f"{OID}12": "https://github.com/acme/thing",
    f"{OID}18": "https://github.com/acme/thing/.github/workflows/release.yml@refs/tags/v1",
}


def facts_of(body: bytes, predicate_type: str = SLSA, **other: Any) -> dict[str, Any]:
    """Return what verification would find of a bundle of a build on GitHub."""
    return {
        "bundle_sha256": sha256_of(body),
        "predicate_type": predicate_type,
        "predicate": None,
        "root": "trusted_root.json",
        "root_kind": "sigstore",
        "issuer": "https://token.actions.githubusercontent.com",
        "san": "https://github.com/acme/thing/.github/workflows/release.yml@refs/tags/v1",
        "san_type": "uri",
        "certificate": dict(GITHUB_CLAIMS),
        "key": None,
        "log": "v1",
        "log_index": 1,
        "log_origin": "rekor.test",
        "signed_at": 1_700_000_000,
        "subject_name": "",
    } | other


@dataclass(frozen=True, slots=True)
class Keeper:
    """Keeps bundles in an index."""

    engine: AsyncEngine
    stores: ObjectStores
    index: MadeIndex

    async def keep(
        self, file: MadeFile, bundle: Mapping[str, Any] | bytes, *, named: bool = False, **facts: Any
    ) -> Sha256:
        """Keep a bundle of a file; returns the digest of its bytes."""
        body = bundle if isinstance(bundle, bytes) else json.dumps(bundle).encode()
        predicate_type = str(facts.get("predicate_type", SLSA))
        publisher = facts.pop("publisher", None)
        new = NewAttestation(
            index_id=self.index.id,
            file_id=file.id,
            file_name=file.file_name,
            sha256=sha256_of(body),
            length=Length(len(body)),
            predicate_type=predicate_type,
            origin=BUNDLE,
            publisher=publisher,
            facts=facts_of(body, **facts),
            named=named,
            added_at=now(),
            added_by="root",
            token_id=None,
        )
        store = self.stores.side(public=self.index.public)
        await store.put(file_key(new.sha256, object_name(file.file_name)), body, Put.REPLACE)
        async with self.engine.begin() as connection:
            await attestations.insert(connection, "public" if self.index.public else "private", new)
            if named:
                published = update(PublishedFile).where(PublishedFile.file_id == file.id)
                await connection.execute(published.values(attestation_sha256=new.sha256))
        return new.sha256
