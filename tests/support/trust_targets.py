"""Targets of the trust role in the catalogue, signed as key holders sign them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.attestations.trust_material import TrustMaterial
from shared.catalogue.signing_events import keep_targets
from shared.catalogue.tables import TrustFile
from shared.catalogue.trust import StoredTrustFile, insert_trust_file
from shared.catalogue.trust_material import POLICY
from shared.trust.links import TrustFiles
from tests.support.factories import now
from tests.support.simulator import Deployment

HOLDERS = Deployment()
"""Who holds the keys of root, targets and trust, of every catalogue that no ceremony has begun."""


def signed_files(version: int, targets: Mapping[str, bytes], holders: Deployment = HOLDERS) -> TrustFiles:
    """Return roots, and targets and trust of some version, signed by the holders."""
    holders.offline_version, holders.trust_targets = version, dict(targets)
    made = holders.offline_roles()
    return TrustFiles(tuple(holders.roots), made["targets"], made["trust"])


async def write_trust(engine: AsyncEngine, version: int, files: TrustFiles) -> None:
    """Write files of root, targets and trust, in place of those that are there."""
    until = now() + timedelta(days=90)
    rows = [StoredTrustFile("root", number, until, root) for number, root in enumerate(files.roots, start=1)]
    rows += [StoredTrustFile("targets", version, until, files.targets)]
    rows += [StoredTrustFile("trust", version, until, files.trust)]
    async with engine.begin() as connection:
        await connection.execute(delete(TrustFile).where(TrustFile.role != "registry"))
        for row in rows:
            await insert_trust_file(connection, row)


async def publish_trust(
    engine: AsyncEngine,
    version: int,
    targets: Mapping[str, bytes],
    *,
    keep: bool = True,
    holders: Deployment = HOLDERS,
) -> None:
    """Let a version of trust be the newest, in place of what is there.

    Args:
        keep: whether the bytes of its targets are kept with it.
    """
    await write_trust(engine, version, signed_files(version, targets, holders))
    if keep:
        async with engine.begin() as connection:
            await keep_targets(connection, list(targets.values()), at=now())


async def trust(engine: AsyncEngine, material: TrustMaterial, version: int = 1) -> None:
    """Let trust name a policy and roots."""
    policy = {} if material.policy is None else {POLICY: material.policy}
    await publish_trust(engine, version, policy | dict(material.roots))
