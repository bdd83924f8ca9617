"""Judges a file: what its bundles prove, and whether the signed policy takes that. Imports sigstore.

The same code at upload, at signing, at verification by the server and by clients. The bundle that the pointer names
has to verify, whatever else there is; of all that verify one has to satisfy the policy.
Source: trust contract sections 3.3 and 4; ADR 0041.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock

from countermark.core.attestations.bundle_verifying import BundleVerifier
from countermark.core.attestations.facts import LogKind
from countermark.core.attestations.judgements import CHAIN_STEPS, BundleReport, JudgedFile, Judgement
from countermark.core.attestations.results import EXIT_CODES, Failed, Step
from countermark.core.attestations.trust_material import TrustMaterial
from countermark.core.digest import Sha256, sha256_of
from countermark.core.policy.evaluating import evaluate
from countermark.core.policy.files import PolicyFile
from countermark.core.policy.model import Policy
from countermark.core.policy.reading import InvalidPolicy, parse_policy
from countermark.core.policy.verdicts import Verdict

MAX_BUNDLES = 32
"""Bundles of one file that are judged."""

_WARM = 8
"""Materials whose verifiers are kept: an index may still be on the one before."""


@dataclass(frozen=True, slots=True)
class _Ready:
    """Material that was read.

    Attributes:
        policy: None where none is signed.
    """

    verifier: BundleVerifier
    policy: Policy | None


class Judge:
    """Judges many files, and keeps what it read of the last materials. It may be asked by several threads."""

    def __init__(self) -> None:
        self._warm: OrderedDict[Sha256, _Ready | InvalidPolicy] = OrderedDict()
        self._lock = Lock()

    def judge(
        self,
        material: TrustMaterial,
        file: JudgedFile,
        named: bytes | None,
        others: Sequence[bytes],
        now: int,
        had_provenance: bool | None,
    ) -> Judgement:
        """Judge a file. Blocking, some 5 ms for each bundle; the first question about a material takes longer.

        Args:
            named: the bundle that the pointer names; None where it names none.
            others: more bundles that are said to be about the file, in any order.
            now: seconds since 1970.
            had_provenance: whether an earlier release of the project had evidence; None where that is not known.
        """
        bodies = list(dict.fromkeys([*([] if named is None else [named]), *others]))
        if len(bodies) > MAX_BUNDLES:
            return _too_many(bodies, len(bodies))
        ready = self._ready(material)
        if isinstance(ready, InvalidPolicy):
            return _unreadable(ready)
        reports = tuple(ready.verifier.verify(body, file.file_name, file.sha256) for body in bodies)
        evidence = [one for report in reports for one in report.evidence]
        asked = PolicyFile(file.index, file.project, file.version, file.file_name)
        verdict = evaluate(ready.policy, asked, evidence, now, had_provenance)
        return _concluded(reports, verdict, is_named=named is not None)

    def _ready(self, material: TrustMaterial) -> _Ready | InvalidPolicy:
        key = material.sha256()
        with self._lock:
            found = self._warm.get(key)
            if found is None:
                found = self._warm[key] = _read(material)
            self._warm.move_to_end(key)
            if len(self._warm) > _WARM:
                self._warm.popitem(last=False)
            return found


def judge(
    material: TrustMaterial,
    file: JudgedFile,
    named: bytes | None,
    others: Sequence[bytes],
    now: int,
    had_provenance: bool | None,
) -> Judgement:
    """Judge one file; see `Judge.judge`, which is made for more."""
    return Judge().judge(material, file, named, others, now, had_provenance)


def _read(material: TrustMaterial) -> _Ready | InvalidPolicy:
    """Read material: the roots that the policy names, under its names for them; without one all, by their paths."""
    if material.policy is None:
        return _Ready(BundleVerifier(material.roots, {}), None)
    try:
        policy = parse_policy(material.policy)
    except InvalidPolicy as error:
        return error
    return _Ready(_verifier(policy, material), policy)


def _verifier(policy: Policy, material: TrustMaterial) -> BundleVerifier:
    # What is named and not signed is no root: it is told as one that cannot be read. What is signed and not named is
    # no builder's, and still verifies what a pointer names where nothing is demanded; names are never paths.
    roots = {name: material.roots.get(path, b"") for name, path in policy.roots.items()}
    roots |= {path: content for path, content in material.roots.items() if path not in policy.roots.values()}
    logless: set[str | None] = set()
    for rule in policy.rules:
        if LogKind.NONE in rule.log_kinds:
            logless |= {policy.builders[name].root for name in rule.builders}
            logless |= {policy.verifiers[name].root for name in rule.verifiers}
    return BundleVerifier(
        roots,
        {name: pem.encode() for name, pem in policy.keys.items()},
        own_keys={name for name, sha256 in policy.key_ids.items() if sha256 in material.own_keys},
        test_roots=policy.test_roots,
        without_log={name for name in logless if name is not None},
    )


def _concluded(reports: tuple[BundleReport, ...], verdict: Verdict, *, is_named: bool) -> Judgement:
    """Put together what was found: the named bundle first, then the policy, then why there is no evidence."""
    if is_named and (failure := reports[0].failure) is not None:
        return _failed(reports, verdict, failure, "the attestation that the pointer names does not verify")
    if verdict.allowed:
        return Judgement(reports, verdict, 0, verdict.reason, "policy")
    failures = [report.failure for report in reports if report.failure is not None]
    wanting = any(check.name == "predicate" for check in verdict.checks)
    if wanting and failures and len(failures) == len(reports):
        # That there is no evidence is true, and no help to whoever sent some.
        return _failed(reports, verdict, failures[0], "no attestation of this file verifies")
    return Judgement(reports, verdict, verdict.exit_code, verdict.reason, verdict.step)


def _failed(reports: tuple[BundleReport, ...], verdict: Verdict, failure: Failed, what: str) -> Judgement:
    reason = f"{what}: {failure.detail} ({failure.step})"
    return Judgement(reports, verdict, EXIT_CODES[failure.step], reason, CHAIN_STEPS[failure.step])


def _too_many(bodies: Sequence[bytes], count: int) -> Judgement:
    failure = Failed(Step.STRUCTURE, f"the file has {count} attestations; at most {MAX_BUNDLES} are judged")
    steps = tuple((step, False if step == Step.STRUCTURE else None) for step in Step)
    report = BundleReport(sha256_of(bodies[0]), steps, failure, None)
    return _failed((report,), _refused(failure.detail), failure, "nothing was verified")


def _unreadable(error: InvalidPolicy) -> Judgement:
    """Take nothing: a policy says which roots there are, so that bundles are not even verified."""
    verdict = _refused(f"the signed policy cannot be read, so nothing is taken: {str(error)[:300]}")
    return Judgement((), verdict, verdict.exit_code, verdict.reason, verdict.step)


def _refused(reason: str) -> Verdict:
    return Verdict(allowed=False, demanded=True, exit_code=62, step="policy", reason=reason)
