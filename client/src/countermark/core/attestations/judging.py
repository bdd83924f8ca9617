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
from countermark.core.attestations.provenance import ReadJson
from countermark.core.attestations.results import EXIT_CODES, Failed, Step
from countermark.core.attestations.trust_material import TrustMaterial
from countermark.core.digest import Sha256, sha256_of
from countermark.core.policy.evaluating import PolicyFile, evaluate
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
        unreadable: why the policy cannot be read; None where it can.
    """

    verifier: BundleVerifier
    policy: Policy | None
    unreadable: str | None


class Judge:
    """Judges many files, and keeps what it read of the last materials. It may be asked by several threads."""

    def __init__(self, read_json: ReadJson) -> None:
        self._read_json = read_json
        self._warm: OrderedDict[Sha256, _Ready] = OrderedDict()
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
        reports = tuple(ready.verifier.verify(body, file.file_name, file.sha256) for body in bodies)
        verdict = _verdict(ready, file, reports, now, had_provenance)
        return _concluded(reports, verdict, is_named=named is not None)

    def _ready(self, material: TrustMaterial) -> _Ready:
        key = material.sha256()
        with self._lock:
            found = self._warm.get(key)
            if found is None:
                found = self._warm[key] = _read(material, self._read_json)
            self._warm.move_to_end(key)
            if len(self._warm) > _WARM:
                self._warm.popitem(last=False)
            return found


def judge(  # noqa: PLR0913, PLR0917 - a question of `Judge`, and what it is made of
    material: TrustMaterial,
    file: JudgedFile,
    named: bytes | None,
    others: Sequence[bytes],
    now: int,
    had_provenance: bool | None,
    read_json: ReadJson,
) -> Judgement:
    """Judge one file; see `Judge.judge`, which is made for more."""
    return Judge(read_json).judge(material, file, named, others, now, had_provenance)


def _read(material: TrustMaterial, read_json: ReadJson) -> _Ready:
    """Read material: the roots that the policy names, under its names for them; without one all, by their paths."""
    if material.policy is None:
        return _Ready(BundleVerifier(material.roots, {}, read_json), None, None)
    try:
        policy = parse_policy(material.policy)
    except InvalidPolicy as error:
        # Roots are named by policies: whoever cannot read one knows none.
        return _Ready(BundleVerifier({}, {}, read_json), None, str(error)[:300])
    return _Ready(_verifier(policy, material, read_json), policy, None)


def _verifier(policy: Policy, material: TrustMaterial, read_json: ReadJson) -> BundleVerifier:
    # What is named and not signed is no root: it is told as one that cannot be read. What is signed and not named is
    # no builder's, and still verifies what a pointer names where nothing is demanded; names are never paths.
    roots = {name: material.roots.get(path, b"") for name, path in policy.roots.items()}
    roots |= {path: content for path, content in material.roots.items() if path not in policy.roots.values()}
    logless = {
        policy.builders[name].root for rule in policy.rules if LogKind.NONE in rule.log_kinds for name in rule.builders
    }
    return BundleVerifier(
        roots,
        {name: pem.encode() for name, pem in policy.keys.items()},
        read_json,
        test_roots=policy.test_roots,
        without_log={name for name in logless if name is not None},
    )


def _verdict(
    ready: _Ready, file: JudgedFile, reports: Sequence[BundleReport], now: int, had_provenance: bool | None
) -> Verdict:
    if ready.unreadable is not None:
        reason = f"the signed policy cannot be read, so nothing is taken: {ready.unreadable}"
        return Verdict(allowed=False, demanded=True, exit_code=62, step="policy", reason=reason)
    evidence = [one for report in reports for one in report.evidence]
    asked = PolicyFile(file.index, file.project, file.version, file.file_name)
    return evaluate(ready.policy, asked, evidence, now, had_provenance)


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
    verdict = Verdict(allowed=False, demanded=True, exit_code=62, step="policy", reason=failure.detail)
    return Judgement((report,), verdict, EXIT_CODES[failure.step], failure.detail, CHAIN_STEPS[failure.step])
