"""JSON of attestations: one meaning, or none."""

from __future__ import annotations

import pytest

from countermark.core.strict_json import MAX_LEVELS, read_json


def test_what_it_reads() -> None:
    """Plain JSON is read as it is, up to the most levels that are taken."""
    assert read_json('{"a": [1, -2.5, true, null, "\u00e4", "\\ud83d\\ude00"]}'.encode()) == {
        "a": [1, -2.5, True, None, "\u00e4", "\U0001f600"]
    }
    assert read_json(b"[" * MAX_LEVELS + b"1" + b"]" * MAX_LEVELS)


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": 1, "a": 2}',
        b'[{"b": {"a": 1, "a": 1}}]',
        b"[" * (MAX_LEVELS + 1) + b"1" + b"]" * (MAX_LEVELS + 1),
        b"[" * 1_000_000,
        b'{"a": NaN}',
        b"[Infinity]",
        b"[1e999]",
        b"[9223372036854775808]",
        b"[" + b"9" * 100_000 + b"]",
        b"{" + b"".join(b'"%d":0,' % number for number in range(200_000)) + b'"199999":0}',
        b'"\\ud800"',
        b'{"\\u0000": 1}',
        b'"a\\u0000"',
        b"\xef\xbb\xbf{}",
        b"\xff",
        b'"\xed\xa0\x80"',
        b"",
        b"{} {}",
        b"'a'",
    ],
)
def test_what_it_refuses(body: bytes) -> None:
    """Keys twice, depth, numbers that are none, halves of characters, what is no JSON: an error that says why."""
    with pytest.raises(ValueError, match=r"\S"):
        read_json(body)
