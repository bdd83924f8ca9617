"""Evaluate a policy over what was proven of a file. Pure: the same code at upload, signing, download and dry run.

1. The most specific rule about the project decides; where there is none, the file is refused.
2. `deny` refuses. `attested: false` takes the file, unless `continuity` asks for evidence that was there before.
3. Of the evidence of a wanted predicate type, one must satisfy the rule; what is beside it changes nothing. A
   verification summary is wanted of the rule's `verifiers` (`summarised`), all else of its `builders`, as follows.
4. Identity (exit 60): one of the rule's builders signed, by root, issuer and subject, or by key. The certificate's
   source is the rule's, and the predicate says nothing else than the certificate of source, ref and commit.
5. Log (61): of a kind that the rule takes.
6. Policy (62): age, what built it and how, the builder's level, the predicate's source, the source ref.

The certificate is what was proven; the predicate is the builder's word, and only ever asked for more.
Source: trust contract sections 3.3 and 4, section 6 rows 10, 19, 22, 23; ADR 0038.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from countermark.core.attestations.facts import VerifiedBundle
from countermark.core.attestations.summary import SUMMARY
from countermark.core.policy.files import PolicyFile
from countermark.core.policy.findings import Finding, aged, leading, recorded
from countermark.core.policy.identities import check_identity, signers_of
from countermark.core.policy.model import SLSA, Builder, Policy, Rule, Verifier
from countermark.core.policy.patterns import VERSION, ref_fits
from countermark.core.policy.seeing import SOURCE, Seen, look
from countermark.core.policy.summarised import check_summary
from countermark.core.policy.verdicts import Check, CheckName, ExitCode, Verdict, VerdictStep

_STEPS: dict[int, VerdictStep] = {60: "identity", 61: "log", 62: "policy"}


@dataclass(frozen=True, slots=True)
class _Tried:
    """One piece of evidence against one builder or verifier.

    Attributes:
        seen: None of a verification summary, which says nothing of the source.
        level: what it counts for; None for what has no level.
    """

    seen: Seen | None
    signer: Builder | Verifier | None
    findings: tuple[Finding, ...]
    level: int | None = None

    @property
    def failed(self) -> Finding | None:
        return next((finding for finding in self.findings if not finding.check.ok), None)

    @property
    def rank(self) -> tuple[bool, bool, int]:
        """What orders attempts: those that passed, then those of a signer of the rule, then how far they came."""
        return self.failed is None, self.signer is not None, leading(self.findings)


def evaluate(
    policy: Policy | None,
    file: PolicyFile,
    evidence: Sequence[VerifiedBundle],
    now: int,
    had_provenance: bool | None,
) -> Verdict:
    """Say whether a file may be taken.

    Args:
        policy: None where the trust role signs none: then nothing is demanded.
        file: which.
        evidence: the bundles about exactly this file (name and sha256) that verified, in any order.
        now: seconds since 1970.
        had_provenance: whether an earlier release of the project had evidence; None where it is not known: continuity
            is then not judged.
    """
    if policy is None:
        return _without_policy(evidence)
    rule = policy.rule_for(str(file.index), file.project)
    if rule is None:
        return _refused(None, f"no rule of the policy is about {file.project} in {file.index}", "rule", "a rule")
    if rule.deny:
        return _refused(rule, f"the policy denies {file.project} in {file.index}", "deny", "no such file")
    if not rule.attested and not (rule.continuity and had_provenance):
        reason = f"the rule {rule.words} demands no attestation"
        return Verdict(True, False, 0, "policy", reason, rule.words, checks=())
    wanted = [one for one in evidence if one.predicate_type in rule.types]
    if not wanted:
        return _missing(rule, evidence)
    tried = (_try(policy, rule, file, one, now) for one in wanted)
    return _verdict(rule, file, max(tried, key=lambda one: one.rank))


def _without_policy(evidence: Sequence[VerifiedBundle]) -> Verdict:
    verdict = Verdict(True, False, 0, "policy", "no policy is signed: nothing is demanded")
    # The certificate of a summary speaks of the run that verified, not of the one that built.
    of_builds = [one for one in evidence if one.predicate_type != SUMMARY]
    if not of_builds:
        return verdict
    seen = look(of_builds[0])
    return replace(verdict, source=seen.source, ref=seen.ref, commit=seen.commit)


def _refused(rule: Rule | None, reason: str, name: CheckName, wanted: str, found: str | None = None) -> Verdict:
    words = None if rule is None else rule.words
    return Verdict(False, True, 62, "policy", reason, words, checks=(Check(name, wanted, found, ok=False),))


def _missing(rule: Rule, evidence: Sequence[VerifiedBundle]) -> Verdict:
    wanted = " or ".join(rule.types)
    found = ", ".join(sorted({one.predicate_type for one in evidence})) or None
    reason = f"the rule {rule.words} demands an attestation of type {wanted}; there is " + (found or "none")
    if not rule.attested:
        reason = f"releases of this project had provenance before, and this file has none: {reason}"
    return _refused(rule, reason, "predicate", wanted, found)


def _try(policy: Policy, rule: Rule, file: PolicyFile, evidence: VerifiedBundle, now: int) -> _Tried:
    """Check one piece of evidence against the builder or verifier of the rule that it comes from."""
    if evidence.predicate_type == SUMMARY:
        found = check_summary(policy, rule, file, evidence, now)
        return _Tried(None, found.verifier, found.findings, found.level)
    seen = look(evidence)
    named = [policy.builders[name] for name in rule.builders]
    if not named:
        # `attested: false` with continuity alone: any that verified will do.
        return _Tried(seen, None, (*_certified(rule, seen), *_logged(rule, seen, now)))
    builder = next(signers_of(policy, named, evidence, file.version), None)
    if builder is not None:
        identity = _identified(policy, builder, seen, file)
        origin = (*_certified(rule, seen), *_logged(rule, seen, now))
        findings = (*identity, *origin, *_built(rule, builder, seen), *_from(rule, seen, file))
        return _Tried(seen, builder, findings, builder.level if evidence.predicate_type in SLSA else None)
    elsewhere = next(signers_of(policy, policy.builders.values(), evidence, file.version), None)
    if elsewhere is not None:
        check = Check("builder", " or ".join(rule.builders), elsewhere.name, ok=False)
        return _Tried(seen, None, (Finding(check, 62),))
    return _Tried(seen, None, max((_identified(policy, one, seen, file) for one in named), key=leading))


def _identified(policy: Policy, builder: Builder, seen: Seen, file: PolicyFile) -> tuple[Finding, ...]:
    return tuple(Finding(check, 60) for check in check_identity(policy, builder, seen.evidence, file.version))


def _certified(rule: Rule, seen: Seen) -> Iterator[Finding]:
    """Check what the certificate says of the source, and that the predicate does not say otherwise."""
    if (odd := seen.contradiction) is not None:
        yield Finding(Check("certificate", "old and new extensions that agree", odd, ok=False), 60)
    certified = seen.evidence.claim(SOURCE)
    if rule.source is not None and certified is not None:
        yield Finding(Check("certificate source", rule.source, certified, certified == rule.source), 60)
    for name, number, said in seen.said:
        proven = seen.evidence.claim(number)
        # What the predicate does not say it does not contradict: the certificate's word is what counts.
        if proven is not None and said is not None:
            yield Finding(Check(name, f"{proven} (as certified)", said, said == proven), 60)


def _logged(rule: Rule, seen: Seen, now: int) -> Iterator[Finding]:
    yield recorded(rule, seen.evidence.log)
    yield from aged(rule, seen.evidence.signed_at, now, "nothing proves when it was signed")


def _built(rule: Rule, builder: Builder, seen: Seen) -> Iterator[Finding]:
    """Check what build provenance says of the build; other predicates say nothing of it."""
    if seen.evidence.predicate_type not in SLSA:
        return
    normal = seen.normal
    if normal is None:
        yield Finding(Check("provenance", "a predicate of its type", seen.fault, ok=False), 62)
        return
    ids, types = builder.builder_ids, builder.build_types
    yield Finding(Check("builder id", _one_of(ids), normal.builder_id, _is_builder(normal.builder_id, ids, seen)), 62)
    yield Finding(Check("build type", _one_of(types), normal.build_type, normal.build_type in types), 62)
    enough = builder.level >= rule.min_level
    yield Finding(Check("level", f"{rule.min_level} or more", str(builder.level), enough), 62)


def _from(rule: Rule, seen: Seen, file: PolicyFile) -> Iterator[Finding]:
    """Check where the source came from, as far as the certificate did not say it already."""
    if rule.source is not None and seen.evidence.claim(SOURCE) is None:
        yield Finding(Check("source", rule.source, seen.source, seen.source == rule.source), 62)
    if rule.source_refs:
        ref = seen.ref
        fits = ref is not None and any(ref_fits(ref, pattern, file.version) for pattern in rule.source_refs)
        wanted = " or ".join(pattern.replace(VERSION, file.version) for pattern in rule.source_refs)
        yield Finding(Check("source ref", wanted, ref, fits), 62)


def _is_builder(said: str, ids: Sequence[str], seen: Seen) -> bool:
    """Return whether a builder's id is listed, as it is or with the ref that the certificate has behind its workflow.

    Forges write the ref of the run into it, another one for every release; the predicate may not choose which.
    """
    _workflow, at, ref = (seen.evidence.san or "").partition("@")
    return said in ids or (bool(at) and any(said == f"{one}@{ref}" for one in ids))


def _one_of(texts: Sequence[str]) -> str:
    return " or ".join(texts) or "none: the policy lists none for this builder"


def _verdict(rule: Rule, file: PolicyFile, tried: _Tried) -> Verdict:
    failed, signer, seen = tried.failed, tried.signer, tried.seen
    code: ExitCode = 0 if failed is None else failed.code
    if failed is None:
        reason = f"{file.file_name} is {_in_words(signer)}, as the rule {rule.words} demands"
    else:
        found = "missing" if failed.check.found is None else repr(failed.check.found)
        reason = (
            f"{failed.check.name} of {file.file_name} is {found}; the rule {rule.words} wants {failed.check.wanted}"
        )
    return Verdict(
        allowed=failed is None,
        demanded=True,
        exit_code=code,
        step=_STEPS.get(code, "policy"),
        reason=reason,
        rule=rule.words,
        builder=signer.name if isinstance(signer, Builder) else None,
        verifier=signer.name if isinstance(signer, Verifier) else None,
        level=tried.level,
        source=None if seen is None else seen.source,
        ref=None if seen is None else seen.ref,
        commit=None if seen is None else seen.commit,
        checks=tuple(finding.check for finding in tried.findings),
    )


def _in_words(signer: Builder | Verifier | None) -> str:
    if signer is None:
        return "attested by a verified identity"
    if isinstance(signer, Verifier):
        return f"verified by {signer.name}"
    return f"attested by builder {signer.name}"
