"""Links 8 to 13 of the chain: what a file's attestations prove, and whether the signed policy allows the file.

The attestation that the pointer names is judged first, and has to verify whatever else there is. Where it does not
satisfy the policy, or none is named, further evidence is looked for (`further`), and the policy decides over all that
verifies. Only where there is evidence is the library for attestations loaded, which takes half a second.

Source: trust contract sections 3.3 (steps and exit codes) and 4.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from countermark.chain import FURTHER, Report, Step, link_of
from countermark.core.attestations.facts import LogKind, VerifiedBundle
from countermark.core.attestations.judgements import CHAIN_STEPS, BundleReport, JudgedFile, Judgement
from countermark.core.attestations.trust_material import TrustMaterial
from countermark.core.codes import NO_POLICY, POLICY_UNREADABLE, code_of, failed_check, judgement_code
from countermark.core.digest import sha256_of
from countermark.core.errors import (
    AttestationUnreadable,
    ClientError,
    IdentityRefused,
    LogRefused,
    PolicyRefused,
    SubjectMismatch,
)
from countermark.core.policy import InvalidPolicy, Policy, PolicyFile, Verdict, evaluate, parse_policy
from countermark.further import Further

if TYPE_CHECKING:
    from countermark.core.attestations.judging import Judge

_REFUSALS: Mapping[int, type[ClientError]] = {
    refusal.exit_code: refusal
    for refusal in (AttestationUnreadable, SubjectMismatch, IdentityRefused, LogRefused, PolicyRefused)
}

_MOST_FAULTS = 3
"""Reasons that are told of what could not be read."""


def _now() -> int:
    return int(time.time())


@dataclass(slots=True)
class Examiner:
    """Examines files, from several threads; what it learns of trust roots is kept for the next file.

    Attributes:
        report: is told of each link that holds.
        now: seconds since 1970.
    """

    report: Report
    now: Callable[[], int] = _now
    _judge: Judge | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _policies: dict[bytes, Policy] = field(default_factory=dict)

    def examine(
        self,
        file: JudgedFile,
        material: TrustMaterial,
        bundle: bytes | None,
        further: Callable[[], Iterable[Further]] = tuple,
    ) -> tuple[bytes, ...]:
        """Check all that is known of a file beside its bytes; return the further evidence that the file was allowed by.

        Args:
            file: whose bytes were compared with its pointer.
            material: the policy, and the roots where there may be evidence, that the trust role signed.
            bundle: the attestation that the pointer names, None where it names none.
            further: looks for more, at one place after the other; asked where that can make a difference.

        Raises:
            EvidenceRefused: the first link that failed; its class has the exit code.
        """
        # Before a bundle is blamed: whoever cannot read the policy does not know its roots.
        policy = None if material.policy is None else self._read(material.policy)
        found = _Found(self._first(file, material, policy, bundle))
        if not found.judgement.passed and _may_help(policy, file, found.judgement, bundle):
            found = self._with_further(file, material, bundle, further(), found)
        judgement = found.judgement
        decided = _deciding(policy, file, judgement, self.now(), is_named=bundle is not None)
        failed = None if judgement.passed else judgement.step
        if decided is not None:
            named = bundle is not None and decided is judgement.bundles[0]
            for step in _links(file, decided, failed, is_named=named):
                self.report(step)
        if failed is not None:
            problem = f"{file.file_name}: {judgement.reason}"
            raise _refusal(judgement.exit_code, failed, problem, *_for_machines(file, policy, judgement))
        attested = decided is not None
        if policy is None and not attested:
            reason = "the signed trust role holds no policy and the pointer names no attestation"
            self._report_policy(file, {"attested": False, "demanded": False, "code": NO_POLICY, "reason": reason})
        else:
            rule = _rule(file, policy)
            self._report_policy(file, {"attested": attested, **_of_verdict(judgement.verdict), **rule})
        return found.bundles

    def wants_evidence(self, policy: bytes | None, index: str, project: str) -> bool:
        """Return whether the policy demands evidence of a file; one that cannot be read is told by `examine`."""
        try:
            rule = None if policy is None else self._read(policy).rule_for(index, project)
        except PolicyRefused:
            return False
        return rule is not None and not rule.deny and rule.attested

    def takes_summaries(self, policy: bytes | None, index: str, project: str) -> bool:
        """Return whether the policy takes of a file what some verifier found; as `wants_evidence`."""
        try:
            rule = None if policy is None else self._read(policy).rule_for(index, project)
        except PolicyRefused:
            return False
        return rule is not None and bool(rule.verifiers)

    def _first(
        self, file: JudgedFile, material: TrustMaterial, policy: Policy | None, bundle: bytes | None
    ) -> Judgement:
        """Judge a file by what its pointer names."""
        if bundle is not None:
            return self._open_judge().judge(material, file, bundle, (), self.now(), None)
        verdict = evaluate(policy, _policy_file(file), (), self.now(), None)
        return Judgement((), verdict, verdict.exit_code, verdict.reason, verdict.step)

    def _with_further(
        self,
        file: JudgedFile,
        material: TrustMaterial,
        bundle: bytes | None,
        places: Iterable[Further],
        before: _Found,
    ) -> _Found:
        """Judge a file by all that is to be had of it, from the first place where that satisfies the policy; where none
        does, what came nearest."""
        nearest, faults = before, list[str]()
        for place in places:
            faults += place.faults
            found = before
            if place.bundles:
                judged = self._open_judge().judge(material, file, bundle, place.bundles, self.now(), None)
                found = _Found(judged.for_clients(is_named=bundle is not None), place.bundles)
            self.report(_looked(file, found.judgement, place, bundle))
            if found.judgement.passed:
                return found.verified()
            if found.bundles and (nearest is before or found.rank > nearest.rank):
                nearest = found
        return nearest.with_faults(tuple(dict.fromkeys(faults)))

    def _read(self, policy: bytes) -> Policy:
        """Return a policy, read once.

        Raises:
            PolicyRefused: it cannot be read.
        """
        found = self._policies.get(policy)
        if found is None:
            try:
                found = self._policies[policy] = parse_policy(policy)
            except InvalidPolicy as error:
                problem = f"the registry's signed policy cannot be read: {error}"
                raise _refusal(62, "policy", problem, POLICY_UNREADABLE, {}) from error
        return found

    def _open_judge(self) -> Judge:
        with self._lock:
            if self._judge is None:
                # Deferred on purpose: what has no attestation does not wait for sigstore.
                from countermark.core.attestations.judging import Judge  # noqa: PLC0415

                self._judge = Judge()
            return self._judge

    def _report_policy(self, file: JudgedFile, facts: Mapping[str, object]) -> None:
        self.report(Step("policy", {"file": file.file_name, **facts}))


@dataclass(frozen=True, slots=True)
class _Found:
    """A judgement, and the further evidence that was part of it."""

    judgement: Judgement
    bundles: tuple[bytes, ...] = ()

    @property
    def rank(self) -> int:
        """How far it came: an identity that is refused, then a log, then the policy."""
        return self.judgement.exit_code if any(one.verified for one in self.judgement.bundles) else 0

    def verified(self) -> _Found:
        """Return this with those bundles alone that verified."""
        good = {report.bundle_sha256 for report in self.judgement.bundles if report.failure is None}
        return replace(self, bundles=tuple(bundle for bundle in self.bundles if sha256_of(bundle) in good))

    def with_faults(self, faults: tuple[str, ...]) -> _Found:
        """Return this with words about what could not be read."""
        if not faults:
            return self
        reason = f"{self.judgement.reason}; further attestations could not be read: {'; '.join(faults[:_MOST_FAULTS])}"
        return replace(self, judgement=replace(self.judgement, reason=reason))


def _policy_file(file: JudgedFile) -> PolicyFile:
    return PolicyFile(file.index, file.project, file.version, file.file_name)


def _may_help(policy: Policy | None, file: JudgedFile, judgement: Judgement, bundle: bytes | None) -> bool:
    """Return whether more evidence can let a file pass: no named attestation failed, and the rule takes evidence."""
    if bundle is not None and judgement.bundles and judgement.bundles[0].failure is not None:
        return False
    rule = None if policy is None else policy.rule_for(file.index, file.project)
    return rule is not None and not rule.deny


def _deciding(
    policy: Policy | None, file: JudgedFile, judgement: Judgement, now: int, *, is_named: bool
) -> BundleReport | None:
    """Return the bundle whose links are told: the one that satisfies the policy by itself, else the named one, else the
    first that verified; None without any."""
    verified = [report for report in judgement.bundles if report.failure is None]
    if judgement.passed and len(judgement.bundles) > 1:
        for report in verified:
            if evaluate(policy, _policy_file(file), report.evidence, now, None).allowed:
                return report
    if is_named:
        return judgement.bundles[0] if judgement.bundles else None
    return verified[0] if verified else None


def _looked(file: JudgedFile, judgement: Judgement, place: Further, named: bytes | None) -> Step:
    """Return what a look at one place found, as a step beside the chain."""
    mine = {sha256_of(bundle) for bundle in place.bundles} - ({sha256_of(named)} if named is not None else set())
    reports = [report for report in judgement.bundles if report.bundle_sha256 in mine]
    told = [
        {
            "sha256": report.bundle_sha256,
            "predicate": report.predicate_type,
            "verified": report.failure is None,
            "failure": None if report.failure is None else f"{report.failure.detail} ({report.failure.step})",
        }
        for report in reports
    ]
    counts = {"found": len(reports), "verified": sum(report.failure is None for report in reports)}
    unread = len(place.faults) or None
    facts = {"file": file.file_name, **counts, "unread": unread, "bundles": told, "faults": list(place.faults)}
    return Step(FURTHER, facts)


def _links(file: JudgedFile, bundle: BundleReport, failed: str | None, *, is_named: bool) -> Iterator[Step]:
    """Yield the links from the statement to the log that hold, up to the one that failed."""
    facts = dict(_facts(file, bundle))
    if not is_named:
        facts["statement"] = {**facts["statement"], "attestation": bundle.bundle_sha256}
    broken = link_of(failed or "policy")
    for name in ("statement", "subject", "signature", "identity", "log"):
        link = link_of(name)
        if broken is not None and link is not None and link.number >= broken.number:
            return
        results = [passed for check, passed in bundle.steps if CHAIN_STEPS[check] == name]
        # What was not looked at, or what is not there to look at: a named key has neither certificate nor log.
        if False not in results and (True in results or name in facts):
            yield Step(name, {"file": file.file_name, **facts.get(name, {})})


def _facts(file: JudgedFile, bundle: BundleReport) -> Mapping[str, Mapping[str, object]]:
    """Return link -> what is known of it."""
    found: dict[str, Mapping[str, object]] = {
        "statement": {"predicate": bundle.predicate_type},
        "subject": {"subject": file.file_name, "sha256": file.sha256},
        "signature": {"by": "the key that the bundle names"},
    }
    verified = bundle.verified
    if verified is None:
        return found
    signer = {"key_sha256": verified.key} if verified.key else {"by": "the key of the certificate"}
    identity = {"subject": verified.san, "issuer": verified.issuer, "root": verified.root, "key": verified.key}
    return found | {"signature": signer, "identity": identity, "log": _of_log(verified)}


def _of_log(verified: VerifiedBundle) -> Mapping[str, object]:
    signed_at = datetime.fromtimestamp(verified.signed_at, UTC).isoformat() if verified.signed_at else None
    if verified.log is LogKind.NONE:
        return {"log": "none", "signed_at": signed_at}
    return {"log": verified.log_origin, "index": verified.log_index, "signed_at": signed_at}


def _of_verdict(verdict: Verdict) -> Mapping[str, object]:
    return {
        "code": code_of(verdict),
        "demanded": verdict.demanded,
        "rule": verdict.rule,
        "builder": verdict.builder,
        "verifier": verdict.verifier,
        "level": verdict.level,
        "source": verdict.source,
        "ref": verdict.ref,
        "commit": verdict.commit,
        "reason": verdict.reason,
    }


def _for_machines(file: JudgedFile, policy: Policy | None, judgement: Judgement) -> tuple[str, Mapping[str, object]]:
    """Return the code of a refusal, and what was compared: of the attestation that failed, else of the policy."""
    code, failed = judgement_code(judgement), judgement.verdict.failed
    if failed_check(judgement) is not None:
        return code, {}
    compared = {} if failed is None else {"wanted": failed.wanted, "found": failed.found}
    return code, compared | _rule(file, policy)


def _rule(file: JudgedFile, policy: Policy | None) -> dict[str, object]:
    """Return which rule of a policy decides, as it is written there; empty where there is none."""
    rule = None if policy is None else policy.rule_for(file.index, file.project)
    return {} if rule is None else {"match": rule.match, "indexes": list(rule.indexes)}


def _refusal(exit_code: int, step: str, problem: str, code: str, details: Mapping[str, object]) -> ClientError:
    error = _REFUSALS.get(exit_code, PolicyRefused)(problem.rstrip("."))
    error.step, error.code, error.details = step, code, details
    return error
