"""What checking an attestation finds: each step by name, and the first that failed. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Step(StrEnum):
    """What is checked of an attestation, in this order; what follows a failure is not looked at."""

    STRUCTURE = "structure"
    """It is what PEP 740 describes, once, and no more of it than a real one has."""
    STATEMENT = "statement"
    """An in-toto Statement v1 with a predicate type that is known here."""
    SUBJECT = "subject"
    """It speaks of exactly one file: this one, by name and sha256."""
    SIGNATURE = "signature"
    """The certificate's key signed the statement."""
    CERTIFICATE = "certificate"
    """A trusted authority issued the certificate, a trusted CT log knew of it, and it held when it signed."""
    LOG = "log"
    """A trusted transparency log has this signature, and says when it came."""
    WINDOWS = "windows"
    """The trust root trusted that authority and these logs at that time."""
    IDENTITY = "identity"
    """The certificate bears out what the provenance says of the publisher."""


EXIT_CODES: Mapping[Step, int] = {
    Step.STRUCTURE: 51,
    Step.STATEMENT: 51,
    Step.SUBJECT: 52,
    Step.SIGNATURE: 60,
    Step.CERTIFICATE: 60,
    Step.LOG: 61,
    Step.WINDOWS: 61,
    Step.IDENTITY: 60,
}
"""What a client that stops at a step ends with. Source: trust contract section 3.3."""


class Failed(Exception):
    """A step failed; `detail` is for people and holds no more than 300 characters."""

    def __init__(self, step: Step, detail: str) -> None:
        self.step = step
        self.detail = detail if len(detail) <= 300 else f"{detail[:297]}..."
        super().__init__(f"{step}: {self.detail}")


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found out of one attestation.

    Attributes:
        publisher: as the provenance object says; None where the attestation came to nobody's name.
        failure: the first step that failed; None when all passed.
        predicate_type: of the statement, where it could be read.
        certificate: claims of a certificate that was found good: object identifier -> value. Empty before.
        signed_at: seconds since 1970, as the log says, once that was found true.
        unproven: what the publisher's part says and no certificate can bear out.
    """

    publisher: Mapping[str, Any] | None
    failure: Failed | None
    predicate_type: str | None = None
    certificate: Mapping[str, str] = field(default_factory=dict)
    signed_at: int | None = None
    unproven: tuple[str, ...] = ()

    @property
    def steps(self) -> list[tuple[Step, bool | None]]:
        """Every step with whether it passed, None for what was not looked at."""
        if self.failure is None:
            return [(step, True) for step in Step]
        order = list(Step)
        at = order.index(self.failure.step)
        return [(step, True if place < at else (False if place == at else None)) for place, step in enumerate(order)]


@dataclass(frozen=True, slots=True)
class Report:
    """What was found out of a provenance object.

    Attributes:
        failure: why the object as a whole is none; then there are no attestations.
    """

    attestations: tuple[Checked, ...]
    failure: Failed | None = None

    @property
    def verified(self) -> bool:
        """Whether there is an attestation, and none failed."""
        return (
            self.failure is None and bool(self.attestations) and all(one.failure is None for one in self.attestations)
        )


def document_of(report: Report) -> dict[str, Any]:
    """Return a report in JSON."""
    return {
        "verified": report.verified,
        "failure": _failure(report.failure),
        "attestations": [
            {
                "publisher": one.publisher,
                "predicate_type": one.predicate_type,
                "verified": one.failure is None,
                "steps": [{"step": step, "passed": passed} for step, passed in one.steps],
                "failure": _failure(one.failure),
                "signed_at": one.signed_at,
                "certificate": dict(one.certificate),
                "unproven": list(one.unproven),
            }
            for one in report.attestations
        ],
    }


def _failure(failure: Failed | None) -> dict[str, str] | None:
    return None if failure is None else {"step": failure.step, "detail": failure.detail}
