"""What PEP 740 has no place for, uploaded with its file to an index that demands it, on a real Postgres.

Source: architecture section 11.8; trust contract section 5.2; ADR 0037.
"""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.attestations.trust_material import TrustMaterial
from countermark.core.digest import sha256_of
from shared.catalogue.tables import Attestation, File
from shared.objects.interface import Key
from tests.integration.test_uploading_attestations import Site
from tests.support.archives import make_wheel
from tests.support.builds import ROOT_PATH, Forge, body, policy, predicate
from tests.support.sigstore.instance import SLSA, statement
from tests.support.sigstore.keys import new_key
from tests.support.sigstore.tokens import github
from tests.support.trust_targets import trust
from tests.support.uploader import open_uploader
from tests.support.uploading import basic
from tests.unit.attestations.test_bundle_roots import pem

COMPANY = "trust/company.trusted_root.json"
WORKFLOW = "https://github.com/acme/thing/.github/workflows/release.yml"
SAYS = f'builder_ids: ["{WORKFLOW}"], build_types: ["https://actions.github.io/buildtypes/workflow/v1"], level: 1'
SAN = f'{{workflow: "{WORKFLOW}", refs: ["refs/tags/v*"]}}'
OTHER_RULES = """  - {match: "own", builders: ["own"], log: {rekor: ["none"]}}
  - {match: "keyed", builders: ["by-key"], log: {rekor: ["none"]}}
"""


@dataclass
class Company:
    """Who builds: by workflows of a forge, by an own authority without a log, and with a key on a machine."""

    forge: Forge = field(default_factory=Forge)
    key: EllipticCurvePrivateKey = field(default_factory=new_key)

    def tiled(self, name: str, content: bytes) -> dict[str, Any]:
        """Return build provenance whose entry is in a log of the second version."""
        return self.forge.built(name, content, log="v2")

    def own(self, name: str, content: bytes) -> dict[str, Any]:
        """Return build provenance with the own authority's certificate, a time stamp, and no log."""
        return self.forge.built(name, content, log="none", authority=self.forge.instance.company)

    def keyed(self, name: str, content: bytes) -> dict[str, Any]:
        """Return build provenance signed with the key."""
        payload = statement(name, content, SLSA, predicate=predicate(self.forge.claims))
        return self.forge.instance.sign_with_key(payload, self.key)

    def material(self) -> TrustMaterial:
        """Return the roots, and a policy that demands of each project one of the three."""
        key = "".join(f"    {line}\n" for line in pem(self.key).decode().splitlines())
        text = policy("tiled", rest="").decode()
        for at, more in {
            "roots:\n": f'  company: "{COMPANY}"\n',
            "builders:\n": f'  own: {{root: "company", san: {SAN}, {SAYS}}}\n  by-key: {{key: "machine", {SAYS}}}\n',
            "packages:\n": OTHER_RULES,
            'test_roots: ["private"': ', "company"',
        }.items():
            assert text.count(at) == 1
            text = text.replace(at, at + more)
        text += f"keys:\n  machine: |\n{key}"
        roots = {ROOT_PATH: self.forge.instance.trusted_root(), COMPANY: self.forge.instance.company_root()}
        return TrustMaterial(text.encode(), roots, 1)


Build = Callable[[Company, str, bytes], dict[str, Any]]
KINDS: dict[str, Build] = {"tiled": Company.tiled, "own": Company.own, "keyed": Company.keyed}
FOREIGN = {"tiled": "log", "own": "log", "keyed": "signature"}
"""The check that another company's bundle of a kind fails: its time stamps are nobody's, its key is not named."""


def file_of(project: str) -> tuple[str, bytes]:
    """Return a wheel of a project: its name and its bytes."""
    return f"{project}-1.0-py3-none-any.whl", make_wheel(project, "1.0")


@pytest.fixture(scope="module")
def company() -> Company:
    """A company."""
    return Company()


@pytest.fixture
async def site(engine: AsyncEngine, company: Company, tmp_path: Path) -> AsyncIterator[Site]:
    """The service; its policy demands build provenance of everything, and knows three projects."""
    async with open_uploader(engine, tmp_path) as uploader:
        await trust(engine, company.material())
        yield Site(uploader, company.forge)


