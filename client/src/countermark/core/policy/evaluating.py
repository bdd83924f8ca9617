"""Evaluate a policy over what was proven of a file. Pure: the same code at upload, signing, download and dry run.

1. The most specific rule about the project decides; where there is none, the file is refused.
2. `deny` refuses. `attested: false` takes the file, unless `continuity` asks for evidence that was there before.
3. Of the evidence of a wanted predicate type, one must satisfy the rule; what is beside it changes nothing.
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
from countermark.core.names import IndexName
from countermark.core.policy.identities import builder_of, check_identity
from countermark.core.policy.model import SLSA, Builder, Policy, Rule
from countermark.core.policy.normal import Normal, UnreadablePredicate, normal_form
from countermark.core.policy.patterns import ref_fits
from countermark.core.policy.verdicts import Check, ExitCode, Verdict, VerdictStep

DAY = 86_400
"""Seconds."""

_STEPS: dict[int, VerdictStep] = {60: "identity", 61: "log", 62: "policy"}

SOURCE, SOURCE_DIGEST, SOURCE_REF = 12, 13, 14
"""Numbers below 57264.1 of what Fulcio writes of a build's source: repository, commit, ref."""


@dataclass(frozen=True, slots=True)
class PolicyFile:
    """The file that a policy is asked about.

    Attributes:
        project: normalised.
        version: as its pointer has it.
    """

    index: IndexName | str
    project: str
    version: str
    file_name: str


@dataclass(frozen=True, slots=True)
class _Finding:
    check: Check
    code: ExitCode


@dataclass(frozen=True, slots=True)
class _Tried:
    """One piece of evidence against one builder."""

    evidence: VerifiedBundle
    normal: Normal | None
    builder: Builder | None
    findings: tuple[_Finding, ...]

    @property
    def failed(self) -> _Finding | None:
        return next((finding for finding in self.findings if not finding.check.ok), None)

    @property
    def reach(self) -> int:
        """How far it came."""
        return next((place for place, one in enumerate(self.findings) if not one.check.ok), len(self.findings))


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
    wanted = [one for one in evidence if one.predicate_type in rule.predicates]
    if not wanted:
        return _missing(rule, evidence)
    tried = [_try(policy, rule, file, one, now) for one in wanted]
    best = max(tried, key=lambda one: (one.failed is None, one.reach))
    return _verdict(rule, file, best)


def _without_policy(evidence: Sequence[VerifiedBundle]) -> Verdict:
    reason = "no policy is signed: nothing is demanded"
    verdict = Verdict(True, False, 0, "policy", reason)
    if not evidence:
        return verdict
    source, ref, commit = _origin(evidence[0], _normal(evidence[0]))
    return replace(verdict, source=source, ref=ref, commit=commit)


def _refused(rule: Rule | None, reason: str, name: str, wanted: str, found: str | None = None) -> Verdict:
    words = None if rule is None else rule.words
    return Verdict(False, True, 62, "policy", reason, words, checks=(Check(name, wanted, found, ok=False),))


def _missing(rule: Rule, evidence: Sequence[VerifiedBundle]) -> Verdict:
    wanted = " or ".join(rule.predicates)
    found = ", ".join(sorted({one.predicate_type for one in evidence})) or None
    reason = f"the rule {rule.words} demands an attestation of type {wanted}; there is " + (found or "none")
    if not rule.attested:
        reason = f"releases of this project had provenance before, and this file has none: {reason}"
    return _refused(rule, reason, "predicate", wanted, found)


def _try(policy: Policy, rule: Rule, file: PolicyFile, evidence: VerifiedBundle, now: int) -> _Tried:
    """Check one piece of evidence against the builder of the rule that comes nearest."""
    normal = _normal(evidence)
    named = [policy.builders[name] for name in rule.builders]
    common = (*_certified(rule, evidence, normal), *_logged(rule, evidence, now))
    if not named:
        # `attested: false` with continuity alone: any that verified will do.
        return _Tried(evidence, normal, None, (*_typed(rule, evidence), *common))
    builder = builder_of(policy, named, evidence, file.version)
    if builder is not None:
        demands = (*common, *_typed(rule, evidence), *_built(rule, builder, file, evidence, normal))
        return _Tried(evidence, normal, builder, (*_identified(policy, builder, evidence, file), *demands))
    elsewhere = builder_of(policy, policy.builders.values(), evidence, file.version)
    if elsewhere is not None:
        check = Check("builder", " or ".join(rule.builders), elsewhere.name, ok=False)
        return _Tried(evidence, normal, None, (_Finding(check, 62),))
    nearest = max((_identified(policy, one, evidence, file) for one in named), key=_leading)
    return _Tried(evidence, normal, None, nearest)


def _identified(policy: Policy, builder: Builder, evidence: VerifiedBundle, file: PolicyFile) -> tuple[_Finding, ...]:
    return tuple(_Finding(check, 60) for check in check_identity(policy, builder, evidence, file.version))


def _leading(findings: tuple[_Finding, ...]) -> int:
    return next((place for place, one in enumerate(findings) if not one.check.ok), len(findings))


