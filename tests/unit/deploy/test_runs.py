"""The queue of runs that `make test` works off."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support.parts import Part, part
from tests.support.runs import INTERRUPTED, NO_TESTS, Run, planned, together, verdict, work_off


def said_by(name: str, code: str) -> Run:
    """Return a run of a program."""
    return Run(name, [sys.executable, "-Ic", f"import os, sys, time; from pathlib import Path; {code}"])


def until(path: Path) -> str:
    """Return code that waits for a file, for ten seconds."""
    return f"[time.sleep(0.01) for _ in range(1000) if not Path({str(path)!r}).exists()]"


@pytest.mark.parametrize(
    ("codes", "code"), [((0, 0), 0), ((0, 1), 1), ((1, NO_TESTS), 1), ((NO_TESTS, 0), 0), ((-9, 0), 9), ((5, 5, 5), 5)]
)
def test_together(codes: tuple[int, ...], code: int) -> None:
    """A run that fails, or is killed, fails all; one that has none of the tests asked for does not."""
    assert together(codes) == code


def test_a_verdict_says_what_failed() -> None:
    """What failed can be searched for."""
    assert [verdict(code) for code in (0, NO_TESTS)] == ["passed", "none of the tests asked for"]
    assert [verdict(code) for code in (1, -9)] == ["FAILED, pytest ended with 1", "FAILED, killed by signal 9"]


def test_what_all_say_is_shown(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The others' words follow the first's, whichever ends first, each under its name; then it is said who failed."""
    third = tmp_path / "third"
    runs = [
        said_by("one", f"{until(third)}; print('first')"),
        said_by("two", "print('second', file=sys.stderr); sys.exit(3)"),
        said_by("three", f"print('third', flush=True); Path({str(third)!r}).touch()"),
    ]
    assert work_off(runs) == 3
    lines = [line.strip("# ") for line in capfd.readouterr().out.splitlines()]
    assert lines[:6] == ["one", "first", "two", "second", "three", "third"]
    assert [line.rpartition(",")[0] for line in lines[6:]] == [
        "countermark: one: passed",
        "countermark: two: FAILED, pytest ended with 3",
        "countermark: three: passed",
    ]


def test_one_alone_says_what_it_says(capfd: pytest.CaptureFixture[str]) -> None:
    """Nothing is added."""
    assert work_off([said_by("", "print('alone')")]) == 0
    assert capfd.readouterr().out == "alone\n"


def test_the_next_begins_when_a_process_is_free(tmp_path: Path) -> None:
    """The third begins when the second is over, not before, and does not wait for the first."""
    third, second = tmp_path / "third", tmp_path / "second"
    runs = [
        said_by("one", until(third)),
        said_by("two", f"time.sleep(0.1); Path({str(second)!r}).touch(); sys.exit(Path({str(third)!r}).exists())"),
        said_by("three", f"Path({str(third)!r}).touch(); sys.exit(not Path({str(second)!r}).exists())"),
    ]
    assert work_off(runs) == 0
    assert third.exists()


def test_interrupted_it_waits_and_begins_no_other(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What runs ends in its own way; what was not begun counts as interrupted."""
    ended, late = tmp_path / "ended", tmp_path / "late"
    runs = [
        said_by("one", f"os.kill(os.getppid(), 2); time.sleep(0.1); Path({str(ended)!r}).touch()"),
        said_by("two", until(ended)),
        said_by("three", f"Path({str(late)!r}).touch()"),
    ]
    assert work_off(runs) == INTERRUPTED
    assert ended.exists()
    assert not late.exists()
    assert "countermark: three: not begun" in capfd.readouterr().out


def test_a_run_has_its_environment(capfd: pytest.CaptureFixture[str]) -> None:
    """It is added to that of this process."""
    show = [sys.executable, "-Ic", "import os; print(os.environ['PICTURES'], 'PATH' in os.environ)"]
    assert work_off([Run("", show, {"PICTURES": "here"})]) == 0
    assert capfd.readouterr().out == "here True\n"


def test_the_real_profile_is_in_the_queue_when_it_is_asked_for() -> None:
    """All its parts are, with pictures of their own; without it every suite runs once, on one process."""
    runs = planned(["-x"], real=False, environ={"SCREENSHOTS": "/pictures"})
    arguments = [one for run in runs for one in run.command]
    assert {"tests/unit", "tests/integration", "tests/property", "tests/contract", "tests/e2e"} <= set(arguments)
    assert not [one for one in arguments if one.startswith(("--deployment", "--part"))]
    assert all(run.command[-1] == "-x" and not run.environment for run in runs)

    more = planned(["-x"], real=True, environ={"SCREENSHOTS": "/pictures"})
    assert more[: len(runs)] == runs
    real = more[len(runs) :]
    assert all({"--deployment=stack", "-x"} <= set(run.command) for run in real)
    parts = [part(one.removeprefix("--part=")) for run in real for one in run.command if one.startswith("--part=")]
    assert parts == [Part(number, len(real)) for number in range(1, len(real) + 1)]
    assert {run.environment["SCREENSHOTS"] for run in real} == {"/pictures/real"}
    assert len({run.name for run in more}) == len(more)
    assert not any(run.environment for run in planned([], real=True, environ={}))
