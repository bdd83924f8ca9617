"""The two halves that `make test` runs side by side."""

from __future__ import annotations

import sys

import pytest

from tests.support.halves import NO_TESTS, run, together


@pytest.mark.parametrize(
    ("codes", "code"), [((0, 0), 0), ((0, 1), 1), ((1, NO_TESTS), 1), ((NO_TESTS, 0), 0), ((-9, 0), 9), ((5, 5), 5)]
)
def test_together(codes: tuple[int, int], code: int) -> None:
    """A half that fails, or is killed, fails all; one that has none of the tests asked for does not."""
    assert together(codes) == code


def test_what_both_say_is_shown(capfd: pytest.CaptureFixture[str]) -> None:
    """The second's words follow the first's, whichever ends first."""
    slow = "import time; time.sleep(0.2); print('one', flush=True)"
    assert run([[sys.executable, "-c", slow], [sys.executable, "-c", "print('two'); raise SystemExit(3)"]]) == 3
    assert capfd.readouterr().out.split() == ["one", "two"]
