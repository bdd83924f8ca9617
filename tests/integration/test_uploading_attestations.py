"""Uploads with attestations on a real Postgres: kept when all is proven, else refused with the check that failed.

Source: contract python-index section 4; architecture section 11.8; ADR 0037.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.digest import sha256_of
from shared.auth.principal import Scope, Verb
from shared.catalogue.tables import Attestation, Audit, File, IndexRow, Outbox
from shared.objects.interface import Key
from tests.support.archives import make_wheel
from tests.support.builds import Forge, policy
from tests.support.factories import make_token
from tests.support.sigstore.tokens import GITHUB, github
from tests.support.simulator import Deployment
from tests.support.trust_targets import publish_trust, signed_files, trust, write_trust
from tests.support.uploader import Uploader, open_uploader
from tests.support.uploading import basic, form_fields

WHEEL = "widget-1.0-py3-none-any.whl"
OTHER = "gadget-1.0-py3-none-any.whl"
CONTENT, OTHER_CONTENT = make_wheel("widget", "1.0"), make_wheel("gadget", "1.0")
INVALID = "Invalid attestations supplied during upload: "


@dataclass
class Site:
    """The upload service, and a forge whose instance it trusts."""

    uploader: Uploader
    forge: Forge

    async def post(
        self,
        *attestations: Any,
        name: str = WHEEL,
        content: bytes = CONTENT,
        field: str | None = None,
        token: str | None = None,
        more: Mapping[str, str] | None = None,
    ) -> httpx2.Response:
        """Upload a file with attestations; `field` stands for their field as it is."""
        fields = form_fields(name, content) | dict(more or {})
        if attestations or field is not None:
            fields["attestations"] = json.dumps(attestations) if field is None else field
        headers = None if token is None else basic(token)
        return await self.uploader.post(name, content, fields=fields, headers=headers)

    async def rows(self) -> list[Any]:
        """Return what is kept, in the order of its coming."""
        async with self.uploader.resources.engine.connect() as connection:
            return list(await connection.execute(select(Attestation).order_by(Attestation.added_at, Attestation.id)))

    async def count(self, table: Any, *where: Any) -> int:
        """Count rows."""
        async with self.uploader.resources.engine.connect() as connection:
            return await connection.scalar(select(func.count()).select_from(table).where(*where)) or 0


@pytest.fixture(scope="module")
def forge() -> Forge:
    """A forge."""
    return Forge()


@pytest.fixture
async def site(engine: AsyncEngine, forge: Forge, tmp_path: Path) -> AsyncIterator[Site]:
    """The service; its policy takes `widget` from one workflow alone, and all else from everybody."""
    async with open_uploader(engine, tmp_path) as uploader:
        await trust(engine, forge.material())
        yield Site(uploader, forge)


async def test_both_attestations_of_a_build_are_verified_and_kept(site: Site, forge: Forge) -> None:
    """Rows, bytes under their digests, one named, audit rows, and one job; the answer says so."""
    pair = (forge.publish_attestation(WHEEL, CONTENT), forge.build_attestation(WHEEL, CONTENT))
    answer = await site.post(*pair)
    assert answer.status_code == 200, answer.text
    assert "Attestations verified and kept: 2." in answer.text
    assert answer.headers["X-Countermark-Attestations"] == "kept=2, new=2"
    rows = await site.rows()
    assert [(row.predicate_type.rpartition("/")[0][-10:], row.named, row.origin) for row in rows] == [
        ("ns/publish", False, "pep740"),
        ("provenance", True, "pep740"),
    ]
    store = site.uploader.resources.objects.public
    for row in rows:
        key = Key(f"files/{row.sha256[:2]}/{row.sha256[2:]}/{WHEEL}.sigstore.json")
        async with store.open(key) as opened:
            content = b"".join([chunk async for chunk in opened.chunks])
        assert (sha256_of(content), len(content)) == (row.sha256, row.length)
        assert row.publisher["repository"] == "acme/thing"
        assert row.publisher["workflow"] == "release.yml"
        assert row.publisher["claims"]["1.3.6.1.4.1.57264.1.13"] == "5" * 40
        assert row.facts["bundle_sha256"] == row.sha256
    assert await site.count(Audit, Audit.action == "file.attest") == 2
    assert await site.count(Outbox) == 1


async def test_a_file_that_the_policy_wants_attested_is_refused_without(site: Site, forge: Forge) -> None:
    """403 with the reason; another project needs nothing."""
    answer = await site.post()
    assert answer.status_code == 403
    assert "demands an attestation" in answer.text
    publish = await site.post(forge.publish_attestation(WHEEL, CONTENT))
    assert (publish.status_code, "demands an attestation" in publish.text) == (403, True)
    assert (await site.post(name=OTHER, content=OTHER_CONTENT)).status_code == 200
    assert await site.uploader.files() == 1
    assert await site.rows() == []


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        (github("evil/thing"), "evil/thing"),
        (github(ref="refs/heads/main"), "refs/heads/main"),
        (github(workflow="other.yml"), "other.yml"),
        (github("Acme/thing"), "Acme/thing"),
    ],
)
async def test_another_builder_is_refused_by_the_policy(site: Site, forge: Forge, claims: Any, said: str) -> None:
    """A fork, a branch, another workflow and another case are other identities."""
    answer = await site.post(forge.build_attestation(WHEEL, CONTENT, claims))
    assert answer.status_code == 403, answer.text
    assert said in answer.text
    assert (await site.uploader.files(), site.uploader.left_behind()) == (0, [])


async def test_the_failing_check_is_named(site: Site, forge: Forge) -> None:
    """Every broken attestation is 400 in the words of the public index, with the check; nothing is kept."""
    good = forge.build_attestation(WHEEL, CONTENT)
    altered = json.loads(json.dumps(good))
    altered["envelope"]["statement"] = (
        forge.build_attestation(WHEEL, CONTENT)["envelope"]["statement"][:-8] + "AAAAAAA="
    )
    unsigned = json.loads(json.dumps(good))
    unsigned["envelope"]["signature"] = forge.build_attestation(WHEEL, CONTENT)["envelope"]["signature"]
    no_log = json.loads(json.dumps(good))
    no_log["verification_material"]["transparency_entries"][0]["inclusionProof"]["hashes"] = ["AAAA"]
    cases = {
        "structure": good | {"version": 2},
        "statement": altered,
        "subject": forge.build_attestation("widget-1.1-py3-none-any.whl", CONTENT),
        "signature": unsigned,
        "certificate": Forge().build_attestation(WHEEL, CONTENT),
        "log": no_log,
    }
    for step, document in cases.items():
        answer = await site.post(document)
        assert answer.status_code == 400, (step, answer.text)
        assert answer.text.startswith(f"{INVALID}attestation 1 fails the check {step}: ") or answer.text.startswith(
            f"{INVALID}the attestation fails the check {step}: "
        ), (step, answer.text)
    second = await site.post(forge.publish_attestation(WHEEL, CONTENT), cases["certificate"])
    assert f"{INVALID}attestation 2 fails the check certificate" in second.text
    assert (await site.uploader.files(), site.uploader.left_behind()) == (0, [])


@pytest.mark.parametrize(
    "field", ["{", "{}", "[]", "[1]", "[null]", '"x"', "[" * 100, '[{"version": 1, "version": 1}]']
)
async def test_what_is_no_list_of_attestations_is_told(site: Site, field: str) -> None:
    """The field is never dropped, however odd it is."""
    answer = await site.post(field=field, name=OTHER, content=OTHER_CONTENT)
    assert answer.status_code == 400
    assert answer.text.startswith(INVALID)
    assert await site.uploader.files() == 0


async def test_too_many_and_too_large_are_told(site: Site, forge: Forge) -> None:
    """Five, two of one type, and a megabyte are refused before anything is verified."""
    one, two = forge.build_attestation(WHEEL, CONTENT), forge.publish_attestation(WHEEL, CONTENT)
    assert "array of 1 to 4" in (await site.post(one, two, two, two, two)).text
    assert "two attestations of the predicate type" in (await site.post(one, one)).text
    assert "longer than" in (await site.post(field=json.dumps([one]) + " " * (1 << 20))).text


async def test_without_a_root_nothing_can_be_kept(engine: AsyncEngine, forge: Forge, tmp_path: Path) -> None:
    """A server that cannot verify refuses with words, and takes the file without."""
    async with open_uploader(engine, tmp_path) as uploader:
        site = Site(uploader, forge)
        answer = await site.post(forge.build_attestation(WHEEL, CONTENT))
        assert answer.status_code == 400
        assert "trust root" in answer.text
        assert (await site.post()).status_code == 200


async def test_trust_that_cannot_be_read_takes_nothing(engine: AsyncEngine, forge: Forge, tmp_path: Path) -> None:
    """Where the catalogue lacks what trust names, every upload waits."""
    async with open_uploader(engine, tmp_path) as uploader:
        await publish_trust(engine, 1, {"trust/policy.yaml": policy()}, keep=False)
        assert (await Site(uploader, forge).post()).status_code == 503


async def test_a_policy_that_nobody_signed_takes_nothing(site: Site, engine: AsyncEngine) -> None:
    """Who can write to the catalogue does not choose the policy that uploads are judged by."""
    lax = {"trust/policy.yaml": b'schema: "policy/v1"\npackages:\n- match: "*"\n  attested: false\n'}
    files = signed_files(2, lax, Deployment())
    await publish_trust(engine, 2, lax)
    await write_trust(engine, 2, replace(signed_files(1, {}), trust=files.trust))
    answer = await site.post()
    assert answer.status_code == 503, answer.text
    assert "trust.json is not signed as it has to be" in answer.text
    assert await site.count(File) == 0


class TestTrustedPublishers:
    """Tokens that were made for the run of a workflow."""

    @staticmethod
    async def token(engine: AsyncEngine, **changed: str | None) -> str:
        """Return a token of a run; `changed` claims, None for one that it lacks."""
        claims = {key: value for key, value in (github() | {"iss": GITHUB} | changed).items() if value is not None}
        publisher = {"kind": "GitHub", "repository": "acme/thing", "environment": "release", "claims": claims}
        scope = Scope(None, None, frozenset({Verb.UPLOAD, Verb.READ}))
        return await make_token(engine, "root", [scope], publisher=publisher)

    async def test_the_same_run_is_taken(self, site: Site, forge: Forge, engine: AsyncEngine) -> None:
        """Its environment, which no certificate has, is kept with the publisher."""
        token = await self.token(engine)
        pair = (forge.publish_attestation(WHEEL, CONTENT), forge.build_attestation(WHEEL, CONTENT))
        assert (await site.post(*pair, token=token)).status_code == 200
        assert {row.publisher["environment"] for row in await site.rows()} == {"release"}

    @pytest.mark.parametrize(
        ("claim", "other", "word"),
        [
            ("repository", "acme/other", "repository"),
            ("workflow_ref", "acme/thing/.github/workflows/ci.yml@refs/tags/v1", "workflow"),
            ("repository_id", "4712", "repository id"),
            ("repository_owner_id", "43", "owner id"),
            ("sha", "6" * 40, "commit"),
            ("iss", "https://gitlab.com", "issuer"),
            ("sha", None, "commit"),
        ],
    )
    async def test_another_run_is_refused(
        self, site: Site, forge: Forge, engine: AsyncEngine, claim: str, other: str | None, word: str
    ) -> None:
        """Each claim of the token binds, and one that is missing proves nothing."""
        token = await self.token(engine, **{claim: other})
        answer = await site.post(forge.build_attestation(WHEEL, CONTENT), token=token)
        assert answer.status_code == 400
        assert "fails the check identity" in answer.text
        assert word in answer.text
        assert await site.uploader.files() == 0


async def test_attestations_are_added_to_a_file_that_is_there(site: Site, forge: Forge) -> None:
    """The same file again with an attestation is 200, and a new pointer is asked for; again changes nothing."""
    assert (await site.post(name=OTHER, content=OTHER_CONTENT)).status_code == 200
    attestation = forge.publish_attestation(OTHER, OTHER_CONTENT)
    for jobs in (2, 2):
        answer = await site.post(attestation, name=OTHER, content=OTHER_CONTENT)
        assert answer.status_code == 200, answer.text
        assert await site.count(Outbox) == jobs
    assert len(await site.rows()) == 1
    bad = await site.post(Forge().publish_attestation(OTHER, OTHER_CONTENT), name=OTHER, content=OTHER_CONTENT)
    assert bad.status_code == 400


async def test_the_same_upload_many_times_at_once_is_one(site: Site, forge: Forge) -> None:
    """One adds the file, all are answered 200, and its attestations are there once."""
    pair = (forge.publish_attestation(WHEEL, CONTENT), forge.build_attestation(WHEEL, CONTENT))
    answers = await asyncio.gather(*(site.post(*pair) for _ in range(6)))
    assert {answer.status_code for answer in answers} == {200}
    assert await site.uploader.files() == 1
    assert len(await site.rows()) == 2


async def test_an_index_of_devpis_admission_keeps_them_too(site: Site, forge: Forge, engine: AsyncEngine) -> None:
    """Whatever an index admits, attestations are verified and kept."""
    async with engine.begin() as connection:
        await connection.execute(update(IndexRow).values(admission="devpi"))
    await site.uploader.resources.directory.refresh()
    assert (await site.post(forge.build_attestation(WHEEL, CONTENT))).status_code == 200
    assert [row.named for row in await site.rows()] == [True]
    refused = await site.post(Forge().publish_attestation(OTHER, OTHER_CONTENT), name=OTHER, content=OTHER_CONTENT)
    assert (refused.status_code, "check certificate" in refused.text) == (400, True)


@pytest.mark.parametrize("action", ["submit", "doc_upload"])
async def test_what_is_no_file_takes_no_attestations(site: Site, forge: Forge, action: str) -> None:
    """Registering and documenting refuse the field with words."""
    more = {":action": action, "attestations": json.dumps([forge.publish_attestation(WHEEL, CONTENT)])}
    answer = await site.post(more=more)
    assert answer.status_code == 400
    assert "belongs to the upload of a file" in answer.text
    assert await site.rows() == []
