"""Values are shown as people read them, and lines for tools hold this deployment's address."""

from __future__ import annotations

import tomllib
from datetime import UTC, datetime, timedelta, timezone

import pytest

from gateway.dashboard.project_pages import about
from gateway.dashboard.setup import install_lines, reading_recipes, uploading_recipes
from gateway.words import day, iso, package_type, size, utc

URL = "https://registry.test/team/stable"


@pytest.mark.parametrize(
    ("length", "shown"),
    [
        (0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (999_949, "999.9 kB"), (999_950, "1.0 MB"),
        (12_300_000, "12.3 MB"), (5 * 10**9, "5.0 GB"), (7 * 10**15, "7000.0 TB"),
    ],
)  # fmt: skip
def test_sizes_have_units(length: int, shown: str) -> None:
    """Three digits and a unit, never a thousand of one that has a larger one."""
    assert size(length) == shown


def test_moments_are_in_utc() -> None:
    """Another zone's moment is shown in UTC, the day included."""
    moment = datetime(2026, 11, 3, 0, 5, tzinfo=timezone(timedelta(hours=2)))
    assert (day(moment), utc(moment), iso(moment)) == ("2 Nov 2026", "2 Nov 2026, 22:05 UTC", "2026-11-02T22:05:00Z")
    assert iso(datetime(2026, 1, 1, tzinfo=UTC)) == "2026-01-01T00:00:00Z"


def test_kinds_of_files_have_short_names() -> None:
    """A kind that nobody named is shown as it is."""
    assert [package_type(name) for name in ("bdist_wheel", "sdist", "odd")] == ["wheel", "source", "odd"]


def test_every_line_names_this_index() -> None:
    """Nothing is left to fill in but a project's name and a token; the uv table is TOML."""
    recipes = [*reading_recipes(URL, "demo"), *uploading_recipes(URL), *install_lines(URL, "demo", "1.0")]
    assert all(URL in recipe.lines for recipe in recipes)
    (table,) = [recipe.lines for recipe in recipes if recipe.tool == "pyproject.toml"]
    (index,) = tomllib.loads(table)["tool"]["uv"]["index"]
    assert index == {"name": "stable", "url": f"{URL}/+simple/", "publish-url": f"{URL}/", "default": True}
    assert "demo==1.0" in install_lines(URL, "demo", "1.0")[0].lines


def test_metadata_of_strangers_is_bounded() -> None:
    """Values of any kind are shown as bounded text or not at all; links lead to the web alone."""
    shown = about(
        {
            "summary": ["no", "text"],
            "license": "x" * 5000,
            "author": 7,
            "author_email": "a@b.test",
            "keywords": ["one", 2, "three"],
            "home_page": "javascript:alert(1)",
            "project_urls": {"Docs": "https://example.org", "Bad": "ftp://x", "Worse": "http://[", "None": None},
        }
    )
    assert shown.summary is None
    assert dict(shown.facts) == {"Licence": "x" * 100, "Author": "a@b.test"}
    assert shown.links == (("Docs", "https://example.org"),)
    assert shown.keywords == ("one", "three")
    assert about({}).facts == ()
