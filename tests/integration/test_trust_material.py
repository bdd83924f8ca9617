"""What attestations are judged by, as the catalogue has it: that which the newest file of trust names."""

import pytest
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.attestations.trust_material import TrustMaterial
from shared.catalogue import trust_material
from shared.catalogue.tables import TrustTarget
from tests.support.trust_targets import publish_trust

POLICY, ROOT, OTHER, CONFIG = b"schema: policy/v1\n", b'{"a": 1}', b'{"b": 2}', b'{"c": 3}'


async def found(engine: AsyncEngine) -> TrustMaterial:
    """Return what there is now."""
    async with engine.connect() as connection:
        return await trust_material.current(connection)


async def test_nothing_is_signed_at_first(engine: AsyncEngine) -> None:
    """Without a file of trust, and with an empty one, there is neither policy nor root."""
    assert await found(engine) == TrustMaterial()
    await publish_trust(engine, 1, {})
    assert await found(engine) == TrustMaterial(version=1)


async def test_policy_and_roots_are_what_the_newest_file_names(engine: AsyncEngine) -> None:
    """An older version counts no more, and the signing configuration is none of it."""
    await publish_trust(engine, 1, {"trusted_root.json": OTHER})
    targets = {"trust/policy.yaml": POLICY, "trusted_root.json": ROOT, "trust/company.json": OTHER}
    await publish_trust(engine, 2, targets | {"signing_config.v0.2.json": CONFIG})
    wanted = {"trusted_root.json": ROOT, "trust/company.json": OTHER}
    assert await found(engine) == TrustMaterial(POLICY, wanted, 2)


async def test_without_a_policy_roots_are_known_by_their_names(engine: AsyncEngine) -> None:
    """Nothing else says then which documents are roots."""
    await publish_trust(engine, 1, {"trust/private.trusted_root.json": ROOT, "trust/other.json": OTHER})
    assert await found(engine) == TrustMaterial(None, {"trust/private.trusted_root.json": ROOT}, 1)


async def test_bytes_that_are_not_there_are_an_error(engine: AsyncEngine) -> None:
    """Nothing is judged by half of what was signed."""
    await publish_trust(engine, 1, {"trust/policy.yaml": POLICY}, keep=False)
    with pytest.raises(LookupError, match=r"trust/policy\.yaml"):
        await found(engine)


async def test_bytes_that_are_not_those_that_were_signed_are_an_error(engine: AsyncEngine) -> None:
    """A policy that somebody wrote over in the catalogue is none: nothing is judged by it."""
    await publish_trust(engine, 1, {"trust/policy.yaml": POLICY})
    async with engine.begin() as connection:
        await connection.execute(update(TrustTarget).values(content=b"schema: other\n"))
    with pytest.raises(LookupError, match=r"trust/policy\.yaml in the catalogue is not what trust names"):
        await found(engine)
