"""What machines are told of a file beside words: codes that stay as they are, whatever becomes of the words.

A failure has the code of its class (`ClientError.code`), but one of an attestation or of the policy says which check it
was. All of them stand in `docs/verifying.md`.
"""

from __future__ import annotations

from countermark.core.attestations.results import Step
from countermark.core.policy.verdicts import CheckName, Verdict

NO_POLICY, NOT_DEMANDED, SATISFIED = "policy.none", "policy.not-demanded", "policy.satisfied"
"""Of a file that the policy takes: there is none, it demands nothing of this file, it is satisfied."""

POLICY_UNREADABLE = "policy.unreadable"


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