def _certified(rule: Rule, evidence: VerifiedBundle, normal: Normal | None) -> Iterator[_Finding]:
    """Check what the certificate says of the source, and that the predicate does not say otherwise."""
    certified = evidence.claim(SOURCE)
    if rule.source is not None and certified is not None:
        yield _Finding(Check("certificate source", rule.source, certified, certified == rule.source), 60)
    if normal is None:
        return
    for name, number, said in (
        ("predicate source", SOURCE, normal.source),
        ("predicate ref", SOURCE_REF, normal.ref),
        ("predicate commit", SOURCE_DIGEST, normal.commit),
    ):
        proven = evidence.claim(number)
        # What the predicate does not say it does not contradict: the certificate's word is what counts.
        if proven is not None and said is not None:
            yield _Finding(Check(name, f"{proven} (as certified)", said, said == proven), 60)


def _logged(rule: Rule, evidence: VerifiedBundle, now: int) -> Iterator[_Finding]:
    kinds = " or ".join(rule.log_kinds)
    yield _Finding(Check("log", kinds, evidence.log.value, evidence.log in rule.log_kinds), 61)
    if rule.max_age_days is None:
        return
    wanted = f"at most {rule.max_age_days} days"
    if not evidence.signed_at:
        yield _Finding(Check("age", wanted, None, ok=False), 62)
        return
    age = now - evidence.signed_at
    yield _Finding(Check("age", wanted, f"{max(age, 0) // DAY} days", age <= rule.max_age_days * DAY), 62)


def _typed(rule: Rule, evidence: VerifiedBundle) -> Iterator[_Finding]:
    found = evidence.predicate_type
    yield _Finding(Check("predicate", " or ".join(rule.predicates), found, found in rule.predicates), 62)


def _built(
    rule: Rule, builder: Builder, file: PolicyFile, evidence: VerifiedBundle, normal: Normal | None
) -> Iterator[_Finding]:
    """Check what build provenance says of the build, and where the source came from."""
    if evidence.predicate_type in SLSA:
        yield from _provenance(rule, builder, normal)
    source, ref, _commit = _origin(evidence, normal)
    if rule.source is not None and evidence.claim(SOURCE) is None:
        yield _Finding(Check("source", rule.source, source, source == rule.source), 62)
    if rule.source_refs:
        fits = ref is not None and any(ref_fits(ref, pattern, file.version) for pattern in rule.source_refs)
        wanted = " or ".join(pattern.replace("{version}", file.version) for pattern in rule.source_refs)
        yield _Finding(Check("source ref", wanted, ref, fits), 62)


def _provenance(rule: Rule, builder: Builder, normal: Normal | None) -> Iterator[_Finding]:
    if normal is None:
        yield _Finding(Check("provenance", "a predicate that can be read", None, ok=False), 62)
        return
    ids, types = builder.builder_ids, builder.build_types
    yield _Finding(Check("builder id", _one_of(ids), normal.builder_id, normal.builder_id in ids), 62)
    yield _Finding(Check("build type", _one_of(types), normal.build_type, normal.build_type in types), 62)
    enough = builder.level >= rule.min_level
    yield _Finding(Check("level", f"{rule.min_level} or more", str(builder.level), enough), 62)


def _one_of(texts: Sequence[str]) -> str:
    return " or ".join(texts) or "none: the policy lists none for this builder"


def _verdict(rule: Rule, file: PolicyFile, tried: _Tried) -> Verdict:
    source, ref, commit = _origin(tried.evidence, tried.normal)
    failed = tried.failed
    code: ExitCode = 0 if failed is None else failed.code
    builder = tried.builder
    counts = builder is not None and tried.evidence.predicate_type in SLSA
    if failed is None:
        who = "a verified identity" if builder is None else f"builder {builder.name}"
        reason = f"{file.file_name} is attested by {who}, as the rule {rule.words} demands"
    else:
        found = "nothing" if failed.check.found is None else repr(failed.check.found)
        reason = (
            f"{failed.check.name} of {file.file_name} is {found}, the rule {rule.words} wants {failed.check.wanted}"
        )
    return Verdict(
        allowed=failed is None,
        demanded=True,
        exit_code=code,
        step=_STEPS.get(code, "policy"),
        reason=reason,
        rule=rule.words,
        builder=None if builder is None else builder.name,
        level=builder.level if builder is not None and counts else None,
        source=source,
        ref=ref,
        commit=commit,
        checks=tuple(finding.check for finding in tried.findings),
    )


def _normal(evidence: VerifiedBundle) -> Normal | None:
    """Return the normal form of build provenance; None for other predicates and for what cannot be read."""
    if evidence.predicate_type not in SLSA:
        return None
    try:
        return normal_form(evidence.predicate_type, evidence.predicate)
    except UnreadablePredicate:
        return None


def _origin(evidence: VerifiedBundle, normal: Normal | None) -> tuple[str | None, str | None, str | None]:
    """Return source, ref and commit: what the certificate says, else what the predicate does."""
    said = (None, None, None) if normal is None else (normal.source, normal.ref, normal.commit)
    proven = (evidence.claim(SOURCE), evidence.claim(SOURCE_REF), evidence.claim(SOURCE_DIGEST))
    source, ref, commit = (one if one is not None else other for one, other in zip(proven, said, strict=True))
    return source, ref, commit