@pytest.mark.parametrize("project", KINDS)
async def test_what_the_policy_demands_goes_with_the_file(site: Site, company: Company, project: str) -> None:
    """The file is refused without, and taken with it; kept is the very bundle, once, and it is the named one."""
    name, content = file_of(project)
    without = await site.post(name=name, content=content)
    assert (without.status_code, "demands an attestation" in without.text) == (403, True)
    bundle = body(KINDS[project](company, name, content))
    for _ in range(2):
        answer = await site.post(field=f"[{bundle.decode()}]", name=name, content=content)
        assert answer.status_code == 200, answer.text
    [row] = await site.rows()
    assert (row.origin, row.named, row.sha256, row.length) == ("bundle", True, sha256_of(bundle), len(bundle))
    key = Key(f"files/{row.sha256[:2]}/{row.sha256[2:]}/{name}.sigstore.json")
    async with site.uploader.resources.objects.public.open(key) as opened:
        assert b"".join([chunk async for chunk in opened.chunks]) == bundle
    assert await site.count(File) == 1


@pytest.mark.parametrize("project", KINDS)
async def test_the_form_and_the_endpoint_keep_the_same(site: Site, company: Company, project: str) -> None:
    """What came with the file is known when it is posted again."""
    name, content = file_of(project)
    bundle = KINDS[project](company, name, content)
    assert (await site.post(bundle, name=name, content=content)).status_code == 200
    path = f"/api/v1/indexes/root/stable/files/{sha256_of(content)}/{name}/attestations"
    answer = await site.uploader.http.post(
        path, content=body(bundle), headers=basic(site.uploader.token) | {"content-type": "application/json"}
    )
    assert (answer.json()["added"], len(await site.rows())) == (False, 1)


@pytest.mark.parametrize("project", KINDS)
async def test_altered_and_foreign_ones_are_refused(site: Site, company: Company, project: str) -> None:
    """400 with the check, also beside a good one; nothing of it is kept, neither rows nor bytes."""
    name, content = file_of(project)
    good = KINDS[project](company, name, content)
    altered = json.loads(json.dumps(good))
    payload = json.loads(base64.b64decode(altered["dsseEnvelope"]["payload"]))
    payload["predicate"]["runDetails"]["builder"]["id"] = "https://evil.example/builder"
    altered["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(payload).encode()).decode()
    cases: list[tuple[str, dict[str, Any]]] = [
        ("signature", altered),
        ("subject", KINDS[project](company, name, b"other bytes")),
        (FOREIGN[project], KINDS[project](Company(), name, content)),
        ("structure", good | {"mediaType": "application/json"}),
    ]
    for step, document in cases:
        for sent in ([document], [good, document]):
            answer = await site.post(*sent, name=name, content=content)
            assert (answer.status_code, f"fails the check {step}" in answer.text) == (400, True), (step, answer.text)
    assert (await site.count(File), await site.count(Attestation), site.uploader.left_behind()) == (0, 0, [])


@pytest.mark.parametrize("project", KINDS)
async def test_one_of_another_kind_is_not_what_is_demanded(site: Site, company: Company, project: str) -> None:
    """Each verifies, and the policy wants another builder of this project: 403, and nothing is kept."""
    name, content = file_of(project)
    for kind in KINDS.keys() - {project}:
        answer = await site.post(KINDS[kind](company, name, content), name=name, content=content)
        assert answer.status_code == 403, (kind, answer.text)
    fork = company.forge.built(name, content, github("evil/thing"), log="v2")
    assert (await site.post(fork, name=name, content=content)).status_code == 403
    assert (await site.count(File), await site.count(Attestation), site.uploader.left_behind()) == (0, 0, [])


async def test_bundles_stand_beside_objects(site: Site, company: Company) -> None:
    """Four of both kinds are kept; the named one is the last build provenance."""
    name, content = file_of("tiled")
    forge = company.forge
    scan = forge.instance.sign(statement(name, content, "https://example.test/scan/v1", predicate={"found": 0}))
    sent = [forge.publish_attestation(name, content), forge.build_attestation(name, content), scan]
    answer = await site.post(*sent, company.tiled(name, content), name=name, content=content)
    assert answer.status_code == 200, answer.text
    assert "Attestations verified and kept: 4." in answer.text
    rows = {(row.origin, row.predicate_type, row.named) for row in await site.rows()}
    assert len(rows) == 4
    assert [row for row in rows if row[2]] == [("bundle", SLSA, True)]
