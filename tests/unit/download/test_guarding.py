"""Whose fault a broken link is: the file's own is held, the policy's is refused, all else is 503. ADR 0044."""

from __future__ import annotations

from typing import Any

import pytest

from services.download.verification.steps import NAMES, Fault, Result, Step, fault_of

FILE, POLICY, INDEX = Fault.OF_THE_FILE, Fault.OF_THE_POLICY, Fault.OF_THE_INDEX


@pytest.mark.parametrize(
    ("name", "code", "evidence", "fault"),
    [
        ("root", 20, {}, INDEX),
        ("timestamp", 21, {}, INDEX),
        ("snapshot", 23, {}, INDEX),
        ("target", 20, {}, INDEX),
        ("target", 21, {}, INDEX),
        ("target", 23, {}, INDEX),
        ("target", 11, {}, FILE),
        ("pointer", 31, {}, FILE),
        ("digest", 10, {}, INDEX),
        ("digest", 41, {}, FILE),
        ("attestation digest", 10, {}, INDEX),
        ("attestation digest", 50, {}, FILE),
        ("subject", 52, {}, FILE),
        ("identity", 60, {}, FILE),
        ("log", 61, {}, FILE),
        ("policy", 60, {}, FILE),
        ("policy", 62, {}, POLICY),
        ("policy", 62, {"policy": "unreadable"}, INDEX),
        ("policy", 10, {}, INDEX),
        ("policy", 23, {}, INDEX),
        ("catalogue", 10, {}, FILE),
        ("catalogue", 10, {"page": "unreadable"}, INDEX),
        ("catalogue", 10, {"page": "missing"}, INDEX),
    ],
)
def test_fault(name: str, code: int, evidence: dict[str, Any], fault: Fault) -> None:
    """Metadata, what cannot be had, and a policy that is not the signed one are nobody's; 62 alone is the policy's."""
    assert name in NAMES
    assert fault_of(Step(name, Result.FAILED, "why", evidence, code)) is fault
