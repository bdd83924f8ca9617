"""The parts that a suite is split into, so that several runs of pytest can do it together: `--part 2/3`.

A part is whole files: what a file's tests share is started once.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from dataclasses import dataclass

USUAL = 4.5
"""Seconds that a test takes, where nothing else is known."""

SECONDS: Mapping[str, float] = {
    "tests/e2e/test_dashboard.py": 1.2,
    "tests/e2e/test_kills.py": 15.5,
    "tests/e2e/test_rebuild.py": 55.0,
}
"""What a test of a file takes where that is far from usual; parts are about as long as each other by it."""


@dataclass(frozen=True, slots=True)
class Part:
    """The part `number` of `count`, from 1."""

    number: int
    count: int

    def of(self, files: Mapping[str, int]) -> frozenset[str]:
        """Return the files that are in it.

        Args:
            files: path from the root of the checkout -> how many tests it has.
        """
        return split(files, self.count)[self.number - 1]


def part(text: str) -> Part:
    """Read the value of the option.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    found = re.fullmatch(r"([1-9][0-9]?)/([1-9][0-9]?)", text)
    if found is None or int(found[1]) > int(found[2]):
        raise argparse.ArgumentTypeError(f"{text!r} is no part; the second of three is 2/3")
    return Part(int(found[1]), int(found[2]))


def split(files: Mapping[str, int], count: int) -> list[frozenset[str]]:
    """Return each file in one of `count` parts: the longest first, each into the part that is shortest so far."""
    seconds = {path: tests * SECONDS.get(path, USUAL) for path, tests in files.items()}
    parts: list[set[str]] = [set() for _ in range(count)]
    totals = [0.0] * count
    for path in sorted(files, key=lambda path: (-seconds[path], path)):
        shortest = totals.index(min(totals))
        parts[shortest].add(path)
        totals[shortest] += seconds[path]
    return [frozenset(one) for one in parts]
