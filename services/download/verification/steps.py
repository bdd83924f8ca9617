"""The numbered chain of a file: what was checked, in order, and the first that failed. Pure.

The first thirteen have the numbers and the names that `countermark verify` prints; `catalogue` comes behind them: rows
that contradict what is signed, which no client sees.
Source: trust contract section 3.3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from countermark.core.codes import link_code


class Result(StrEnum):
    """How a step ended."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    """Not looked at: one before it failed, or there is nothing to look at; the reason says which."""


ROOT, TIMESTAMP, SNAPSHOT, TARGET = "root", "timestamp", "snapshot", "target"
POINTER, DIGEST = "pointer", "digest"
ATTESTATION, STATEMENT, SUBJECT, SIGNATURE = "attestation digest", "statement", "subject", "signature"
IDENTITY, LOG, POLICY, CATALOGUE = "identity", "log", "policy", "catalogue"

NAMES = (
    *(ROOT, TIMESTAMP, SNAPSHOT, TARGET),
    *(POINTER, DIGEST),
    *(ATTESTATION, STATEMENT, SUBJECT, SIGNATURE),
    *(IDENTITY, LOG, POLICY, CATALOGUE),
)
"""All steps in order; a step's number is its place, from 1."""

OF_BUNDLES = (STATEMENT, SUBJECT, SIGNATURE, IDENTITY, LOG)
"""Steps that look at a bundle itself."""

NOTHING = 10
"""What a client ends with when something cannot be had."""

NO_TARGET, OTHER_METADATA, REFUSED = 11, 23, 62
"""What a client ends with: nothing is signed; it is not what was signed; the policy does not take it."""

CONTRADICTED = "catalogue-contradicts"
"""Code of the step `catalogue`, which no client has."""

UNREADABLE, MISSING = "unreadable", "missing"
"""Evidence `policy` of the step of that name where the signed policy is none that is known here; `page` of the step
`catalogue` where the signed page cannot be had, or the core metadata are not there."""


class Fault(StrEnum):
    """Whose fault a broken link is."""

    OF_THE_FILE = "file"
    """Something about this file is not what was signed or attested: it was tampered with, or never was right."""

    OF_THE_POLICY = "policy"
    """All that is there holds, and the policy wants something else: what it takes may change without the file."""

    OF_THE_INDEX = "index"
    """Metadata of the whole index, what to judge by, or a store that lacks something."""


@dataclass(frozen=True, slots=True)
class Step:
    """A step that was done, or left out.

    Attributes:
        exit_code: what a client ends with at this step; 0 unless it failed.
        code: what a client tells machines then (`countermark.core.codes`); None unless it failed.
        reason: a sentence for people, without a full stop.
        evidence: JSON-ready: versions and digests of the documents that were looked at.
    """

    name: str
    result: Result
    reason: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    exit_code: int = 0
    code: str | None = None

    @property
    def number(self) -> int:
        """Its place in the chain."""
        return NAMES.index(self.name) + 1


def fault_of(failure: Step) -> Fault:
    """Return whose fault a broken link is. Source: ADR 0044."""
    if failure.name in (ROOT, TIMESTAMP, SNAPSHOT):
        return Fault.OF_THE_INDEX
    if failure.name == TARGET:
        return Fault.OF_THE_FILE if failure.exit_code == NO_TARGET else Fault.OF_THE_INDEX
    if failure.name == CATALOGUE:
        return Fault.OF_THE_INDEX if "page" in failure.evidence else Fault.OF_THE_FILE
    if failure.exit_code == NOTHING:
        return Fault.OF_THE_INDEX
    if failure.name == POLICY and (failure.exit_code == OTHER_METADATA or failure.evidence.get("policy") == UNREADABLE):
        return Fault.OF_THE_INDEX
    return Fault.OF_THE_POLICY if (failure.name, failure.exit_code) == (POLICY, REFUSED) else Fault.OF_THE_FILE


class Broken(Exception):
    """A step failed; nothing behind it is looked at."""


@dataclass(slots=True)
class Chain:
    """The steps so far."""

    steps: list[Step] = field(default_factory=list)

    def passed(self, name: str, reason: str, **evidence: Any) -> None:
        """Note that a step passed."""
        self._note(Step(name, Result.PASSED, reason, evidence))

    def skipped(self, name: str, reason: str) -> None:
        """Note that there is nothing to look at."""
        self._note(Step(name, Result.SKIPPED, reason))

    def failed(self, name: str, exit_code: int, reason: str, **evidence: Any) -> Broken:
        """Note that a step failed that looks into no attestation; the caller raises what is returned."""
        code = CONTRADICTED if name == CATALOGUE else link_code(exit_code)
        return self.refused(name, exit_code, code, reason, **evidence)

    def refused(self, name: str, exit_code: int, code: str, reason: str, **evidence: Any) -> Broken:
        """Note that attestations or the policy do not let a file pass; the caller raises what is returned."""
        self._note(Step(name, Result.FAILED, reason, evidence, exit_code, code))
        return Broken(reason)

    def skip_to(self, name: str, reason: str) -> None:
        """Note that the steps in front of one were not looked at."""
        for skipped in NAMES[len(self.steps) : NAMES.index(name)]:
            self.skipped(skipped, reason)

    def finished(self) -> tuple[Step, ...]:
        """Return all steps; those behind a failure as skipped."""
        failure = next((step for step in self.steps if step.result is Result.FAILED), None)
        done = {step.name for step in self.steps}
        if failure is not None:
            reason = f"not looked at, since {failure.name} failed"
            self.steps += [Step(name, Result.SKIPPED, reason) for name in NAMES if name not in done]
        assert [step.name for step in self.steps] == list(NAMES), "each step once, in order"
        return tuple(self.steps)

    def _note(self, step: Step) -> None:
        assert step.name == NAMES[len(self.steps)], f"{step.name} is not the next step"
        self.steps.append(step)


@dataclass(frozen=True, slots=True)
class Verification:
    """What became of a file's chain.

    Attributes:
        steps: all of `NAMES`.
        failure: the first that failed.
    """

    steps: tuple[Step, ...]

    @property
    def failure(self) -> Step | None:
        """The step that failed, None when the file is verified."""
        return next((step for step in self.steps if step.result is Result.FAILED), None)

    @property
    def verified(self) -> bool:
        """Whether every step passed, or had nothing to look at that is demanded."""
        return self.failure is None

    @property
    def exit_code(self) -> int:
        """What `countermark verify` ends with for the same."""
        failure = self.failure
        return 0 if failure is None else failure.exit_code
