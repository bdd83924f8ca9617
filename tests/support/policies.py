"""A policy of one project, and evidence that satisfies it; tests change one thing at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from countermark.core.attestations.facts import EXTENSIONS, LogKind, RootKind, SanType, VerifiedBundle
from countermark.core.attestations.summary import SUMMARY
from countermark.core.digest import Sha256
from countermark.core.policy import PolicyFile, Verdict, evaluate, parse_policy

ISSUER = "https://ci.example/oidc"
WORKFLOW = "https://ci.example/acme/builders/.ci/release.yml"
SOURCE = "https://ci.example/acme/widget"
REF = "refs/tags/v1.0"
COMMIT = "c" * 40
BUILD_TYPE = "https://example.com/build/wheel/v1"
NOW = 1_900_000_000
"""Seconds since 1970."""

DAY = 86_400

POLICY = f"""
schema: "policy/v1"
roots: {{private: "trusted_root.json", company: "trust/company.trusted_root.json"}}
builders:
  acme-release:
    root: "private"
    issuer: "{ISSUER}"
    san: {{workflow: "{WORKFLOW}", refs: ["refs/tags/v*"]}}
    builder_ids: ["{WORKFLOW}"]
    build_types: ["{BUILD_TYPE}"]
    level: 3
  acme-nightly:
    root: "private"
    issuer: "{ISSUER}"
    san: {{workflow: "https://ci.example/acme/builders/.ci/nightly.yml", refs: ["refs/heads/main"]}}
    builder_ids: ["https://ci.example/acme/builders/.ci/nightly.yml"]
    build_types: ["{BUILD_TYPE}"]
    level: 2
packages:
  - match: "widget"
    builders: ["acme-release"]
    source: "{SOURCE}"
    source_refs: ["refs/tags/v{{version}}"]
    min_level: 3
    log: {{rekor: ["v1", "v2"], max_age_days: 3650}}
  - match: "acme-*"
    builders: ["acme-nightly", "acme-release"]
  - match: "*"
    deny: true
"""
"""The example of trust contract section 4, and a second builder."""

VERIFIER = "https://verify.example/acme"
RESOURCE = "countermark:root/stable/widget/1.0/widget-1.0-py3-none-any.whl"
PINNED = "a" * 64
"""Digest of the verifier's policy."""

VERIFIED = f"""
schema: "policy/v1"
roots: {{private: "trusted_root.json"}}
verifiers:
  other-team:
    verifier_id: "{VERIFIER}"
    root: "private"
    issuer: "{ISSUER}"
    san: {{workflow: "https://ci.example/other/verify/.ci/verify.yml", refs: ["refs/heads/main"]}}
    level: 3
  third:
    verifier_id: "https://verify.example/third"
    root: "private"
    issuer: "{ISSUER}"
    san: {{workflow: "https://ci.example/third/verify/.ci/verify.yml", refs: ["refs/heads/main"]}}
    level: 3
packages:
  - match: "widget"
    verifiers: ["other-team"]
    min_level: 3
    log: {{max_age_days: 30}}
  - match: "*"
    deny: true
"""
"""A policy that takes what another team verified."""

FILE = PolicyFile("root/stable", "widget", "1.0", "widget-1.0-py3-none-any.whl")


def slsa_v1(**changes: Any) -> dict[str, Any]:
    """Return build provenance v1 of the widget: `source`, `ref`, `commit`, `builder_id`, `build_type`, `parameters`."""
    said = {"source": SOURCE, "ref": REF, "commit": COMMIT, "builder_id": WORKFLOW, "build_type": BUILD_TYPE} | changes
    workflow = {"repository": said["source"], "ref": said["ref"], "path": ".ci/release.yml"}
    dependency = {"uri": f"git+{said['source']}@{said['ref']}", "digest": {"gitCommit": said["commit"]}}
    return {
        "buildDefinition": {
            "buildType": said["build_type"],
            "externalParameters": said.get("parameters", {"workflow": workflow}),
            "resolvedDependencies": [dependency],
        },
        "runDetails": {
            "builder": {"id": said["builder_id"]},
            "metadata": {"invocationId": f"{SOURCE}/runs/7", "startedOn": "2026-01-02T03:04:05Z"},
        },
    }


def claims(**changes: str) -> dict[str, str]:
    """Return what the certificate says of the source: `source`, `commit`, `ref`."""
    said = {"source": SOURCE, "commit": COMMIT, "ref": REF} | changes
    numbers = {"source": 12, "commit": 13, "ref": 14}
    return {f"{EXTENSIONS}{number}": said[name] for name, number in numbers.items()}


GOOD = VerifiedBundle(
    bundle_sha256=Sha256("b" * 64),
    predicate_type="https://slsa.dev/provenance/v1",
    predicate=slsa_v1(),
    root="private",
    root_kind=RootKind.SIGSTORE,
    issuer=ISSUER,
    san=f"{WORKFLOW}@refs/tags/v7",
    san_type=SanType.URI,
    certificate=claims(),
    key=None,
    log=LogKind.V2,
    log_index=5,
    log_origin="log.example/2026",
    signed_at=NOW - DAY,
    subject_name=FILE.file_name,
)
"""Evidence that satisfies the policy."""


def summary(**changes: Any) -> dict[str, Any]:
    """Return what the other team says of the widget, with fields changed; those that are None are left out."""
    said = {
        "verifier": {"id": VERIFIER, "version": {"verify": "1"}},
        "timeVerified": "2030-03-16T00:00:00Z",
        "resourceUri": RESOURCE,
        "policy": {"uri": "https://verify.example/acme/policy", "digest": {"sha256": PINNED}},
        "inputAttestations": [{"uri": "https://x", "digest": {"sha256": "b" * 64}}],
        "verificationResult": "PASSED",
        "verifiedLevels": ["SLSA_BUILD_LEVEL_3", "ACME_REVIEWED"],
        "dependencyLevels": {"SLSA_BUILD_LEVEL_1": 4},
        "slsaVersion": "1.1",
    } | changes
    return {name: value for name, value in said.items() if value is not None}


def summarised(**changes: Any) -> VerifiedBundle:
    """Return evidence that satisfies the rule of `VERIFIED`, with something changed, also of what it says."""
    of_bundle = {name: changes.pop(name) for name in list(changes) if name in VerifiedBundle.__slots__}
    san = "https://ci.example/other/verify/.ci/verify.yml@refs/heads/main"
    source = claims(source="https://ci.example/other/verify", ref="refs/heads/main")
    usual = {"predicate_type": SUMMARY, "predicate": summary(**changes), "san": san, "certificate": source}
    return replace(GOOD, **(usual | of_bundle))


def evidence(**changes: Any) -> VerifiedBundle:
    """Return good evidence with something changed."""
    return replace(GOOD, **changes)


def said(**changes: Any) -> VerifiedBundle:
    """Return good evidence whose predicate says something else, and whose certificate does not speak of the source."""
    return replace(GOOD, predicate=slsa_v1(**changes), certificate={})


def judged(
    *found: VerifiedBundle,
    policy: str = POLICY,
    file: PolicyFile = FILE,
    now: int = NOW,
    had_provenance: bool | None = None,
) -> Verdict:
    """Return what a policy says of a file."""
    return evaluate(parse_policy(policy.encode()), file, found, now, had_provenance)


def edited(edits: Mapping[str, str], policy: str = POLICY) -> str:
    """Return a policy with texts replaced, each of which must be there."""
    for old, new in edits.items():
        assert old in policy, old
        policy = policy.replace(old, new)
    return policy
