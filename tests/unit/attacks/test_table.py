"""The table of attacks: complete, and written down as the tests are."""

from __future__ import annotations

from tests.support.processes import ROOT
from tests.support.tampering.table import DOCUMENT, ELSEWHERE, ROWS, document, lines


def test_every_row_has_a_test_or_says_why_not() -> None:
    """All rows of the trust contract's section 6 are in the table, each with a test or a gap."""
    assert {line.row for line in lines()} == set(ROWS) == set(range(1, 32))
    assert [line.what for line in lines() if not line.test and not line.gap] == []


def test_the_tests_elsewhere_are_there() -> None:
    """What the table says is tested elsewhere is tested there; hardware keys, where there are signers for them."""
    has_tokens = (ROOT / "client" / "src" / "countermark" / "core" / "signing").exists()
    for each in ELSEWHERE:
        path, *_, name = each.test.split("::")
        if each.row != 30 or has_tokens:
            assert f"def {name}(" in (ROOT / path).read_text(encoding="utf-8"), each.test


def test_no_test_covers_two_attacks_of_one_name() -> None:
    """Each line names one test and one case of it."""
    named = [line.test for line in lines() if line.test]
    assert len(set(named)) == len(named)


def test_only_what_is_called_a_gap_ends_well() -> None:
    """An attack that ends 0 changes nothing or leaves a good mirror, which its words say, or is a gap."""
    well = [line for line in lines() if line.case is not None and line.case.code == 0 and not line.gap]
    assert {line.row for line in well} <= {13, 14, 28, 29}
    assert all("one good" in line.what for line in well if line.row == 14)


def test_the_document_is_what_the_tests_say() -> None:
    """`docs/attacks.md` is written from the tests: python -m tests.support.tampering --write."""
    assert DOCUMENT.read_text(encoding="utf-8") == document()
