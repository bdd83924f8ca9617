"""What was found out of a file's bundles, and what follows from it. Pure, JSON both ways.

Source: trust contract sections 3.3 (exit codes) and 4; ADR 0041.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from countermark.core.attestations.facts import VerifiedBundle
from countermark.core.attestations.results import EXIT_CODES, Failed, Step
from countermark.core.digest import Sha256, parse_sha256
from countermark.core.policy.verdicts import Verdict

CHAIN_STEPS: Mapping[Step, str] = {
    Step.STRUCTURE: "statement",
    Step.STATEMENT: "statement",
    Step.SUBJECT: "subject",
    Step.SIGNATURE: "signature",
    Step.CERTIFICATE: "identity",
    Step.LOG: "log",
    Step.WINDOWS: "log",
    Step.IDENTITY: "identity",
}
"""The link of the numbered chain, which clients print, that a step of a bundle belongs to."""


class MalformedJudgement(ValueError):
    """A document is not what `to_document` makes."""


@dataclass(frozen=True, slots=True)
class JudgedFile:
    """The file that is asked about.

    Attributes:
        index: `owner/name`.
        project: its normalised name.
        file_name: exactly as the pointer names it.
    """

    index: str
    project: str
    version: str
    file_name: str
    sha256: Sha256

    def to_document(self) -> dict[str, Any]:
        """Return this in JSON."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_document(cls, document: Any) -> JudgedFile:
        """Read what `to_document` made.

        Raises:
            MalformedJudgement: it is something else.
        """
        if not isinstance(document, dict) or document.keys() != set(cls.__slots__):
            raise MalformedJudgement("a file is an object with exactly its five keys")
        if not all(isinstance(value, str) for value in document.values()):
            raise MalformedJudgement("a file is described by texts")
        try:
            return cls(**(document | {"sha256": parse_sha256(document["sha256"])}))
        except ValueError as error:
            raise MalformedJudgement(str(error)) from error


@dataclass(frozen=True, slots=True)
class BundleReport:
    """What was found out of one bundle.

    Attributes:
        bundle_sha256: of its bytes.
        steps: every step with whether it passed; None for what was not looked at, or is not there to look at. Whose
            it is to be, IDENTITY, only a policy says: it is in the verdict.
        failure: the first step that failed; None when the bundle verified.
        verified: what is proven then.
        elsewhere: the same, of each other root that it verifies against as well.
        predicate_type: of the statement, where it could be read, whether or not it verified.
    """

    bundle_sha256: Sha256
    steps: tuple[tuple[Step, bool | None], ...]
    failure: Failed | None
    verified: VerifiedBundle | None
    elsewhere: tuple[VerifiedBundle, ...] = ()
    predicate_type: str | None = None

    @property
    def evidence(self) -> tuple[VerifiedBundle, ...]:
        """All that is proven, for whoever evaluates a policy."""
        return () if self.verified is None else (self.verified, *self.elsewhere)

    def to_document(self) -> dict[str, Any]:
        """Return this in JSON."""
        failure = self.failure
        return {
            "bundle_sha256": self.bundle_sha256,
            "predicate_type": self.predicate_type,
            "steps": [{"step": step, "passed": passed} for step, passed in self.steps],
            "failure": None if failure is None else {"step": failure.step, "detail": failure.detail},
            "verified": None if self.verified is None else self.verified.to_document(),
            "elsewhere": [one.to_document() for one in self.elsewhere],
        }

    @classmethod
    def from_document(cls, document: Any) -> BundleReport:
        """Read what `to_document` made.

        Raises:
            MalformedJudgement: it is something else, or says both that the bundle verified and that it failed.
        """
        try:
            failure, verified = document["failure"], document["verified"]
            if (failure is None) is (verified is None):
                raise MalformedJudgement("a bundle verified, or a step of it failed: one of the two")
            return cls(
                bundle_sha256=parse_sha256(document["bundle_sha256"]),
                steps=tuple((Step(one["step"]), _passed(one["passed"])) for one in document["steps"]),
                failure=None if failure is None else Failed(Step(failure["step"]), str(failure["detail"])),
                verified=None if verified is None else VerifiedBundle.from_document(verified),
                elsewhere=tuple(VerifiedBundle.from_document(one) for one in document["elsewhere"]),
                predicate_type=document["predicate_type"],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise MalformedJudgement(f"it is no report on a bundle: {error}") from error


@dataclass(frozen=True, slots=True)
class Judgement:
    """What follows for a file from its bundles and the policy.

    Attributes:
        bundles: what was found out of each, the one that the pointer names first.
        verdict: what the policy says of what verified.
        exit_code: 0, or that of the first thing that failed: the named bundle, else the policy.
        reason: a sentence for people.
        step: the link of the numbered chain that it broke at; `policy` where it held.
    """

    bundles: tuple[BundleReport, ...]
    verdict: Verdict
    exit_code: int
    reason: str
    step: str

    @property
    def passed(self) -> bool:
        """Whether the file may be taken."""
        return self.exit_code == 0

    def for_clients(self, *, is_named: bool) -> Judgement:
        """Return what a client ends with, which has no word of the registry for bundles that no pointer names: of
        those, one that does not verify is no evidence, and nothing more. The policy decides, 60 to 62.

        Args:
            is_named: whether the first of the bundles is the one that the pointer names.
        """
        if self.passed or (is_named and self.bundles and self.bundles[0].failure is not None):
            return self
        failures = [one.failure for one in self.bundles if one.failure is not None]
        reason = self.verdict.reason
        if failures:
            nearest = max(failures, key=lambda failure: list(Step).index(failure.step))
            of = f"{len(failures)} attestation(s) that no pointer names do not verify"
            reason = f"{reason}; {of}: {nearest.detail} ({nearest.step})"
        verdict = self.verdict
        return Judgement(self.bundles, verdict, verdict.exit_code, reason, verdict.step)

    def to_document(self) -> dict[str, Any]:
        """Return this in JSON."""
        return {
            "bundles": [one.to_document() for one in self.bundles],
            "verdict": self.verdict.to_document(),
            "exit_code": self.exit_code,
            "reason": self.reason,
            "step": self.step,
        }

    @classmethod
    def from_document(cls, document: Any) -> Judgement:
        """Read what `to_document` made.

        Raises:
            MalformedJudgement: it is something else, or passes a file that its verdict does not allow.
        """
        try:
            found = cls(
                bundles=tuple(BundleReport.from_document(one) for one in document["bundles"]),
                verdict=Verdict.from_document(document["verdict"]),
                exit_code=document["exit_code"],
                reason=document["reason"],
                step=document["step"],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise MalformedJudgement(f"it is no judgement: {error}") from error
        known = {0, 62, *EXIT_CODES.values()}
        if type(found.exit_code) is not int or found.exit_code not in known:
            raise MalformedJudgement("its exit code is none of a judgement")
        if found.passed and not found.verdict.allowed:
            raise MalformedJudgement("it passes a file that its verdict does not allow")
        return found


def _passed(value: Any) -> bool | None:
    if value is not None and not isinstance(value, bool):
        raise MalformedJudgement("whether a step passed is true, false or null")
    return value
