"""What a query for advisories asks is read as the public service reads it, and what cannot be answered is refused."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from services.index.osv_rules import Asked, Query, read_query, read_token, token_after, written
from shared.errors import ServiceError


def query(**members: str) -> Query:
    """Return a query with these members."""
    names = ("name", "ecosystem", "purl", "version", "commit", "page_token")
    return Query(**{name: members.get(name) for name in names})


@pytest.mark.parametrize(
    ("members", "asked"),
    [
        ({"name": "A.Thing", "ecosystem": "PyPI", "version": "1.0"}, ("a-thing", "1.0")),
        ({"name": "thing", "ecosystem": "PyPI"}, ("thing", None)),
        ({"purl": "pkg:pypi/thing@1.0"}, ("thing", "1.0")),
        ({"purl": "pkg:pypi/thing@1.0%2Bcpu?file=x#y"}, ("thing", "1.0+cpu")),
        ({"purl": "PKG:PyPI/thing", "version": "2.0"}, ("thing", "2.0")),
        ({"purl": "pkg:pypi/thing"}, ("thing", None)),
    ],
)
def test_read(members: dict[str, str], asked: tuple[str, str | None]) -> None:
    """A package is named by name and ecosystem, or by its URL; the version stands beside it or in the URL."""
    found = read_query(query(**members))
    assert (str(found.project), found.version, found.after) == (*asked, "")


@pytest.mark.parametrize(
    ("members", "why"),
    [
        ({}, "Only packages of the ecosystem PyPI"),
        ({"name": "thing", "ecosystem": "npm"}, "Only packages of the ecosystem PyPI"),
        ({"name": "thing", "ecosystem": "pypi"}, "Only packages of the ecosystem PyPI"),
        ({"name": "", "ecosystem": "PyPI"}, "name"),
        ({"name": "../x", "ecosystem": "PyPI"}, "name"),
        ({"commit": "abc"}, "Commits are not looked up"),
        ({"purl": "pkg:npm/thing@1.0"}, "type pypi"),
        ({"purl": "pkg:pypi/@1.0"}, "name"),
        ({"purl": "pkg:pypi/thing@1.0", "version": "1.0"}, "not in both"),
        ({"purl": "pkg:pypi/thing", "name": "thing", "ecosystem": "PyPI"}, "not by both"),
        ({"name": "thing", "ecosystem": "PyPI", "version": "1" * 257}, "256 characters"),
        ({"name": "thing", "ecosystem": "PyPI", "page_token": "%%%"}, "none of this server"),
        ({"name": "thing", "ecosystem": "PyPI", "page_token": token_after("../x")}, "none of this server"),
    ],
)
def test_refused(members: dict[str, str], why: str) -> None:
    """What cannot be answered is refused in words, not answered as if nothing were known."""
    with pytest.raises(ServiceError, match=why):
        read_query(query(**members))


def test_tokens() -> None:
    """A token says after which advisory an answer goes on."""
    asked = read_query(query(name="thing", ecosystem="PyPI", page_token=token_after("A-1")))
    assert (type(asked), asked.after, read_token(token_after(""))) == (Asked, "A-1", "")


def test_times() -> None:
    """Times are written in UTC with a Z."""
    assert written(datetime(2026, 1, 2, 3, 4, 5, 600, UTC)) == "2026-01-02T03:04:05.000600Z"
