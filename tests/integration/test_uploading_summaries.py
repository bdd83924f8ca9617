"""Verification summaries of another team, uploaded in place of build provenance, on a real Postgres. ADR 0043."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import SSlibKey
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.digest import sha256_of
from shared.catalogue.tables import File, KeyHandle
from tests.integration.test_uploading_attestations import CONTENT, OTHER, OTHER_CONTENT, WHEEL, Site
from tests.support.builds import Forge, body, policy
from tests.support.factories import now
from tests.support.trust_targets import trust
from tests.support.uploader import open_uploader
from tests.support.uploading import basic
from tests.support.verifiers import VERIFIER, Verifier, verified

ENDPOINT = f"/api/v1/indexes/root/stable/files/{sha256_of(CONTENT)}/{WHEEL}/attestations"


@pytest.fixture(scope="module")
def forge() -> Forge:
    """A forge."""
    return Forge()


@pytest.fixture(scope="module")
def team(forge: Forge) -> Verifier:
    """The other team."""
    return Verifier(forge.instance)


@pytest.fixture
async def site(engine: AsyncEngine, forge: Forge, team: Verifier, tmp_path: Path) -> AsyncIterator[Site]:
    """The service; its policy demands of widget build provenance, or that the team verified it."""
    async with open_uploader(engine, tmp_path) as uploader:
        await trust(engine, forge.material(verified(team.pem)))
        yield Site(uploader, forge)


async def add(site: Site, bundle: Any) -> tuple[int, str]:
    """Add an attestation to the widget; returns status and text of the answer."""
    headers = basic(site.uploader.token) | {"content-type": "application/json"}
    answer = await site.uploader.http.post(ENDPOINT, content=body(bundle), headers=headers)
    return answer.status_code, answer.text


async def test_a_summary_lets_a_file_in(site: Site, team: Verifier) -> None:
    """The file is refused without, taken with it, and its pointer is to name it."""
    assert (await site.post()).status_code == 403
    answer = await site.post(team.summary(WHEEL, CONTENT))
    assert answer.status_code == 200, answer.text
    [row] = await site.rows()
    assert (row.predicate_type, row.named) == ("https://slsa.dev/verification_summary/v1", True)


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({"verifier": {"id": f"{VERIFIER}/x"}}, 403, "verifier id"),
        ({"verificationResult": "FAILED"}, 403, "result"),
        ({"verifiedLevels": ["SLSA_BUILD_LEVEL_1"]}, 403, "level"),
        ({"resourceUri": f"countermark:root/stable/widget/1.0/{WHEEL}"}, 403, "resource"),
        ({"policy": {"uri": "x", "digest": {"sha256": "b" * 64}}}, 403, "verifier's policy"),
        ({"subject": [{"name": OTHER, "digest": {"sha256": sha256_of(OTHER_CONTENT)}}]}, 400, "subject"),
        ({"subject": [{"name": WHEEL, "digest": {"sha256": sha256_of(OTHER_CONTENT)}}]}, 400, "subject"),
        ({"verificationResult": "yes"}, 400, "statement"),
    ],
)
async def test_forged_ones_do_not(
    site: Site, forge: Forge, team: Verifier, changes: dict[str, Any], status: int, words: str
) -> None:
    """Nothing is taken by a summary that is not of this file, this verifier, passed and high enough."""
    demanding = verified(team.pem, more="    min_level: 2\n")
    await trust(site.uploader.resources.engine, forge.material(demanding), version=9)
    answer = await site.post(team.summary(WHEEL, CONTENT, **changes))
    assert (answer.status_code, words in answer.text) == (status, True), answer.text
    assert (await site.count(File), await site.rows()) == (0, [])


async def test_another_key_signs_for_nobody(site: Site, forge: Forge) -> None:
    """A key that the policy does not name verifies nothing."""
    answer = await site.post(Verifier(forge.instance).summary(WHEEL, CONTENT))
    assert (answer.status_code, "signature" in answer.text) == (400, True)


async def test_build_provenance_is_named_rather(site: Site, forge: Forge, team: Verifier) -> None:
    """It says more: a summary beside it or after it is kept and not named, and it takes the place of one."""
    summary, built = team.summary(WHEEL, CONTENT), forge.built(WHEEL, CONTENT)
    assert (await site.post(summary)).status_code == 200
    assert (await add(site, built))[0] == 202
    again = team.summary(WHEEL, CONTENT, slsaVersion="1.1")
    assert (await add(site, again))[0] == 202
    assert [(row.predicate_type.split("/")[3], row.named) for row in await site.rows()] == [
        ("verification_summary", False),
        ("provenance", True),
        ("verification_summary", False),
    ]
    assert (await site.post(summary, built, name=OTHER, content=OTHER_CONTENT)).status_code == 400


async def test_where_the_provenance_counts_no_more_a_summary_is_named(site: Site, forge: Forge, team: Verifier) -> None:
    """A builder that was withdrawn leaves files that another verifier can vouch for; what does not help is refused."""
    assert (await site.post(forge.built(WHEEL, CONTENT))).status_code == 200
    gone = verified(team.pem).replace(b"refs/tags/v*", b"refs/tags/gone-*")
    await trust(site.uploader.resources.engine, forge.material(gone), version=9)
    status, text = await add(site, team.summary(WHEEL, CONTENT, verificationResult="FAILED"))
    assert (status, "result" in text) == (403, True)
    assert (await add(site, team.summary(WHEEL, CONTENT)))[0] == 202
    assert [row.named for row in await site.rows()] == [False, True]


async def test_rules_without_verifiers_take_none(site: Site, forge: Forge, team: Verifier) -> None:
    """There a summary is kept as any other attestation that nobody asks for, and lets nothing in."""
    signed = verified(team.pem).replace(b'    verifiers: ["team-a"]\n', b"")
    await trust(site.uploader.resources.engine, forge.material(signed), version=9)
    answer = await site.post(team.summary(WHEEL, CONTENT))
    assert (answer.status_code, "demands an attestation of type" in answer.text) == (403, True)
    assert (await site.post(forge.built(WHEEL, CONTENT))).status_code == 200
    assert (await add(site, team.summary(WHEEL, CONTENT, verificationResult="FAILED")))[0] == 202
    assert [row.named for row in await site.rows()] == [True, False]


@pytest.mark.parametrize("role", ["bins", "timestamp"])
async def test_the_own_keys_are_no_verifiers(site: Site, team: Verifier, role: str) -> None:
    """What a key of this deployment signed is no evidence here, also of a retired one and where the policy names it."""
    key = SSlibKey.from_crypto(team.key.public_key())
    async with site.uploader.resources.engine.begin() as connection:
        at = now()
        values = {"keyid": key.keyid, "role": role, "public_key": key.to_dict(), "uri": "", "created_at": at}
        await connection.execute(insert(KeyHandle).values(**values, retired_at=at))
    answer = await site.post(team.summary(WHEEL, CONTENT))
    assert (answer.status_code, "no evidence for itself" in answer.text) == (400, True), answer.text
    assert await site.count(File) == 0


async def test_nothing_is_demanded_without_a_policy(site: Site, forge: Forge, team: Verifier) -> None:
    """A summary whose key nobody names is refused like any bundle that does not verify."""
    await trust(site.uploader.resources.engine, forge.material(policy("gadget")), version=9)
    answer = await site.post(team.summary(WHEEL, CONTENT))
    assert (answer.status_code, "the policy names none" in answer.text) == (400, True)
