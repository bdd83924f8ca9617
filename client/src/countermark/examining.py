"""Links 8 to 13 of the chain: what a file's attestation proves, and whether the signed policy allows the file.

Only a file that comes with an attestation has the library for attestations loaded, which takes half a second.

Source: trust contract sections 3.3 (steps and exit codes) and 4.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from countermark.chain import Report, Step, link_of
from countermark.core.attestations.facts import LogKind, VerifiedBundle
from countermark.core.attestations.judgements import CHAIN_STEPS, BundleReport, JudgedFile, Judgement
from countermark.core.attestations.trust_material import TrustMaterial
from countermark.core.errors import (
    AttestationUnreadable,
    ClientError,
    IdentityRefused,
    LogRefused,
    PolicyRefused,
    SubjectMismatch,
)
from countermark.core.policy import InvalidPolicy, Policy, PolicyFile, Verdict, evaluate, parse_policy

if TYPE_CHECKING:
    from countermark.core.attestations.judging import Judge

_REFUSALS: Mapping[int, type[ClientError]] = {
    refusal.exit_code: refusal
    for refusal in (AttestationUnreadable, SubjectMismatch, IdentityRefused, LogRefused, PolicyRefused)
}


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

    def examine(self, file: JudgedFile, material: TrustMaterial, bundle: bytes | None) -> None:
        """Check all that is known of a file beside its bytes.

        Args:
            file: whose bytes were compared with its pointer.
            material: the policy, and with a bundle the roots, that the trust role signed.
            bundle: the attestation that the pointer names, None where it names none.

        Raises:
            EvidenceRefused: the first link that failed; its class has the exit code.
        """
        if bundle is not None:
            self._examine_bundle(file, material, bundle)
        elif material.policy is not None:
            self._examine_without(file, material.policy)
        else:
            reason = "the signed trust role holds no policy and the pointer names no attestation"
            self._report_policy(file, {"attested": False, "demanded": False, "reason": reason})

    def _examine_without(self, file: JudgedFile, policy: bytes) -> None:
        about = PolicyFile(file.index, file.project, file.version, file.file_name)
        verdict = evaluate(self._read(policy), about, (), self.now(), None)
        if not verdict.allowed:
            raise _refusal(verdict.exit_code, verdict.step, f"{file.file_name}: {verdict.reason}")
        self._report_policy(file, {"attested": False, **_of_verdict(verdict)})

    def _examine_bundle(self, file: JudgedFile, material: TrustMaterial, bundle: bytes) -> None:
        if material.policy is not None:
            # Before the bundle is blamed: whoever cannot read the policy does not know its roots.
            self._read(material.policy)
        judgement = self._open_judge().judge(material, file, bundle, (), self.now(), None)
        failed = None if judgement.passed else judgement.step
        for step in _links(file, judgement, failed):
            self.report(step)
        if failed is not None:
            raise _refusal(judgement.exit_code, failed, f"{file.file_name}: {judgement.reason}")
        self._report_policy(file, {"attested": True, **_of_verdict(judgement.verdict)})

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
                raise _refusal(62, "policy", f"the registry's signed policy cannot be read: {error}") from error
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


def _links(file: JudgedFile, judgement: Judgement, failed: str | None) -> Iterator[Step]:
    """Yield the links from the statement to the log that hold, up to the one that failed."""
    bundle = judgement.bundles[0]
    facts = _facts(file, bundle)
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
        "demanded": verdict.demanded,
        "rule": verdict.rule,
        "builder": verdict.builder,
        "level": verdict.level,
        "source": verdict.source,
        "ref": verdict.ref,
        "commit": verdict.commit,
        "reason": verdict.reason,
    }


def _refusal(code: int, step: str, problem: str) -> ClientError:
    error = _REFUSALS.get(code, PolicyRefused)(problem.rstrip("."))
    error.step = step
    return error
