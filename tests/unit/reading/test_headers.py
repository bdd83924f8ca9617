"""Conditional requests by the book, and no header that makes them fail."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.reading.headers import (
    MAX_ETAGS,
    Asked,
    asked_by,
    asks_for_pages,
    etag_matches,
    http_date,
    is_installer,
    not_modified,
    parse_http_date,
)

MOMENT = datetime(2026, 11, 20, 10, 41, 7, 250_000, tzinfo=UTC)


def test_list_headers_of_several_lines_are_one() -> None:
    """RFC 9110 section 5.2: lines of a list header count as one list; other headers are not looked at."""
    asked = asked_by([(b"accept", b"text/html"), (b"x-other", b"1"), (b"accept", b"*/*"), (b"range", b"bytes=0-1")])
    assert asked == Asked(accept=b"text/html, */*", range=b"bytes=0-1")


@pytest.mark.parametrize("value", [b'"a"', b'W/"a"', b'"b", "a"', b'"b",W/"a" ', b"*", b" * "])
def test_matching_tags(value: bytes) -> None:
    """A tag matches alone, in a list, marked as weak by a proxy, or as `*`."""
    assert etag_matches(value, b'"a"')


@pytest.mark.parametrize("value", [b"", b"a", b'"A"', b'"a', b'"a"b', b'*, "b"', b",,,"])
def test_other_tags(value: bytes) -> None:
    """Nothing else matches; `*` beside tags is no list."""
    assert not etag_matches(value, b'"a"')


def test_a_long_list_is_read_up_to_a_bound() -> None:
    """Tags beyond the bound are not compared: the client gets the page again, which is never wrong."""
    assert etag_matches(b'"x", ' * (MAX_ETAGS - 1) + b'"a"', b'"a"')
    assert not etag_matches(b'"x", ' * MAX_ETAGS + b'"a"', b'"a"')


def test_dates() -> None:
    """Times are written in the one form of today, in GMT and whole seconds, and read back from it only."""
    assert http_date(MOMENT) == b"Fri, 20 Nov 2026 10:41:07 GMT"
    assert http_date(MOMENT.astimezone(timezone(timedelta(hours=5)))) == http_date(MOMENT)
    assert parse_http_date(http_date(MOMENT)) == MOMENT.replace(microsecond=0)
    for value in (b"", b"Friday, 20-Nov-26 10:41:07 GMT", b"Fri, 20 Nov 2026 10:41:07 CET", b"\xff", b"0"):
        assert parse_http_date(value) is None


def test_date_counts_only_without_a_tag() -> None:
    """RFC 9110 section 13.1.3: If-Modified-Since is ignored beside If-None-Match."""
    since = http_date(MOMENT)
    assert not_modified(Asked(if_modified_since=since), b'"a"', MOMENT)
    assert not_modified(Asked(if_modified_since=since), b'"a"', MOMENT - timedelta(days=1))
    assert not not_modified(Asked(if_modified_since=since), b'"a"', MOMENT + timedelta(seconds=1))
    assert not not_modified(Asked(if_modified_since=since, if_none_match=b'"b"'), b'"a"', MOMENT)
    assert not not_modified(Asked(if_modified_since=since), b'"a"', None)
    assert not not_modified(Asked(), b'"a"', MOMENT)


@given(st.binary(max_size=300), st.binary(max_size=100))
def test_any_bytes_are_answered(match: bytes, since: bytes) -> None:
    """No header value makes the comparison fail, and 304 needs the tag or `*` in it."""
    if not_modified(Asked(if_none_match=match), b'"a"', MOMENT):
        assert b'"a"' in match or match.strip() == b"*"
    not_modified(Asked(if_modified_since=since), b'"a"', MOMENT)


@pytest.mark.parametrize(
    ("agent", "installs"),
    [
        ('pip/26.3 {"ci":null}', True),
        ("uv/0.13.8", True),
        ("Python/3.13 setuptools/80.0", True),
        ("something (pex/2.1)", True),
        ("distribute/0.6", True),
        ("devpi-client/7.3.0", False),
        ("pipx/1.0", False),
        ("notpip/1", False),
        ("curl/8.5", False),
        ("x" * 5000 + " pip/26.3", False),
        ("", False),
        (None, False),
    ],
)
def test_installers_by_their_names(agent: str | None, installs: bool) -> None:
    """A client installs packages when one of five names stands at the beginning of a word of its User-Agent."""
    assert is_installer(agent) is installs


@pytest.mark.parametrize(
    ("agent", "accept", "pages"),
    [
        ("pip/26.3", "application/vnd.pypi.simple.v1+json, text/html; q=0.01", True),
        ("pip/26.3", None, True),
        ("pip/26.3", "application/json", False),
        ("curl/8", "application/vnd.pypi.simple.v1+json", True),
        ("curl/8", "text/html, Application/VND.pypi.simple.latest+HTML;q=0.2", True),
        ("curl/8", "application/vnd.pypi.simple.v1+json, application/json", False),
        ("curl/8", "*/*", False),
        ("Mozilla/5.0", "text/html,*/*;q=0.8", False),
        (None, None, False),
    ],
)
def test_who_wants_pages_where_documents_are(agent: str | None, accept: str | None, pages: bool) -> None:
    """Installers and whoever accepts a type of simple pages; never who names devpi's JSON."""
    assert asks_for_pages(agent, accept) is pages


def test_a_wish_for_absolute_links_is_seen() -> None:
    """The header counts by being there, also when it is empty."""
    assert asked_by([(b"x-devpi-absolute-urls", b"")]).absolute
    assert not asked_by([(b"accept", b"*/*")]).absolute
