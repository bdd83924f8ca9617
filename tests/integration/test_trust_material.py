"""What attestations are judged by, as the catalogue has it: that which the newest file of trust names."""

from collections.abc import Mapping
from datetime import timedelta

import orjson
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.attestations.trust_material import TrustMaterial
from countermark.core.digest import sha256_of
from shared.catalogue import trust_material
from shared.catalogue.signing_events import keep_targets
from shared.catalogue.trust import StoredTrustFile, insert_trust_file
from tests.support.factories import now

POLICY, ROOT, OTHER, CONFIG = b"schema: policy/v1\n", b'{"a": 1}', b'{"b": 2}', b'{"c": 3}'


async def publish(engine: AsyncEngine, version: int, targets: Mapping[str, bytes], *, keep: bool = True) -> None:
    """Let a version of trust be the newest."""
    named = {path: {"length": len(body), "hashes": {"sha256": sha256_of(body)}} for path, body in targets.items()}
    content = orjson.dumps({"signed": {"_type": "targets", "version": version, "targets": named}, "signatures": []})
    async with engine.begin() as connection:
        if keep:
            await keep_targets(connection, list(targets.values()), at=now())
        await insert_trust_file(connection, StoredTrustFile("trust", version, now() + timedelta(days=90), content))


async def found(engine: AsyncEngine) -> TrustMaterial:
    """Return what there is now."""
    async with engine.connect() as connection:
        return await trust_material.current(connection)


async def test_nothing_is_signed_at_first(engine: AsyncEngine) -> None:
    """Without a file of trust, and with an empty one, there is neither policy nor root."""
    assert await found(engine) == TrustMaterial()
    await publish(engine, 1, {})
    assert await found(engine) == TrustMaterial(version=1)


async def test_policy_and_roots_are_what_the_newest_file_names(engine: AsyncEngine) -> None:
    """An older version counts no more, and the signing configuration is none of it."""
    await publish(engine, 1, {"trusted_root.json": OTHER})
    targets = {"trust/policy.yaml": POLICY, "trusted_root.json": ROOT, "trust/company.json": OTHER}
    await publish(engine, 2, targets | {"signing_config.v0.2.json": CONFIG})
    wanted = {"trusted_root.json": ROOT, "trust/company.json": OTHER}
    assert await found(engine) == TrustMaterial(POLICY, wanted, 2)


async def test_without_a_policy_roots_are_known_by_their_names(engine: AsyncEngine) -> None:
    """Nothing else says then which documents are roots."""
    await publish(engine, 1, {"trust/private.trusted_root.json": ROOT, "trust/other.json": OTHER})
    assert await found(engine) == TrustMaterial(None, {"trust/private.trusted_root.json": ROOT}, 1)


async def test_bytes_that_are_not_there_are_an_error(engine: AsyncEngine) -> None:
    """Nothing is judged by half of what was signed."""
    await publish(engine, 1, {"trust/policy.yaml": POLICY}, keep=False)
    with pytest.raises(LookupError, match=r"trust/policy\.yaml"):
        await found(engine)
