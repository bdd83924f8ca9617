"""Runs all suites as a queue of runs of pytest, two at a time: `python -m tests.support.runs [--real] [ARGUMENTS OF
PYTEST]`. With `--real` the real profile is in the queue too.

What is end-to-end waits for servers and clients most of its time, what is not computes: on two cores two runs together
take little more than half as long as one after the other. As soon as one has ended, the next begins. What the first
says is shown as it comes, what the others said once they have ended.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

AT_ONCE = 2
"""Runs that go on side by side."""

EMBEDDED: Mapping[str, tuple[str, ...]] = {
    "unit, integration, property, contract": ("tests/unit", "tests/integration", "tests/property", "tests/contract"),
    "e2e": ("tests/e2e",),
}
"""Name of a run -> arguments of pytest; the longest first, so that both processes are over at about the same time."""

REAL = ("tests/e2e", "--deployment=stack", "--timeout=300")
"""The same of the real profile."""

PARTS = 3
"""Runs that the real profile is split into. Each starts a real profile of its own, which takes half a minute."""

NO_TESTS = 5
"""What pytest ends with when a run has none of the tests that were asked for."""

INTERRUPTED = 2
"""What pytest ends with when it is interrupted."""

_PAUSE = 0.05
"""Seconds between two looks at what runs."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run, and what its environment has beside that of this process."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class _Begun:
    """A run that was begun; `words` is where it writes to, if not to this terminal."""

    run: Run
    process: subprocess.Popen[bytes]
    words: IO[bytes] | None
    since: float
    seconds: float = 0.0


def main(arguments: Sequence[str]) -> int:
    """Work off the queue, or run the files that the arguments name, alone; returns what ends the command."""
    given = [one for one in arguments if one != "--real"]
    if any(Path(one.partition("::")[0]).exists() for one in given if not one.startswith("-")):
        return work_off([Run("", _pytest(*given))])
    return work_off(planned(given, real="--real" in arguments, environ=os.environ))


def planned(given: Sequence[str], *, real: bool, environ: Mapping[str, str]) -> list[Run]:
    """Return the queue.

    Args:
        given: arguments that every run gets.
        real: whether the real profile is in it.
        environ: of this process.
    """
    runs = [Run(name, _pytest(*suites, *given)) for name, suites in EMBEDDED.items()]
    if real:
        # The same pages look the same in both, and their pictures have the same names.
        pictures = environ.get("SCREENSHOTS")
        more = {"SCREENSHOTS": f"{pictures}/real"} if pictures else {}
        for number in range(1, PARTS + 1):
            command = _pytest(*REAL, f"--part={number}/{PARTS}", *given)
            runs.append(Run(f"e2e on the real profile, part {number} of {PARTS}", command, more))
    return runs


def work_off(runs: Sequence[Run]) -> int:
    """Work off runs, the first on this terminal; of several it says how each ended.

    Interrupted, it begins no other, and waits until each that runs has ended in its own way: servers that they started
    are theirs to stop.

    Returns:
        What they end with together.
    """
    waiting, begun, ended, shown = deque(runs), list[_Begun](), list[_Begun](), 0
    with ExitStack() as files, _interruptions() as interrupted:
        while len(ended) < len(begun) or (waiting and not interrupted()):
            while waiting and len(begun) - len(ended) < AT_ONCE and not interrupted():
                words = files.enter_context(tempfile.TemporaryFile()) if begun else None
                begun.append(_begin(waiting.popleft(), words, alone=len(runs) == 1))
            time.sleep(_PAUSE)
            ended += [one for one in begun if one not in ended and _over(one)]
            # Nothing is shown among the words of the first.
            if begun and begun[0] in ended:
                for one in ended[shown:]:
                    _show(one)
                shown = len(ended)
    if len(runs) > 1:
        for one in begun:
            _say(f"countermark: {one.run.name}: {verdict(one.process.returncode)}, {one.seconds / 60:.1f} min")
        for run in waiting:
            _say(f"countermark: {run.name}: not begun")
    return together([*(one.process.returncode for one in begun), *(INTERRUPTED for _ in waiting)])


def together(codes: Sequence[int]) -> int:
    """Return what several runs of pytest end with together: the worst of them, and `NO_TESTS` when all say that."""
    counting = [code for code in codes if code != NO_TESTS]
    return max(map(abs, counting)) if counting else NO_TESTS


def verdict(code: int) -> str:
    """Say what a run of pytest ended with."""
    if code < 0:
        return f"FAILED, killed by signal {-code}"
    return {0: "passed", NO_TESTS: "none of the tests asked for"}.get(code, f"FAILED, pytest ended with {code}")


def _pytest(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "pytest", *arguments]


def _begin(run: Run, words: IO[bytes] | None, *, alone: bool) -> _Begun:
    if words is None and not alone:
        _head(run)
    errors = None if words is None else subprocess.STDOUT
    process = subprocess.Popen(run.command, env={**os.environ, **run.environment}, stdout=words, stderr=errors)
    return _Begun(run, process, words, time.monotonic())


def _over(one: _Begun) -> bool:
    if one.process.poll() is None:
        return False
    one.seconds = time.monotonic() - one.since
    return True


def _show(one: _Begun) -> None:
    """Show what a run said, if that was not shown as it came."""
    if one.words is not None:
        _head(one.run)
        one.words.seek(0)
        shutil.copyfileobj(one.words, sys.stdout.buffer)
        sys.stdout.flush()


def _head(run: Run) -> None:
    _say(f"{f' {run.name} ':#^80}")


def _say(line: str) -> None:
    print(line, flush=True)


@contextmanager
def _interruptions() -> Iterator[Callable[[], bool]]:
    """While it is open Ctrl-C does not end this process; yields what says whether it was pressed."""
    seen: list[int] = []
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, lambda number, _: seen.append(number))
    try:
        yield lambda: bool(seen)
    finally:
        signal.signal(signal.SIGINT, before)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
