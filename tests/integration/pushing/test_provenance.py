"""What a mirror's upstream attests of files that are pushed: verified here, or left behind with words. ADR 0037."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.catalogue.tables import Attestation
from tests.support.archives import make_sdist, make_wheel
from tests.support.builds import Forge, policy
from tests.support.pushing import Site
from tests.support.pushing_mirrored import open_mirrored
from tests.support.sigstore.instance import provenance
from tests.support.trust_targets import trust
from tests.support.upstream import Fault, Upstream

WHEEL, SDIST = "widget-1.0-py3-none-any.whl", "widget-1.0.tar.gz"
CONTENT, SOURCE = make_wheel("widget", "1.0"), make_sdist("widget", "1.0")


@dataclass(frozen=True, slots=True)
class Mirrored:
    """A mirror of an upstream whose files a forge built."""

    site: Site
    upstream: Upstream
    forge: Forge

    async def trusting(self, engine: AsyncEngine, signed: bytes | None) -> None:
        """Let trust name a policy and the forge's root; nothing is signed from now on."""
        await self.site.stop_signing()
        self.site.resources.settings.uploads.__dict__["publish_wait"] = 0
        await trust(engine, self.forge.material(signed), version=2)

    async def rows(self) -> list[Any]:
        """Return what is kept."""
        async with self.site.resources.engine.connect() as connection:
            return list(await connection.execute(select(Attestation).order_by(Attestation.predicate_type)))


@pytest.fixture
async def mirrored(engine: AsyncEngine, tmp_path: Path) -> AsyncIterator[Mirrored]:
    """The wheel has both attestations of its build, the source archive one of somebody unknown."""
    forge, upstream = Forge(), Upstream()
    pair = (forge.publish_attestation(WHEEL, CONTENT), forge.build_attestation(WHEEL, CONTENT))
    upstream.add("widget", WHEEL, CONTENT, provenance=provenance(*pair))
    upstream.add("widget", SDIST, SOURCE, provenance=provenance(Forge().publish_attestation(SDIST, SOURCE)))
    async with open_mirrored(engine, tmp_path, upstream) as site:
        yield Mirrored(site, upstream, forge)


async def test_what_verifies_goes_along_and_the_rest_is_told(mirrored: Mirrored, engine: AsyncEngine) -> None:
    """Two of the wheel are kept with their bytes, one is named; of the source archive the answer says what failed."""
    await mirrored.trusting(engine, policy(more="    attested: false\n"))
    answer = await mirrored.site.push("root/pypi", "widget==1.0", "root/stable")
    assert answer.status_code == 200, answer.text
    lines = [line for line in answer.json()["result"] if line[1].startswith("attestation")]
    assert [200, "attestations", WHEEL, "2 verified and taken along"] in lines
    [left] = [line for line in lines if line[2] == SDIST]
    assert "stays behind: attestation 1 fails certificate" in left[3]
    rows = await mirrored.rows()
    assert [row.named for row in rows] == [False, True] or [row.named for row in rows] == [True, False]
    for row in rows:
        assert mirrored.site.stored(row.sha256, f"{WHEEL}.sigstore.json", public=True).stat().st_size == row.length


async def test_the_policy_takes_what_verified_for_evidence(mirrored: Mirrored, engine: AsyncEngine) -> None:
    """The source archive has no provenance that counts: nothing is pushed."""
    await mirrored.trusting(engine, policy())
    answer = await mirrored.site.push("root/pypi", "widget==1.0", "root/stable")
    assert answer.status_code == 403
    assert f"{SDIST}: " in answer.json()["message"]
    assert f"{WHEEL}: " not in answer.json()["message"]
    assert await mirrored.rows() == []


async def test_provenance_that_cannot_be_had_stops_the_push(mirrored: Mirrored) -> None:
    """What the page announces is not left out because the upstream stumbles."""
    mirrored.upstream.faults[f"/files/{WHEEL}.provenance"] = Fault(status=500)
    answer = await mirrored.site.push("root/pypi", "widget==1.0", "root/stable")
    assert answer.status_code == 502
    assert "provenance" in answer.json()["message"]


async def test_what_no_signed_root_knows_stays_behind_with_words(mirrored: Mirrored) -> None:
    """Files are pushed as before there were attestations, and the answer says what they came without."""
    answer = await mirrored.site.push("root/pypi", "widget==1.0", "root/stable")
    assert answer.status_code == 200, answer.text
    left = [line for line in answer.json()["result"] if line[1] == "attestation"]
    assert sorted(line[2] for line in left) == [WHEEL, WHEEL, SDIST]
    assert all("stays behind: attestation" in line[3] for line in left)
    assert await mirrored.rows() == []
