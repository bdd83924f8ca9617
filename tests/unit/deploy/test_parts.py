"""The parts that a suite is split into."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from tests import conftest
from tests.support.parts import SECONDS, USUAL, Part, part, split
from tests.support.processes import ROOT

FILES = {f"tests/e2e/test_{name}.py": tests for name, tests in zip("abcdefghij", range(1, 11), strict=True)} | {
    "tests/e2e/test_kills.py": 20,
    "tests/e2e/test_dashboard.py": 125,
}


@dataclass(frozen=True)
class Item:
    """As much of a test as the choice looks at."""

    nodeid: str
    marks: frozenset[str] = frozenset()
    fixturenames: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        """Its file."""
        return Path(self.nodeid.partition("::")[0])

    def get_closest_marker(self, name: str) -> str | None:
        """Return a mark."""
        return name if name in self.marks else None


class Config:
    """As much of a configuration; `left` is what was left out."""

    def __init__(self, **options: object) -> None:
        self._options = options
        self.left: list[Item] = []
        self.hook = self

    def getoption(self, name: str) -> object:
        """Return the value of an option."""
        return self._options.get(name.lstrip("-"))

    def pytest_deselected(self, items: list[Item]) -> None:
        """Keep what was left out."""
        self.left = items


def chosen(items: list[Item], **options: object) -> list[Item]:
    """Return what is run with these options; all else is told to be left out."""
    config, kept = Config(**options), list(items)
    conftest.pytest_collection_modifyitems(cast("Any", config), cast("Any", kept))
    assert [item for item in items if item not in kept] == config.left
    return kept


@pytest.mark.parametrize("count", [1, 2, 3, 5, 20])
def test_every_file_is_in_one_part(count: int) -> None:
    """None is lost, none is twice, and the order in which they are found does not matter."""
    parts = split(FILES, count)
    assert len(parts) == count
    assert sorted(path for one in parts for path in one) == sorted(FILES)
    assert split(dict(reversed(FILES.items())), count) == parts
    assert [Part(number, count).of(FILES) for number in range(1, count + 1)] == parts


def test_parts_are_about_as_long_as_each_other() -> None:
    """No two differ by more than the longest file takes."""
    seconds = {path: tests * SECONDS.get(path, USUAL) for path, tests in FILES.items()}
    for count in (2, 3, 5):
        totals = [sum(map(seconds.__getitem__, one)) for one in split(FILES, count)]
        assert max(totals) - min(totals) <= max(seconds.values())


def test_what_is_known_of_files_is_known_of_files_that_are() -> None:
    """A file that is moved takes its line along."""
    assert [path for path in SECONDS if not (ROOT / path).is_file()] == []


@pytest.mark.parametrize("deployment", ["embedded", "stack"])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_parts_are_all_that_is_run_without_them(deployment: str, count: int) -> None:
    """Each test that would run without parts runs in one of them, beside all others of its file, in the same order."""
    marks = (frozenset[str](), frozenset({"embedded"}), frozenset({"stack"}))
    items = [Item(f"{path}::test_{n}", marks[n % 3]) for path, tests in FILES.items() for n in range(tests)]
    items.append(Item("tests/e2e/test_a.py::test_own", fixturenames=("data",)))
    whole = chosen(items, deployment=deployment)
    parts = [chosen(items, deployment=deployment, part=Part(number, count)) for number in range(1, count + 1)]
    assert sorted(item.nodeid for one in parts for item in one) == sorted(item.nodeid for item in whole)
    for one in parts:
        files = {item.path for item in one}
        assert one == [item for item in whole if item.path in files]


def test_a_part_is_read() -> None:
    """What is no part is said to be none."""
    assert part("2/3") == Part(2, 3)
    for text in ("", "2", "0/3", "4/3", "1/0", "1/2/3", "-1/3", " 1/3", "1/3\n"):
        with pytest.raises(argparse.ArgumentTypeError, match="is no part"):
            part(text)
