"""The numbered chain, and how a judgement on bundles becomes steps of it. Trust contract section 3.3."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from countermark.core.attestations.facts import LogKind, RootKind, SanType, VerifiedBundle
from countermark.core.attestations.judgements import BundleReport, Judgement
from countermark.core.attestations.results import Failed
from countermark.core.attestations.results import Step as BundleStep
from countermark.core.attestations.trust_material import TrustMaterial
from countermark.core.codes import policy_code
from countermark.core.digest import Sha256
from countermark.core.policy.model import SLSA_V1
from countermark.core.policy.verdicts import Check, CheckName, Verdict
from services.download.verification.claims import claims_of
from services.download.verification.judged import note_judgement
from services.download.verification.steps import NAMES, OF_BUNDLES, Broken, Chain, Result, Step, Verification

SHA = Sha256("a" * 64)
ALLOWED = Verdict(True, True, 0, "policy", "it is allowed")


def bundle(failure: Failed | None = None, log: LogKind = LogKind.V1) -> BundleReport:
    """Return the report on a bundle that fails at a step, or verifies."""
    order = list(BundleStep)
    at = len(order) if failure is None else order.index(failure.step)
    steps = tuple(
        (step, None if step is BundleStep.IDENTITY or place > at else place < at) for place, step in enumerate(order)
    )
    verified = VerifiedBundle(
        bundle_sha256=SHA,
        predicate_type="t",
        predicate={"large": True},
        root="r",
        root_kind=RootKind.SIGSTORE,
        issuer="i",
        san="s",
        san_type=SanType.URI,
        certificate={},
        key=None,
        log=log,
        log_index=7,
        log_origin="o",
        signed_at=1,
        subject_name="n",
    )
    return BundleReport(SHA, steps, failure, None if failure else verified)


def noted(judgement: Judgement) -> dict[str, Step]:
    """Return the steps from the statement on, by name."""
    chain = Chain()
    for name in NAMES[: NAMES.index("statement")]:
        chain.passed(name, "so far")
    try:
        note_judgement(chain, judgement, TrustMaterial())
        chain.passed("catalogue", "and behind it")
    except Broken:
        pass
    return {step.name: step for step in chain.finished()}


def test_verified() -> None:
    """All steps of a bundle that verified pass; the predicate, which is large and a claim, is no evidence."""
    steps = noted(Judgement((bundle(),), ALLOWED, 0, "it is allowed", "policy"))
    assert {step.result for step in steps.values()} == {Result.PASSED}
    assert steps["identity"].evidence["issuer"] == "i"
    assert steps["log"].evidence["log_index"] == 7
    assert steps["statement"].evidence["claims"] == {}
    assert all("predicate" not in step.evidence for step in steps.values())


def stated(predicate: dict[str, Any], predicate_type: str = SLSA_V1) -> dict[str, str]:
    """Return what is told of the claims of a bundle that verified."""
    verified = bundle().verified
    assert verified is not None
    return claims_of(replace(verified, predicate=predicate, predicate_type=predicate_type))


def test_claims() -> None:
    """What the predicate says of the build is told as claims, in the fields of every dialect, and bounded."""
    workflow = {"repository": "https://forge.test/a/b", "ref": "refs/tags/v1", "path": "release.yml"}
    source = {"uri": "git+https://forge.test/a/b@refs/tags/v1", "digest": {"gitCommit": "c" * 40}}
    definition: dict[str, Any] = {"buildType": "https://t", "externalParameters": {"workflow": workflow}}
    definition["resolvedDependencies"] = [source]
    predicate = {"buildDefinition": definition, "runDetails": {"builder": {"id": "https://b"}}}
    told = {"builder_id": "https://b", "build_type": "https://t", "source": "https://forge.test/a/b"}
    told |= {"ref": "refs/tags/v1", "commit": "c" * 40, "entry": "release.yml"}
    assert stated(predicate) == told
    assert stated(predicate, "https://other.test/v1") == {}
    definition["buildType"] = "x" * 10_000
    assert list(stated(predicate)) == ["unreadable"]


@pytest.mark.parametrize(
    ("failed", "name", "code"),
    [
        (BundleStep.STRUCTURE, "statement", 51),
        (BundleStep.STATEMENT, "statement", 51),
        (BundleStep.SUBJECT, "subject", 52),
        (BundleStep.SIGNATURE, "signature", 60),
        (BundleStep.CERTIFICATE, "identity", 60),
        (BundleStep.LOG, "log", 61),
        (BundleStep.WINDOWS, "log", 61),
    ],
)
def test_bundle_fails(failed: BundleStep, name: str, code: int) -> None:
    """The named bundle's failure is told at its link; what is in front passed, what is behind was not looked at."""
    refused = Verdict(False, True, 62, "policy", "no evidence")
    steps = noted(Judgement((bundle(Failed(failed, "why")),), refused, code, "why", name))
    chain = Verification(tuple(steps.values()))
    assert chain.failure is not None
    assert (chain.failure.name, chain.exit_code, chain.failure.reason) == (name, code, "why")
    assert chain.failure.code == f"attestation.{failed}"
    at = NAMES.index(name)
    assert {steps[one].result for one in NAMES[:at]} == {Result.PASSED}
    assert {steps[one].result for one in NAMES[at + 1 :]} == {Result.SKIPPED}


