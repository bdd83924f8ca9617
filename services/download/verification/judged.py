"""From a judgement on a file's bundles to the steps of its chain. Pure."""

from __future__ import annotations

from typing import Any

from countermark.core.attestations.judgements import CHAIN_STEPS, BundleReport, Judgement
from countermark.core.attestations.results import EXIT_CODES
from countermark.core.attestations.results import Step as BundleStep
from countermark.core.attestations.trust_material import TrustMaterial
from countermark.core.codes import judgement_code
from countermark.core.digest import sha256_of
from services.download.verification.claims import claims_of
from services.download.verification.steps import IDENTITY, LOG, OF_BUNDLES, POLICY, STATEMENT, Chain

_PASSED = {
    "statement": "it is an in-toto statement of a type that is known",
    "subject": "it speaks of this file, by name and sha256",
    "signature": "the signer's key signed the statement",
    "identity": "the signer's certificate holds, or the key is one that is named",
    "log": "log and times hold",
}

_WHO = ("root", "root_kind", "issuer", "san", "san_type", "certificate", "key", "signed_at")
_WHEN = ("log", "log_index", "log_origin", "signed_at")
"""What is told of a bundle that verified."""


def note_judgement(chain: Chain, judgement: Judgement, material: TrustMaterial) -> None:
    """Note the steps of the bundle that counts, and of the policy.

    Args:
        judgement: on all bundles of the file, as clients come to it.
        material: what was judged by.

    Raises:
        Broken: one of them failed.
    """
    counting = _counting(judgement) if judgement.bundles else None
    if counting is None or not _decides(judgement, counting):
        why = "the file has no attestation"
        if counting is not None:
            why = f"no attestation verifies, and the policy decides without one: {counting.failure}"
        for name in OF_BUNDLES:
            chain.skipped(name, why)
    else:
        _note_bundle(chain, judgement, counting)
    verdict = judgement.verdict
    evidence: dict[str, Any] = {
        "trust_version": material.version,
        "policy_sha256": None if material.policy is None else sha256_of(material.policy),
        "roots": {path: sha256_of(root) for path, root in sorted(material.roots.items())},
        "attestations": len(judgement.bundles),
        "verdict": verdict.to_document(),
    }
    if judgement.passed:
        chain.passed(POLICY, judgement.reason, **evidence)
        return
    raise chain.refused(POLICY, judgement.exit_code, judgement_code(judgement), judgement.reason, **evidence)


def _counting(judgement: Judgement) -> BundleReport:
    """Return the bundle whose steps are told: the named one when it failed, else the one that verified first."""
    first = judgement.bundles[0]
    if first.failure is not None and judgement.exit_code == EXIT_CODES[first.failure.step]:
        return first
    return next((one for one in judgement.bundles if one.failure is None), first)


def _decides(judgement: Judgement, report: BundleReport) -> bool:
    """Return whether a bundle's own steps are those of the file: it verified, or the file is refused for its failure.

    Of a file that passes without any, one that nobody names and that no root knows any more is no fault.
    """
    failure = report.failure
    return failure is None or (judgement.exit_code, judgement.step) == (
        EXIT_CODES[failure.step],
        CHAIN_STEPS[failure.step],
    )


def _note_bundle(chain: Chain, judgement: Judgement, report: BundleReport) -> None:
    verdict, verified = judgement.verdict, report.verified
    known: dict[str, Any] = {} if verified is None else verified.to_document() | {"predicate": None}
    evidence = {"bundle_sha256": report.bundle_sha256, "predicate_type": report.predicate_type}
    code = judgement_code(judgement)
    passed = dict(report.steps)
    for name in OF_BUNDLES:
        mine = [step for step, link in CHAIN_STEPS.items() if link == name and step is not BundleStep.IDENTITY]
        if report.failure is not None and CHAIN_STEPS[report.failure.step] == name:
            failure = report.failure
            raise chain.refused(name, EXIT_CODES[failure.step], code, failure.detail, **evidence)
        if not judgement.passed and report.failure is None and verdict.step == name:
            checks = verdict.to_document()["checks"]
            raise chain.refused(name, verdict.exit_code, code, verdict.reason, **evidence, checks=checks)
        if name == LOG and verified is not None and verified.log == "none":
            chain.skipped(name, "no log took it in, and none is demanded")
        elif name == STATEMENT and verified is not None:
            chain.passed(name, _PASSED[name], **evidence, claims=claims_of(verified))
        elif name == IDENTITY and verified is not None:
            chain.passed(name, _PASSED[name], **evidence, **{one: known[one] for one in _WHO})
        elif name == LOG and verified is not None:
            chain.passed(name, _PASSED[name], **evidence, **{one: known[one] for one in _WHEN})
        elif all(passed.get(step) for step in mine):
            chain.passed(name, _PASSED[name], **evidence)
        else:
            chain.skipped(name, "not looked at")
