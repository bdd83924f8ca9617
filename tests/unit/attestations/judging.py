"""A file that is judged, the policy it is judged by, and what a build of it attests."""

from __future__ import annotations

import json
from typing import Any

from countermark.core.attestations.judgements import JudgedFile, Judgement
from countermark.core.attestations.judging import judge
from countermark.core.attestations.trust_material import TrustMaterial
from countermark.core.attestations.trust_root import public_root
from tests.support.sigstore.instance import PUBLISH, SLSA, Instance
from tests.support.sigstore.tokens import GITHUB, github
from tests.unit.attestations.bundles import NAME, SHA, payload, signed

FILE = JudgedFile("root/stable", "thing", "1.0", NAME, SHA)
WORKFLOW = "https://github.com/acme/thing/.github/workflows/release.yml"
BUILDER_ID, BUILD_TYPE = (
    "https://github.com/actions/runner/github-hosted",
    "https://actions.github.io/buildtypes/workflow/v1",
)
NOW, AT = 1_750_086_400, 1_750_000_000
POLICY = f"""
schema: "policy/v1"
roots: {{private: "trusted_root.json", company: "trust/company.trusted_root.json"}}
test_roots: ["private", "company"]
builders:
  release:
    root: "private"
    issuer: "{GITHUB}"
    san: {{workflow: "{WORKFLOW}", refs: ["refs/tags/v*"]}}
    builder_ids: ["{BUILDER_ID}"]
    build_types: ["{BUILD_TYPE}"]
    level: 2
  own:
    root: "company"
    san: {{workflow: "{WORKFLOW}", refs: ["refs/tags/v*"]}}
packages:
  - match: "thing"
    builders: ["release"]
    source: "https://github.com/acme/thing"
    source_refs: ["refs/tags/v{{version}}"]
    min_level: 2
    log: {{max_age_days: 30}}
  - match: "own-*"
    builders: ["own"]
    predicates: ["{PUBLISH}"]
    log: {{rekor: ["none"]}}
  - match: "logged"
    builders: ["own"]
    predicates: ["{PUBLISH}"]
  - match: "free"
    attested: false
  - match: "*"
    deny: true
"""


def of(instance: Instance, policy: str | None = POLICY) -> TrustMaterial:
    """Return material with an instance's roots."""
    roots = {
        "trusted_root.json": instance.trusted_root(),
        "trust/company.trusted_root.json": instance.company_root(),
        "trust/public.trusted_root.json": public_root(),
    }
    return TrustMaterial(None if policy is None else policy.encode(), roots, 7)


def built(ref: str = "refs/tags/v1.0") -> bytes:
    """Return a statement of build provenance about the file."""
    workflow = {"repository": "https://github.com/acme/thing", "ref": ref, "path": "release.yml"}
    source = {"uri": f"git+https://github.com/acme/thing@{ref}", "digest": {"gitCommit": "5" * 40}}
    definition = {
        "buildType": BUILD_TYPE,
        "externalParameters": {"workflow": workflow},
        "resolvedDependencies": [source],
    }
    predicate = {"buildDefinition": definition, "runDetails": {"builder": {"id": BUILDER_ID}}}
    return payload(SLSA, predicate=predicate)


def made(instance: Instance, claims: dict[str, str] | None = None, **options: Any) -> bytes:
    """Return a bundle of build provenance, by the release workflow at v1.0 where nothing else is said."""
    options = {"payload": built(), "at": AT} | options
    claims = claims or github(ref="refs/tags/v1.0")
    return json.dumps(signed(instance, claims=claims, **options)).encode()


def judged(
    material: TrustMaterial, named: bytes | None, *others: bytes, project: str = "thing", had: bool | None = None
) -> Judgement:
    """Judge the file, and what is found as JSON as well."""
    file = JudgedFile(FILE.index, project, FILE.version, FILE.file_name, FILE.sha256)
    found = judge(material, file, named, others, NOW, had)
    again = Judgement.from_document(json.loads(json.dumps(found.to_document())))
    assert again.to_document() == found.to_document()
    assert again.passed is found.passed
    return found


def code(judgement: Judgement) -> tuple[int, str]:
    """Return the exit code and the link of the chain."""
    return judgement.exit_code, judgement.step
