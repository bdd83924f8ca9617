"""Which broken links are the fault of one file, so that it is held. ADR 0039."""

from __future__ import annotations

import pytest

from services.download.verification.guarding import of_the_file
from services.download.verification.steps import NAMES, Result, Step


@pytest.mark.parametrize(
    ("name", "code", "holds"),
    [
        ("root", 20, False),
        ("timestamp", 21, False),
        ("snapshot", 23, False),
        ("target", 20, False),
        ("target", 21, False),
        ("target", 23, False),
        ("target", 11, True),
        ("pointer", 31, True),
        ("digest", 10, False),
        ("digest", 41, True),
        ("attestation digest", 10, False),
        ("attestation digest", 50, True),
        ("identity", 60, True),
        ("policy", 62, True),
        ("policy", 10, False),
        ("policy", 23, False),
        ("catalogue", 10, True),
    ],
)
def test_holds(name: str, code: int, *, holds: bool) -> None:
    """Metadata, what cannot be had, and a policy that is not the signed one hold nothing."""
    assert name in NAMES
    assert of_the_file(Step(name, Result.FAILED, "why", code=code)) is holds
