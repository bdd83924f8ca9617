"""Targets of the trust role in the catalogue, for tests of those who believe the catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import orjson
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.attestations.trust_material import TrustMaterial
from countermark.core.digest import sha256_of
from shared.catalogue.signing_events import keep_targets
from shared.catalogue.trust import StoredTrustFile, insert_trust_file
from shared.catalogue.trust_material import POLICY
from tests.support.factories import now


async def publish_trust(engine: AsyncEngine, version: int, targets: Mapping[str, bytes], *, keep: bool = True) -> None:
    """Let an unsigned version of trust be the newest.

    Args:
        keep: whether the bytes of its targets are kept with it.
    """
    named = {path: {"length": len(body), "hashes": {"sha256": sha256_of(body)}} for path, body in targets.items()}
    content = orjson.dumps({"signed": {"_type": "targets", "version": version, "targets": named}, "signatures": []})
    async with engine.begin() as connection:
        if keep:
            await keep_targets(connection, list(targets.values()), at=now())
        await insert_trust_file(connection, StoredTrustFile("trust", version, now() + timedelta(days=90), content))


async def trust(engine: AsyncEngine, material: TrustMaterial, version: int = 1) -> None:
    """Let trust name a policy and roots."""
    policy = {} if material.policy is None else {POLICY: material.policy}
    await publish_trust(engine, version, policy | dict(material.roots))