@pytest.mark.parametrize(
    ("step", "exit_code", "check"),
    [("identity", 60, "workflow ref"), ("log", 61, "log"), ("log", 62, "age"), ("policy", 62, "verifier's policy")],
)
def test_policy_refuses(step: str, exit_code: int, check: CheckName) -> None:
    """A bundle that verified and is not what the policy wants fails at the step that the verdict names."""
    checks = (Check("root", "private", "private", ok=True), Check(check, "this", "that", ok=False))
    refused = Verdict(False, True, exit_code, step, "another", checks=checks)  # type: ignore[arg-type]
    found = noted(Judgement((bundle(),), refused, exit_code, "another", step))[step]
    assert (found.result, found.exit_code, found.reason) == (Result.FAILED, exit_code, "another")
    assert found.code == policy_code(check)


def test_bundle_that_decides_nothing() -> None:
    """A bundle that no pointer names and that does not verify fails no file: the policy decides, and tells its code."""
    report = bundle(Failed(BundleStep.CERTIFICATE, "why"))
    denied = Verdict(False, True, 62, "policy", "the policy denies thing")
    for verdict in (ALLOWED, denied):
        steps = noted(Judgement((report,), verdict, verdict.exit_code, verdict.reason, "policy"))
        chain = Verification(tuple(steps.values()))
        assert {steps[name].result for name in OF_BUNDLES} == {Result.SKIPPED}
        assert all("why" in steps[name].reason for name in OF_BUNDLES)
        assert (chain.verified, chain.exit_code) == (verdict.allowed, verdict.exit_code)


def test_nothing_attested() -> None:
    """Without a bundle its steps are skipped, and only the policy decides."""
    for verdict in (ALLOWED, Verdict(False, True, 62, "policy", "nothing is attested")):
        steps = noted(Judgement((), verdict, verdict.exit_code, verdict.reason, "policy"))
        assert {steps[name].result for name in OF_BUNDLES} == {Result.SKIPPED}
        assert (steps["policy"].result is Result.PASSED) is verdict.allowed


def test_no_log() -> None:
    """What no log took in has no log to hold: the step is skipped; when it was signed is told all the same."""
    steps = noted(Judgement((bundle(log=LogKind.NONE),), ALLOWED, 0, "allowed", "policy"))
    assert steps["log"].result is Result.SKIPPED
    assert steps["identity"].evidence["signed_at"] == 1


def test_order() -> None:
    """A step out of order is a fault of ours, and a chain without an end is none."""
    chain = Chain()
    with pytest.raises(AssertionError, match="not the next step"):
        chain.passed("snapshot", "too early")
    with pytest.raises(AssertionError, match="each step once"):
        chain.finished()


@pytest.mark.parametrize(
    ("name", "exit_code", "code"),
    [
        ("root", 10, "network-failure"),
        ("timestamp", 20, "below-threshold"),
        ("snapshot", 21, "expired"),
        ("snapshot", 22, "rolled-back"),
        ("target", 23, "invalid-metadata"),
        ("target", 11, "no-such-target"),
        ("pointer", 30, "pointer-unreadable"),
        ("pointer", 31, "pointer-mismatch"),
        ("digest", 40, "wrong-length"),
        ("digest", 41, "wrong-digest"),
        ("attestation digest", 50, "attestation-altered"),
        ("policy", 23, "invalid-metadata"),
        ("catalogue", 10, "catalogue-contradicts"),
    ],
)
def test_codes_of_links(name: str, exit_code: int, code: str) -> None:
    """A link that breaks without an attestation being judged has the code of the client's failure; one that holds, or
    is not looked at, has none."""
    chain = Chain()
    chain.skip_to(name, "x")
    with pytest.raises(Broken, match="why"):
        raise chain.failed(name, exit_code, "why")
    steps = chain.finished()
    assert [(step.name, step.code) for step in steps if step.code is not None] == [(name, code)]
    assert Verification(steps).exit_code == exit_code
