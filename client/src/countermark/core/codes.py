"""What machines are told of a file beside words: codes that stay as they are, whatever becomes of the words. Pure.

A failure has the code of its class (`ClientError.code`), but one of an attestation or of the policy says which check it
was. All of them stand in `docs/verifying.md`; the server's verification of a file tells the same.
"""

from __future__ import annotations

from collections.abc import Mapping

from countermark.core.attestations.judgements import Judgement
from countermark.core.attestations.results import Step
from countermark.core.errors import (
    AttestationAltered,
    BelowThreshold,
    ClientError,
    Expired,
    InvalidMetadata,
    NetworkFailure,
    NoSuchTarget,
    PointerMismatch,
    PointerUnreadable,
    RolledBack,
    WrongDigest,
    WrongLength,
)
from countermark.core.policy.verdicts import CheckName, Verdict

NO_POLICY, NOT_DEMANDED, SATISFIED = "policy.none", "policy.not-demanded", "policy.satisfied"
"""Of a file that the policy takes: there is none, it demands nothing of this file, it is satisfied."""

POLICY_UNREADABLE = "policy.unreadable"

_OF_LINKS: tuple[type[ClientError], ...] = (
    *(NetworkFailure, NoSuchTarget, BelowThreshold, Expired, RolledBack, InvalidMetadata),
    *(PointerUnreadable, PointerMismatch, WrongLength, WrongDigest, AttestationAltered),
)
"""How links 1 to 7 of the numbered chain fail: all that can be told without looking into an attestation."""

_BY_EXIT_CODE: Mapping[int, type[ClientError]] = {failure.exit_code: failure for failure in _OF_LINKS}


def link_code(exit_code: int) -> str:
    """Return the code of a link that failed without an attestation or a policy being judged.

    Args:
        exit_code: what a client ends with there, none of those of attestations and policies (51 to 62).

    Raises:
        KeyError: no such link ends with it.
    """
    return _BY_EXIT_CODE[exit_code].usual_code()


def attestation_code(step: Step) -> str:
    """Return the code of an attestation of which a check failed."""
    return f"attestation.{step}"


def policy_code(check: CheckName) -> str:
    """Return the code of a file of which a policy's check failed."""
    words = check.replace(" ", "-").replace("'", "")
    return f"policy.{words}"


def code_of(verdict: Verdict) -> str:
    """Return the code of a verdict."""
    if not verdict.allowed:
        return POLICY_UNREADABLE if verdict.failed is None else policy_code(verdict.failed.name)
    if verdict.demanded:
        return SATISFIED
    return NO_POLICY if verdict.rule is None else NOT_DEMANDED


def failed_check(judgement: Judgement) -> Step | None:
    """Return the check of an attestation for which a file is refused; None where the policy decides."""
    verdict = judgement.verdict
    if (judgement.exit_code, judgement.step) == (verdict.exit_code, verdict.step):
        return None
    return next(report.failure for report in judgement.bundles if report.failure is not None).step


def judgement_code(judgement: Judgement) -> str:
    """Return the code of a judgement: of the attestation that failed where that decides, else of the policy."""
    check = failed_check(judgement)
    return code_of(judgement.verdict) if check is None else attestation_code(check)
