"""Ours beside a real devpi-server: the same requests to both, and every difference of the answers has its reason."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.beside import Ask, Different, Known, Side, differing
from tests.support.devpi_asks import CHAPTERS
from tests.support.devpi_asks_guarded import GUARDED, PASSWORD
from tests.support.devpi_differences import KNOWN
from tests.support.devpi_server import devpi_server
from tests.support.processes import ROOT, start_deployment

pytestmark = pytest.mark.embedded

GUARDED_CHAPTER = "safe defaults"
PAGE = ROOT / "docs" / "reference" / "devpi.md"


@pytest.fixture(scope="module")
def found(devpi_server_programs: Path) -> Iterator[dict[str, list[Different]]]:
    """The differences between both servers' answers: chapter -> places, in the order in which they were asked."""
    with tempfile.TemporaryDirectory(prefix="cm-", ignore_cleanup_errors=True) as folder:
        opened, guarded = Path(folder) / "open", Path(folder) / "guarded"
        for place in (opened, guarded):
            place.mkdir()
        with _beside(devpi_server_programs, opened, "--compat", "devpi-open") as (theirs, ours):
            differences = compared(theirs, ours, CHAPTERS)
        with _beside(devpi_server_programs, guarded, password=PASSWORD) as (theirs, ours):
            yield differences | compared(theirs, ours, {GUARDED_CHAPTER: GUARDED})


@contextmanager
def _beside(programs: Path, folder: Path, *options: str, password: str = "") -> Iterator[tuple[Side, Side]]:
    """Run a devpi-server and ours, in that order; root has the same password on both."""
    running = start_deployment(folder / "data", *options)
    try:
        if password:
            file = folder / "password"
            file.write_text(password)
            done = running.command("user", "passwd", "root", "--password-file", str(file))
            assert done.returncode == 0, done.stderr
        with devpi_server(programs, folder, password=password) as url:
            yield Side(url), Side(running.api)
    finally:
        running.process.end()


def compared(theirs: Side, ours: Side, chapters: Mapping[str, Sequence[Ask]]) -> dict[str, list[Different]]:
    """Ask both everything, in order."""
    found: dict[str, list[Different]] = {}
    for chapter, asks in chapters.items():
        found[chapter] = [one for ask in asks for one in differing(ask, theirs.answer(ask), ours.answer(ask))]
    return found


@pytest.mark.parametrize("chapter", [*CHAPTERS, GUARDED_CHAPTER])
def test_every_difference_is_one_that_is_meant(found: dict[str, list[Different]], chapter: str) -> None:
    """Status, type, shape and words are devpi-server's, but for what the table names with its reason."""
    unknown = [str(one) for one in found[chapter] if not any(known.covers(one) for known in KNOWN)]
    assert not unknown, "\n".join(["request | where | devpi-server | here", *unknown])


def test_no_difference_is_claimed_that_is_not_there(found: dict[str, list[Different]]) -> None:
    """Each line of the table is seen in at least one pair of answers."""
    everything = [one for chapter in found.values() for one in chapter]
    idle = [known for known in KNOWN if not any(known.covers(one) for one in everything)]
    assert not idle


def test_the_page_about_devpi_has_the_same_table() -> None:
    """The differences are documented, word for word."""
    rows = re.findall(r"^\| `(.+?)` \| `(.+?)` \| `(.+?)` \| `(.+?)` \| (.+?) \|$", PAGE.read_text(), re.MULTILINE)
    assert [Known(*row) for row in rows] == list(KNOWN)


def test_requests_are_told_apart_by_their_names() -> None:
    """No two requests are called alike, so that a line of the table means one."""
    names = [ask.name for asks in (*CHAPTERS.values(), GUARDED) for ask in asks]
    assert len(names) == len(set(names))


def test_two_answers_that_differ_are_told_apart() -> None:
    """The comparison names the smallest place that differs, also where one side has nothing."""
    ask = Ask("x", "GET", "/")
    theirs = {"status": 200, "body": {"a": [1, {"b": 2}], "c": 3}}
    ours = {"status": 200, "body": {"a": [1, {"b": 4}], "d": 5}}
    assert [(one.where, one.theirs, one.ours) for one in differing(ask, theirs, ours)] == [
        ("body.a.1.b", "2", "4"),
        ("body.c", "3", "nothing"),
        ("body.d", "nothing", "5"),
    ]
    failed = {"status": 404, "words": "no"}
    assert [one.where for one in differing(ask, theirs, failed)] == ["status"]
    assert [one.where for one in differing(ask, {"status": 403, "words": "never"}, failed)] == ["status", "words"]
