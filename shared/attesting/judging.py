"""Has a file's bundles judged by what key holders signed: at upload, at signing and at download verification.

Bundles are verified by the warm process; a file without any is judged here, by the same pure code, since that needs
none of the libraries. Whatever cannot be judged is an error and never a pass.
Source: trust contract sections 3.3 and 4; ADR 0037.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from countermark.core.attestations.bundle import MAX_BUNDLE_BYTES
from countermark.core.attestations.facts import VerifiedBundle
from countermark.core.attestations.judgements import JudgedFile, Judgement
from countermark.core.attestations.trust_material import TrustMaterial
from countermark.core.digest import Sha256, sha256_of
from countermark.core.policy import InvalidPolicy, Policy, PolicyFile, Verdict, evaluate, parse_policy
from shared.attesting.processes import Verifying
from shared.errors import ErrorKind, ServiceError
from shared.settings import Attestations
from shared.threads import sized

MAX_BUNDLES = 20
"""Bundles that are judged at once: the sixteen that a file may have, and those that arrive."""

_KEPT_POLICIES = 4

_MINUTE = 60
"""Seconds. Ages of signatures are told in days: within a minute the answer to the same question is the same."""


class Judging:
    """Judges files; cheap to make, and what it is given may be shared."""

    def __init__(self, settings: Attestations, verifying: Verifying) -> None:
        self._seconds = settings.seconds
        self._verifying = verifying
        self._policies: OrderedDict[Sha256, Policy] = OrderedDict()

    async def judge(
        self,
        material: TrustMaterial,
        file: JudgedFile,
        named: bytes | None,
        others: Sequence[bytes],
        now: int,
        had_provenance: bool | None,
    ) -> Judgement:
        """Return what follows for a file from its bundles.

        Args:
            material: what trust signs now: `shared.attesting.trusted`.
            named: the bundle that the file's pointer names, or is to name; None without one.
            others: all other bundles of the file, in any order.
            now: seconds since 1970.
            had_provenance: whether an earlier release of the project had evidence; None where that is not known.

        Raises:
            ServiceError: UNAVAILABLE, verifying took too long or is too busy; TOO_LARGE, there are too many bundles, or
                one is too long.
        """
        bundles = [*([] if named is None else [named]), *others]
        _bound(bundles, file)
        now -= now % _MINUTE
        if not bundles:
            return without_bundles(self.evaluate(material, file, (), now, had_provenance))
        asked = {
            "ask": "judge",
            "material": material.to_document(),
            "file": file.to_document(),
            "named": named,
            "others": list(others),
            "now": now,
            "had_provenance": had_provenance,
        }
        answer = await self._verifying.ask(asked, file.file_name, self._seconds)
        # It tells what bundles say, and hardly more.
        return await sized(sum(map(len, bundles)), Judgement.from_document, answer["judgement"])

    def evaluate(
        self,
        material: TrustMaterial,
        file: JudgedFile,
        evidence: Sequence[VerifiedBundle],
        now: int,
        had_provenance: bool | None,
    ) -> Verdict:
        """Return what the policy says of evidence that was verified before.

        Args:
            evidence: from the reports of a judgement by the same material.

        A policy that cannot be read takes nothing.
        """
        at = PolicyFile(file.index, file.project, file.version, file.file_name)
        try:
            policy = None if material.policy is None else self._policy(material.policy)
        except InvalidPolicy as error:
            reason = f"the signed policy cannot be read, so nothing is taken: {str(error)[:300]}"
            return Verdict(allowed=False, demanded=True, exit_code=62, step="policy", reason=reason)
        return evaluate(policy, at, evidence, now, had_provenance)

    def takes_summaries(self, material: TrustMaterial, file: JudgedFile) -> bool:
        """Return whether what a verifier found of a file may satisfy the rule about it."""
        try:
            policy = None if material.policy is None else self._policy(material.policy)
        except InvalidPolicy:
            return False
        rule = None if policy is None else policy.rule_for(file.index, file.project)
        return rule is not None and bool(rule.verifiers)

    def is_unreadable(self, material: TrustMaterial) -> bool:
        """Return whether a policy is signed that cannot be read: nothing is taken then, for no fault of any file."""
        try:
            if material.policy is not None:
                self._policy(material.policy)
        except InvalidPolicy:
            return True
        return False

    def _policy(self, content: bytes) -> Policy:
        """Read a policy, unless it was read before.

        Raises:
            InvalidPolicy: it is none.
        """
        key = sha256_of(content)
        policy = self._policies.get(key)
        if policy is None:
            policy = self._policies[key] = parse_policy(content)
            if len(self._policies) > _KEPT_POLICIES:
                self._policies.popitem(last=False)
        return policy


def without_bundles(verdict: Verdict) -> Judgement:
    """Return the judgement of a file that has none: what the policy says. Pure."""
    return Judgement((), verdict, verdict.exit_code, verdict.reason, verdict.step)


def _bound(bundles: Sequence[bytes], file: JudgedFile) -> None:
    if len(bundles) > MAX_BUNDLES:
        raise ServiceError(ErrorKind.TOO_LARGE, f"{file.file_name} has more than {MAX_BUNDLES} attestations.")
    if any(len(one) > MAX_BUNDLE_BYTES for one in bundles):
        words = f"An attestation of {file.file_name} has more than {MAX_BUNDLE_BYTES} bytes."
        raise ServiceError(ErrorKind.TOO_LARGE, words)
