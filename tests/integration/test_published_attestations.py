"""What the public Sigstore instance really signed verifies offline, against the root that comes with the library."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from countermark.core.attestations.bundle import read_bundle
from countermark.core.attestations.bundle_verifying import BundleVerifier
from countermark.core.attestations.converting import bundle_of_pep740, pep740_of
from countermark.core.attestations.facts import LogKind, SanType
from countermark.core.attestations.judgements import JudgedFile
from countermark.core.attestations.judging import judge
from countermark.core.attestations.results import Step
from countermark.core.attestations.trust_material import TrustMaterial
from countermark.core.attestations.trust_root import public_root
from countermark.core.digest import sha256_of
from tests.support.sigstore.public import NotPublished, published
from tests.support.tools import CACHE

GITHUB, SLSA = "https://token.actions.githubusercontent.com", "https://slsa.dev/provenance/v1"
OWN = "pypi_attestations-0.0.19.tar.gz"
REPOSITORY = "https://github.com/trailofbits/pypi-attestations"
WORKFLOW = f"{REPOSITORY}/.github/workflows/release.yml"


@pytest.fixture(scope="module")
def assets() -> Path:
    """The folder with what was published."""
    try:
        return published(CACHE)
    except NotPublished as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"what was published cannot be had: {error}")


@pytest.fixture(scope="module")
def verifier() -> BundleVerifier:
    """One that trusts the public instance alone."""
    return BundleVerifier({"public": public_root()}, {})


@pytest.mark.parametrize(
    ("name", "kind", "issuer", "san", "signed_at"),
    [
        ("gitlab_oidc_project-0.0.3.tar.gz", "publish", "https://gitlab.com", "https://gitlab.com/", 1732037820),
        ("pypi_attestations-0.0.19.tar.gz", "publish", GITHUB, f"{WORKFLOW}@refs/tags/v0.0.19", 1733354041),
        ("pypi_attestations-0.0.19.tar.gz", "slsa", GITHUB, f"{WORKFLOW}@refs/tags/v0.0.19", 1733354026),
        (
            "circleci_sign_publish_example-0.0.1.dev137-py3-none-any.whl",
            "publish",
            "https://oidc.circleci.com",
            "https://circleci.com/api/v2/projects/",
            1770332382,
        ),
    ],
)
def test_attestations(
    assets: Path, verifier: BundleVerifier, name: str, kind: str, issuer: str, san: str, signed_at: int
) -> None:
    """Attestation objects of four publishers verify as bundles, and stay the same objects."""
    document = json.loads((assets / f"{name}.{kind}.attestation").read_bytes())
    body = bundle_of_pep740(document)
    report = verifier.verify(body, name, sha256_of((assets / name).read_bytes()))
    assert report.failure is None
    found = report.verified
    assert found is not None
    assert (found.issuer, found.san_type, found.log, found.signed_at) == (issuer, SanType.URI, LogKind.V1, signed_at)
    assert found.san is not None
    assert found.san.startswith(san)
    assert pep740_of(read_bundle(body)) == document


def test_a_bundle(assets: Path, verifier: BundleVerifier) -> None:
    """A bundle as its signer's client wrote it."""
    name = "pypi_attestation_models-0.0.4a2.tar.gz"
    body = (assets / f"{name}.sigstore").read_bytes()
    content = (assets / name).read_bytes()
    assert verifier.verify(body, name, sha256_of(content)).failure is None
    other = verifier.verify(body, name, sha256_of(content + b"x"))
    assert other.failure is not None
    assert other.failure.step == Step.SUBJECT


def test_an_address(assets: Path, verifier: BundleVerifier) -> None:
    """A builder of Google's has an address, which is told to be one."""
    name = "gcb_attestation_test-0.0.0.tar.gz"
    provenance = json.loads((assets / f"{name}.provenance").read_bytes())
    [document] = provenance["attestation_bundles"][0]["attestations"]
    report = verifier.verify(bundle_of_pep740(document), name, sha256_of((assets / name).read_bytes()))
    assert report.verified is not None
    assert report.verified.san_type == SanType.EMAIL


def test_the_other_instance(assets: Path, verifier: BundleVerifier) -> None:
    """What the instance for trials signed, whose names are the same, is nothing to the public root."""
    name = "rfc8785-0.1.2-py3-none-any.whl"
    report = verifier.verify((assets / f"{name}.sigstore").read_bytes(), name, sha256_of((assets / name).read_bytes()))
    assert report.failure is not None
    assert report.failure.step == Step.CERTIFICATE


@pytest.mark.parametrize(
    ("replaced", "by", "code"),
    [
        ("", "", 0),
        ("pypi-attestations/.github", "pypi-attestationS/.github", 60),
        ("refs/tags/v*", "refs/heads/*", 60),
        ('issuer: "https://', 'issuer: "http://', 60),
        ("refs/tags/v{version}", "refs/tags/{version}", 62),
        ("workflow/v1", "workflow/v2", 62),
        ("min_level: 2", "min_level: 3", 62),
        ("provenance/v1", "provenance/v0.2", 62),
        ('rekor: ["v1"]', 'rekor: ["v2"]', 61),
        ("max_age_days: 3650", "max_age_days: 1", 62),
    ],
)
def test_judged(assets: Path, replaced: str, by: str, code: int) -> None:
    """Build provenance of a real release satisfies the policy that describes it, and no other."""
    policy = f"""
schema: "policy/v1"
roots: {{public: "trusted_root.json"}}
builders:
  actions:
    root: "public"
    issuer: "{GITHUB}"
    san: {{workflow: "{WORKFLOW}", refs: ["refs/tags/v*"]}}
    builder_ids: ["https://github.com/trailofbits/pypi-attestations/.github/workflows/release.yml@refs/tags/v0.0.19"]
    build_types: ["https://actions.github.io/buildtypes/workflow/v1"]
    level: 2
packages:
  - match: "pypi-attestations"
    builders: ["actions"]
    source: "{REPOSITORY}"
    source_refs: ["refs/tags/v{{version}}"]
    predicates: ["https://slsa.dev/provenance/v1"]
    min_level: 2
    log: {{rekor: ["v1"], max_age_days: 3650}}
"""
    assert replaced in policy
    material = TrustMaterial(policy.replace(replaced, by).encode(), {"trusted_root.json": public_root()})
    document: Any = json.loads((assets / f"{OWN}.slsa.attestation").read_bytes())
    file = JudgedFile("root/stable", "pypi-attestations", "0.0.19", OWN, sha256_of((assets / OWN).read_bytes()))
    found = judge(material, file, bundle_of_pep740(document), (), 1_780_000_000, None)
    assert found.exit_code == code, found.reason
