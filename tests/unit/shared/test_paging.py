"""Cursors and pages of lists."""

from __future__ import annotations

import base64
from contextlib import suppress
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import ErrorKind, ServiceError
from shared.paging import MAX_CURSOR, cursor_number, cursor_text, decode_cursor, encode_cursor, page_of


@given(st.dictionaries(st.text(max_size=10), st.text(max_size=50) | st.integers(-(2**53), 2**53), max_size=3))
def test_a_cursor_comes_back_as_it_went(position: dict[str, str | int]) -> None:
    """Whatever the key of a row is, it survives and needs no quoting in a URL."""
    cursor = encode_cursor(position)
    assert decode_cursor(cursor) == position
    assert cursor.replace("-", "").replace("_", "").isalnum()


def test_times_and_ids_come_back_as_text() -> None:
    """JSON has neither; whoever made the cursor reads them again."""
    moment, number = datetime(2026, 1, 2, tzinfo=UTC), UUID(int=7)
    assert decode_cursor(encode_cursor({"at": moment, "id": number})) == {"at": moment.isoformat(), "id": str(number)}


@pytest.mark.parametrize(
    "cursor",
    ["", "x", "W10", "bnVsbA", "\u00e9\u00e9\u00e9\u00e9", "e30 ", "/+/+", "A" * (MAX_CURSOR + 1), "e30\n"],
)
def test_what_is_no_cursor_is_malformed(cursor: str) -> None:
    """Made-up cursors are the client's fault, told in words."""
    with pytest.raises(ServiceError) as caught:
        decode_cursor(cursor)
    assert caught.value.kind is ErrorKind.MALFORMED


@given(st.text(max_size=100))
def test_no_text_breaks_the_decoder(cursor: str) -> None:
    """A cursor is decoded or malformed; nothing else happens."""
    with suppress(ServiceError):
        assert isinstance(decode_cursor(cursor), dict)


def test_a_deep_cursor_is_malformed() -> None:
    """Nesting is bounded by the length of a cursor and by the parser."""
    with pytest.raises(ServiceError):
        decode_cursor(base64.urlsafe_b64encode(b"[" * 1500).decode().rstrip("="))


@pytest.mark.parametrize("position", [{}, {"name": 1}, {"name": None}, {"name": ["a"]}, {"name": "a\x00b"}])
def test_a_text_must_be_there(position: dict[str, object]) -> None:
    """Another list's cursor is malformed too; NUL is nothing the catalogue can compare with."""
    with pytest.raises(ServiceError):
        cursor_text(position, "name")
    assert cursor_text({"name": "a"}, "name") == "a"


@pytest.mark.parametrize("value", [None, "1", 1.5, True, 2**63])
def test_a_number_must_fit_a_row(value: object) -> None:
    """Only what the catalogue can compare with goes into a query."""
    with pytest.raises(ServiceError):
        cursor_number({"serial": value}, "serial")
    assert cursor_number({"serial": 7}, "serial") == 7


@pytest.mark.parametrize(
    ("rows", "shown", "more"), [([], [], False), ([1, 2], [1, 2], False), ([1, 2, 3], [1, 2], True)]
)
def test_a_page_ends_with_a_cursor_only_when_there_is_more(rows: list[int], shown: list[int], more: bool) -> None:
    """The query asks for one row more than is shown; that one decides."""
    page = page_of(rows, 2, lambda row: row, lambda row: {"row": row})
    assert page.items == shown
    assert page.next == (encode_cursor({"row": 2}) if more else None)
