"""The upload form under any cut of the body, any fields and any damage."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise
from pathlib import Path

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from services.upload.form import FormLimits, ReceivedForm, receive_form
from shared.errors import ErrorKind, ServiceError
from tests.support.forms import BOUNDARY, CONTENT_TYPE, file_part, form_body, text_part

NAME = "widget-1.0.tar.gz"

# Pieces that look like boundaries, so that the parser's look-behind is exercised.
_PIECES = st.sampled_from([b"\r\n", b"\r", b"--", b"-", f"\r\n--{BOUNDARY}".encode()[:-1], BOUNDARY.encode(), b"x"])
_DATA = st.lists(_PIECES, min_size=1, max_size=12).map(b"".join)
_NAMES = st.text("abcdefghijklmnopqrstuvwxyz_:", min_size=1, max_size=20).filter(lambda name: name != "content")
_VALUES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=60).filter(
    lambda value: value.strip() != "UNKNOWN" and BOUNDARY not in value
)


async def _cut(body: bytes, cuts: Sequence[int]) -> AsyncIterator[bytes]:
    edges = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    for start, stop in pairwise(edges):
        yield body[start:stop]


def _receive(body: bytes, cuts: Sequence[int]) -> tuple[ReceivedForm, bytes]:
    """Receive a form in a folder of its own; checks that a refusal leaves nothing there."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            limits = FormLimits(max_field_bytes=10_000, max_text_bytes=20_000, max_fields=50)
            form = asyncio.run(receive_form(_cut(body, cuts), CONTENT_TYPE, Path(folder), 10_000, limits))
        except ServiceError:
            assert list(Path(folder).iterdir()) == []
            raise
        return form, form.path.read_bytes()


@settings(max_examples=80, deadline=None)
@given(
    fields=st.lists(st.tuples(_NAMES, _VALUES), max_size=6),
    data=_DATA,
    position=st.integers(0, 6),
    cuts=st.lists(st.integers(0, 5000), max_size=8),
)
def test_what_is_sent_arrives(fields: list[tuple[str, str]], data: bytes, position: int, cuts: list[int]) -> None:
    """Whatever the fields, the file's bytes, its place among the parts and the network's cuts, it arrives as sent."""
    assume(f"\r\n--{BOUNDARY}".encode() not in b"\r\n" + data)
    parts = [text_part(name, value) for name, value in fields]
    parts.insert(min(position, len(parts)), file_part(NAME, data))
    form, received = _receive(form_body(parts), cuts)
    expected: dict[str, list[str]] = {}
    for name, value in fields:
        expected.setdefault(name, []).append(value)
    assert received == data
    assert form.fields == expected


def _check_refusal(error: ServiceError) -> None:
    assert error.kind in {ErrorKind.INVALID, ErrorKind.TOO_LARGE}
    assert error.detail.isascii()


@settings(max_examples=150, deadline=None)
@given(
    changes=st.lists(st.tuples(st.integers(0, 2000), st.binary(max_size=6), st.integers(0, 6)), min_size=1, max_size=4),
    cuts=st.lists(st.integers(0, 5000), max_size=3),
)
def test_damaged_forms_are_received_or_refused(changes: list[tuple[int, bytes, int]], cuts: list[int]) -> None:
    """Bytes put in, taken out or changed anywhere lead to a form or to one ASCII sentence, never to another error."""
    body = form_body([text_part(":action", "file_upload"), file_part(NAME, b"data"), text_part("name", "widget")])
    for at, put, drop in changes:
        at %= len(body) + 1
        body = body[:at] + put + body[at + drop :]
    try:
        form, received = _receive(body, cuts)
    except ServiceError as error:
        _check_refusal(error)
    else:
        assert form.length == len(received) > 0
        assert "/" not in form.file_name
