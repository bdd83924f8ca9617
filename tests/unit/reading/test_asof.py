"""Moments, and since when the files of a page are there."""

from __future__ import annotations

from datetime import UTC, datetime

import orjson
import pytest

from countermark.core.digest import Sha256
from countermark.core.names import FileName, IndexName, NormalizedName
from shared.reading.asof import Dated, cut, dated_files, parse_moment

ASKED, MIRROR, BASE = IndexName("a", "top"), IndexName("root", "pypi"), IndexName("a", "base")
PROJECT = NormalizedName("widget")
MOMENT = datetime(2024, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-25T12:00:00Z", datetime(2026, 11, 25, 12, tzinfo=UTC)),
        ("2026-11-25T12:00:00.25Z", datetime(2026, 11, 25, 12, 0, 0, 250_000, tzinfo=UTC)),
        ("2026-11-25", datetime(2026, 11, 25, tzinfo=UTC)),
        ("2024-02-29", datetime(2024, 2, 29, tzinfo=UTC)),
        *((text, None) for text in ("", "2026-11-25T12:00:00", "2026-11-25T12:00:00+00:00", "2026-11-25T12Z")),
        *((text, None) for text in ("2026-11-25\n", "2026-02-29", "2026-11-25T12:00:60Z", "20261125", "0000-01-01")),
    ],
)
def test_moments(text: str, moment: datetime | None) -> None:
    """One form, to the second or finer, and the day alone; whatever else is written is none."""
    assert parse_moment(text) == moment


def entry(name: str, **more: object) -> dict[str, object]:
    """Return how a page lists a file."""
    return {"filename": name, "url": f"../../+f/{name}", "hashes": {"sha256": "0" * 64}, **more}


def page(*files: dict[str, object], versions: tuple[str, ...] = ()) -> bytes:
    """Return a page document."""
    return orjson.dumps({"meta": {}, "name": PROJECT, "versions": versions, "files": files})


def test_whose_time_counts() -> None:
    """The upload time of what a mirror has; of hosted files the publication's, whatever the page says."""
    named = "widget-1.0.tar.gz", "widget-2.0.tar.gz", "widget-3.0.tar.gz", "widget-4.0.tar.gz"
    said = {"upload-time": "2024-01-02T00:00:00Z"}
    document = page(
        entry(named[0], **said),
        entry(named[1], _origin=str(BASE), **said),
        entry(named[2], _origin=str(MIRROR), **said),
        entry(named[3], _origin=str(MIRROR)),
    )
    hosted = Dated("2.0", datetime(2024, 5, 5, tzinfo=UTC))
    published = {(BASE, Sha256("0" * 64), FileName(named[1])): hosted}
    found = dated_files(document, ASKED, PROJECT, {MIRROR}, published)
    assert found == {named[1]: hosted, named[2]: Dated("3.0", MOMENT), named[3]: Dated("4.0", None)}
    assert [file["filename"] for file in orjson.loads(cut(document, found, MOMENT))["files"]] == [named[2]]


def test_versions_are_those_of_the_files() -> None:
    """However a version is spelled; one without a file is of no known time."""
    names = [FileName(f"widget-{version}.tar.gz") for version in ("1.0", "2.0")]
    files = {names[0]: Dated("1.0", MOMENT), names[1]: Dated("2.0", datetime(2025, 1, 1, tzinfo=UTC))}
    document = page(*map(entry, names), versions=("2.0", "1.0.0", "0.5"))
    then = orjson.loads(cut(document, files, MOMENT))
    assert (then["versions"], [file["filename"] for file in then["files"]]) == (["1.0.0"], names[:1])
