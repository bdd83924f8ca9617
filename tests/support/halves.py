"""Runs all suites as two processes of pytest side by side: `python -m tests.support.halves [ARGUMENTS OF PYTEST]`.

What is end-to-end waits for servers and clients most of its time, what is not computes: on two cores both together take
little more than half as long as one after the other. What the first says is shown as it comes, what the second said
once that has ended.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

HALVES: tuple[tuple[str, ...], ...] = (
    ("tests/unit", "tests/integration", "tests/property", "tests/contract"),
    ("tests/e2e",),
)

NO_TESTS = 5
"""What pytest ends with when a half has none of the tests that were asked for."""


def main(arguments: Sequence[str]) -> int:
    """Run both halves, or the files that the arguments name; returns what ends the command."""
    named = any(Path(one.partition("::")[0]).exists() for one in arguments if not one.startswith("-"))
    return run([[sys.executable, "-m", "pytest", *half, *arguments] for half in ([()] if named else HALVES)])


def run(commands: Sequence[Sequence[str]]) -> int:
    """Run commands side by side, the first on this terminal; returns what they end with together.

    Interrupted, it waits until each of them has ended in its own way: servers that they started are theirs to stop.
    """
    with tempfile.TemporaryFile() as later:
        first = subprocess.Popen(commands[0])
        others = [subprocess.Popen(one, stdout=later, stderr=subprocess.STDOUT) for one in commands[1:]]
        codes = [_code(process) for process in (first, *others)]
        later.seek(0)
        sys.stdout.flush()
        while block := later.read(1 << 16):
            sys.stdout.buffer.write(block)
        sys.stdout.flush()
    return together(codes)


def together(codes: Sequence[int]) -> int:
    """Return what several runs of pytest end with together: the worst of them, and `NO_TESTS` when all say that."""
    counting = [code for code in codes if code != NO_TESTS]
    return max(map(abs, counting)) if counting else NO_TESTS


def _code(process: subprocess.Popen[bytes]) -> int:
    while True:
        with suppress(KeyboardInterrupt):
            return process.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
