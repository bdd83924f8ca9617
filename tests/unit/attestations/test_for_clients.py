"""What clients end with where bundles are there that no pointer names. Trust contract section 3.3."""

from __future__ import annotations

import pytest

from countermark.core.attestations.judgements import BundleReport, Judgement
from countermark.core.attestations.results import Failed, Step
from countermark.core.digest import Sha256
from countermark.core.policy.verdicts import Verdict

REFUSED = Verdict(False, True, 62, "policy", "the rule demands an attestation")
ALLOWED = Verdict(True, True, 0, "policy", "it is attested")


def failing(step: Step, detail: str = "it fails") -> BundleReport:
    """Return a bundle that fails at a step."""
    return BundleReport(Sha256("ab" * 32), (), Failed(step, detail), None)


@pytest.mark.parametrize("steps", [[Step.STRUCTURE, Step.LOG], [Step.LOG, Step.STRUCTURE]])
def test_what_does_not_verify_is_no_evidence(steps: list[Step]) -> None:
    """The policy's code stands, with the failure that came furthest; a mirror does not choose how a run ends."""
    bundles = tuple(failing(step, f"{step} is wrong") for step in steps)
    found = Judgement(bundles, REFUSED, 51, "no attestation verifies", "statement").for_clients(is_named=False)
    assert (found.exit_code, found.step) == (62, "policy")
    assert found.reason.endswith("2 attestation(s) that no pointer names do not verify: log is wrong (log)")


def test_a_named_one_that_fails_stays_the_reason() -> None:
    """It has to verify whatever else there is."""
    judgement = Judgement((failing(Step.SUBJECT), failing(Step.LOG)), REFUSED, 52, "named", "subject")
    assert judgement.for_clients(is_named=True) is judgement


def test_what_passes_passes() -> None:
    """Nothing is made of failures beside what satisfies; nor where there is nothing at all."""
    passed = Judgement((failing(Step.LOG),), ALLOWED, 0, "it is attested", "policy")
    assert passed.for_clients(is_named=False) is passed
    bare = Judgement((), REFUSED, 62, REFUSED.reason, "policy").for_clients(is_named=True)
    assert (bare.exit_code, bare.reason) == (62, REFUSED.reason)
