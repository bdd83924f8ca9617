"""Command `python -m tests.support.tampering`: runs the attacks and prints, row by row, what the client said.

With `--all` it also runs the tests elsewhere that cover a row (some minutes). With `--write` it runs nothing and writes
`docs/attacks.md` from the tests. Progress and faults go to the error output.
"""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import ROOT
from tests.support.tampering.table import DOCUMENT, ELSEWHERE, PACKAGES, Line, document, lines


class _Seen:
    """Collects what each test left on record."""

    def __init__(self) -> None:
        self.words: dict[str, tuple[int, str]] = {}
        self.outcomes: dict[str, str] = {}
        self.peaks: dict[str, int] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the worst outcome of a test, and what was recorded."""
        if report.when == "call" or report.outcome != "passed":
            self.outcomes[report.nodeid] = report.outcome
        for name, value in report.user_properties:
            if name == "attack":
                recorded: Any = value
                self.words[report.nodeid] = (recorded[1], recorded[2])
            elif isinstance(value, int):
                self.peaks[report.nodeid] = value


def main(arguments: list[str]) -> int:
    """Run or write; returns the exit code."""
    if arguments == ["--write"]:
        DOCUMENT.write_text(document(), encoding="utf-8")
        return 0
    seen = _Seen()
    tests = sorted({each.test for each in ELSEWHERE}) if "--all" in arguments else []
    elsewhere = [str(ROOT / test) for test in tests if (ROOT / test.partition("::")[0]).exists()]
    with redirect_stdout(sys.stderr):
        code = pytest.main(["-qq", *_paths(), *elsewhere], plugins=[seen])
    for line in lines():
        print(_printed(line, seen))
    held = sum(outcome == "passed" for outcome in seen.outcomes.values())
    print(f"\n{held} of {len(seen.outcomes)} hold; gaps are marked *")
    return int(code)


def _paths() -> list[str]:
    return [str(Path(ROOT, package)) for package in PACKAGES]


def _printed(line: Line, seen: _Seen) -> str:
    # The cases of a test elsewhere are one line here.
    found = {name: outcome for name, outcome in seen.outcomes.items() if line.test and name.startswith(line.test)}
    outcome = "not run" if not found else "ok" if set(found.values()) == {"passed"} else "FAILED"
    code, words = seen.words.get(line.test, (None, ""))
    ends = line.ends if code is None else str(code)
    said = f"\n        {words[:160]}" if words else ""
    if peak := seen.peaks.get(line.test):
        said += f"\n        at most {peak / 1e6:.0f} MB of memory"
    return f"{line.row:3} {outcome:7} {ends:>3}{'*' if line.gap else ' '} {line.what}{said}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
