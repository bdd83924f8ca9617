"""Codes for machines: all that a run can end with stand in docs/verifying.md, with their exit codes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from countermark.core import errors
from countermark.core.attestations.judgements import BundleReport, Judgement
from countermark.core.attestations.results import EXIT_CODES, Failed, Step
from countermark.core.codes import (
    NO_POLICY,
    NOT_DEMANDED,
    POLICY_UNREADABLE,
    SATISFIED,
    attestation_code,
    judgement_code,
    link_code,
    policy_code,
)
from countermark.core.digest import Sha256
from countermark.core.errors import ClientError
from countermark.core.policy.verdicts import CheckName, Verdict
from tests.support.policies import evidence, judged

GUIDE = (Path(__file__).parents[3] / "docs" / "verifying.md").read_text("utf-8")
DOCUMENTED = {
    code: int(number) for code, number in re.findall(r"^\| `([^`]+)` \| .* \| (\d+) \|$", GUIDE, re.MULTILINE)
}
GROUPS = {errors.MetadataRefused, errors.PointerRefused, errors.ArtifactRefused, errors.EvidenceRefused}
"""Classes that nothing is of, but of one below."""
OF_CHECKS = {
    errors.AttestationUnreadable, errors.SubjectMismatch, errors.IdentityRefused, errors.LogRefused,
    errors.PolicyRefused,
}  # fmt: skip
"""Classes whose failures say which check of an attestation or policy it was."""


def _of_classes() -> dict[str, int]:
    table = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, ClientError)]
    told = [one for one in table if one.exit_code != 1 and one not in GROUPS | OF_CHECKS]
    return {one("words").code: one.exit_code for one in told}


def test_all_codes_are_documented() -> None:
    """The guide lists each code that there is, and no other, with the exit code where the code alone says it."""
    attested = {attestation_code(step): EXIT_CODES[step] for step in Step}
    taken = dict.fromkeys((NO_POLICY, NOT_DEMANDED, SATISFIED), 0)
    known = _of_classes() | attested | taken | {POLICY_UNREADABLE: 62}
    checks = {policy_code(check) for check in get_args(CheckName)}
    assert DOCUMENTED.keys() == known.keys() | checks
    assert {code: DOCUMENTED[code] for code in known} == known
    assert {DOCUMENTED[code] for code in checks} == {60, 61, 62}


def test_links_have_the_codes_of_their_failures() -> None:
    """Each exit code of the links in front of attestations is a documented code's; those of attestations are none's."""
    for number in (10, 11, 20, 21, 22, 23, 30, 31, 40, 41, 50):
        assert DOCUMENTED[link_code(number)] == number
    for number in (0, 51, 60, 62):
        with pytest.raises(KeyError):
            link_code(number)


def test_a_judgement_has_one_code() -> None:
    """Of the attestation that decides, else of the policy; of a policy that cannot be read, and of what is taken."""
    refused = judged()
    failed = BundleReport(Sha256("b" * 64), (), Failed(Step.WINDOWS, "why"), None)
    assert judgement_code(Judgement((failed,), refused, 61, "why", "log")) == "attestation.windows"
    assert judgement_code(Judgement((failed,), refused, 62, "why", "policy")) == "policy.predicate"
    unreadable = Verdict(allowed=False, demanded=True, exit_code=62, step="policy", reason="why")
    assert judgement_code(Judgement((), unreadable, 62, "why", "policy")) == POLICY_UNREADABLE
    assert judgement_code(Judgement((), judged(evidence()), 0, "why", "policy")) == SATISFIED


def test_codes_are_of_one_form() -> None:
    """Small letters, dashes, and a dot behind what the check is of."""
    assert all(re.fullmatch(r"((policy|attestation)\.)?[a-z]+(-[a-z]+)*", code) for code in DOCUMENTED)
