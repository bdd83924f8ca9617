"""Codes for machines: all that a run can end with stand in docs/verifying.md, with their exit codes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

from countermark.codes import NO_POLICY, NOT_DEMANDED, POLICY_UNREADABLE, SATISFIED, attestation_code, policy_code
from countermark.core import errors
from countermark.core.attestations.results import EXIT_CODES, Step
from countermark.core.errors import ClientError
from countermark.core.policy.verdicts import CheckName

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


def test_codes_are_of_one_form() -> None:
    """Small letters, dashes, and a dot behind what the check is of."""
    assert all(re.fullmatch(r"((policy|attestation)\.)?[a-z]+(-[a-z]+)*", code) for code in DOCUMENTED)
