"""Whether a verification summary satisfies a rule in place of build provenance. Pure.

Its signer and the verifier that it names are a pair: who signs for one verifier says nothing for another. It counts for
the very file alone, when it says PASSED, and up to the level that the policy trusts the verifier with. Of the source it
says nothing: a rule that asks for one takes it only by a policy of the verifier that the signed policy pins.
Source: trust contract sections 3.3 and 4 (VSA); slsa-framework/slsa, spec/verification_summary.md, "How to verify";
ADR 0043.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from countermark.core.attestations.facts import VerifiedBundle
from countermark.core.attestations.summary import Summary, UnreadableSummary, read_summary, resource_uri
from countermark.core.policy.files import PolicyFile
from countermark.core.policy.findings import Finding, aged, leading, recorded
from countermark.core.policy.identities import check_identity, signers_of
from countermark.core.policy.model import Policy, Rule, Verifier
from countermark.core.policy.seeing import contradiction_in
from countermark.core.policy.verdicts import Check, CheckName


@dataclass(frozen=True, slots=True)
class Summarised:
    """What was found of a summary.

    Attributes:
        verifier: whose signer signed it; None where that is none of the rule's.
        level: what it counts for; None where it cannot be read.
    """

    verifier: Verifier | None
    level: int | None
    findings: tuple[Finding, ...]


def check_summary(policy: Policy, rule: Rule, file: PolicyFile, evidence: VerifiedBundle, now: int) -> Summarised:
    """Check a summary against that verifier of the rule which it fits best."""
    named = [policy.verifiers[name] for name in rule.verifiers]
    summary = _read(evidence)
    tried = [
        _summarised(policy, rule, file, one, evidence, summary, now)
        for one in signers_of(policy, named, evidence, file.version)
    ]
    if tried:
        return max(tried, key=lambda one: (all(found.check.ok for found in one.findings), leading(one.findings)))
    elsewhere = next(signers_of(policy, policy.verifiers.values(), evidence, file.version), None)
    if elsewhere is not None:
        check = Check("verifier", " or ".join(rule.verifiers), elsewhere.name, ok=False)
        return Summarised(None, None, (Finding(check, 62),))
    return Summarised(None, None, max((_identity(policy, one, evidence, file) for one in named), key=leading))


def _summarised(  # noqa: PLR0913, PLR0917 - all that a summary is compared with
    policy: Policy,
    rule: Rule,
    file: PolicyFile,
    verifier: Verifier,
    evidence: VerifiedBundle,
    summary: Summary | str,
    now: int,
) -> Summarised:
    findings = [*_identity(policy, verifier, evidence, file)]
    if isinstance(summary, str):
        findings.append(Finding(Check("summary", "a predicate of its type", summary, ok=False), 62))
        return Summarised(verifier, None, tuple(findings))
    level = min(summary.level, verifier.level)
    findings += _signed(verifier, evidence, summary)
    findings.append(recorded(rule, evidence.log))
    findings += aged(rule, _since(evidence, summary), now, "it does not say when it was verified (timeVerified)")
    findings += _said(rule, file, verifier, summary, level)
    return Summarised(verifier, level, tuple(findings))


def _read(evidence: VerifiedBundle) -> Summary | str:
    """Return what a summary says, or why it cannot be read."""
    try:
        return read_summary(evidence.predicate)
    except UnreadableSummary as error:
        return str(error)


def _identity(policy: Policy, verifier: Verifier, evidence: VerifiedBundle, file: PolicyFile) -> tuple[Finding, ...]:
    return tuple(Finding(check, 60) for check in check_identity(policy, verifier, evidence, file.version))


def _signed(verifier: Verifier, evidence: VerifiedBundle, summary: Summary) -> Iterator[Finding]:
    """Check that signer and verifier are a pair; what a certificate says of a source is that of the verifier's run."""
    if (odd := contradiction_in(evidence)) is not None:
        yield Finding(Check("certificate", "old and new extensions that agree", odd, ok=False), 60)
    wanted, found = verifier.verifier_id, summary.verifier_id
    yield Finding(Check("verifier id", wanted, found, found == wanted), 60)


def _since(evidence: VerifiedBundle, summary: Summary) -> int:
    """Return what the age counts from: what is said, and never later than what is proven; 0 where nothing is said."""
    if not summary.verified_at or not evidence.signed_at:
        return max(summary.verified_at or 0, 0)
    return max(min(summary.verified_at, evidence.signed_at), 1)


def _said(rule: Rule, file: PolicyFile, verifier: Verifier, summary: Summary, level: int) -> Iterator[Finding]:
    yield Finding(Check("result", "PASSED", "PASSED" if summary.passed else "FAILED", summary.passed), 62)
    asked = {"index": str(file.index), "project": file.project, "version": file.version, "file_name": file.file_name}
    uris = [resource_uri(template, **asked) for template in verifier.resource_uris]
    yield Finding(Check("resource", " or ".join(uris), summary.resource_uri, summary.resource_uri in uris), 62)
    if verifier.policies:
        pinned, by = verifier.policies, summary.policy_sha256
        yield Finding(Check("verifier's policy", " or ".join(pinned), by, by in pinned), 62)
    claimed = f"{level}" if level == summary.level else f"{level} (it claims {summary.level})"
    yield Finding(Check("level", f"{rule.min_level} or more", claimed, level >= rule.min_level), 62)
    asked_of_source: tuple[tuple[CheckName, str | None], ...] = (
        ("source", rule.source),
        ("source ref", " or ".join(rule.source_refs)),
    )
    for name, wanted in asked_of_source:
        if wanted:
            # What the pinned policy demanded of the source was reviewed with the digest.
            found = "as the verifier's pinned policy demanded" if verifier.policies else None
            yield Finding(Check(name, f"{wanted} (or policies of the verifier)", found, bool(verifier.policies)), 62)
