"""JSON that a client sends: one meaning, and none that trips what reads it."""

from __future__ import annotations

import pytest

from shared.strict_json import MAX_LEVELS, BadJson, is_deeper, read_json


@pytest.mark.parametrize(
    ("body", "read"),
    [
        (b'{"a": [1, -2.5, true, null, "\xc3\xa4"]}', {"a": [1, -2.5, True, None, "ä"]}),
        (b"9223372036854775807", (1 << 63) - 1),
        (b"-9223372036854775808", -(1 << 63)),
        (b'[{"a": 1}, {"a": 2}]', [{"a": 1}, {"a": 2}]),
        (b'"\\ud83d\\ude00"', "😀"),
        (b"[" * MAX_LEVELS + b"]" * MAX_LEVELS, None),
    ],
)
def test_what_can_be_read(body: bytes, read: object) -> None:
    """Every kind of value, up to the bounds."""
    assert read is None or read_json(body) == read
    read_json(body)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "could not decode json"),
        (b"{", "could not decode json"),
        (b"\xff", "could not decode json"),
        (b"NaN", "could not decode json"),
        (b"1e999", "could not decode json"),
        (b"1" * 5000, "could not decode json"),
        (b'"\\ud800"', "could not decode json"),
        (b"9223372036854775808", "a number of more than 64 bits"),
        (b"-9223372036854775809", "a number of more than 64 bits"),
        (b"[18446744073709551616]", "a number of more than 64 bits"),
        (b'{"a": 1, "a": 2}', "the key 'a' is there twice"),
        (b'[{"b": {"\\u0061": 1, "a": 2}}]', "the key 'a' is there twice"),
        (b'{"a": ["\\u0000"]}', "a null character"),
        (b'{"\\u0000": 1}', "a null character"),
        (b"[" * (MAX_LEVELS + 1) + b"]" * (MAX_LEVELS + 1), "more than 32 levels"),
        (b'{"a":' * 1000 + b"1" + b"}" * 1000, "more than 32 levels"),
        (b"[" * 100_000 + b"]" * 100_000, "could not decode json"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else f"{value[:12]!r}{len(value)}",
)
def test_what_cannot(body: bytes, why: str) -> None:
    """One sentence, in devpi's words, and of bounded length."""
    with pytest.raises(BadJson, match=r"^Bad request: could not decode json") as caught:
        read_json(body)
    assert why in str(caught.value)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("shape", [(b"[", b"]"), (b'{"a":', b"}")])
def test_the_last_level_that_is_taken(shape: tuple[bytes, bytes]) -> None:
    """Is `MAX_LEVELS`; what is in it does not count as one."""
    opening, closing = shape
    document = read_json(opening * MAX_LEVELS + b"1" + closing * MAX_LEVELS)
    assert not is_deeper(document, MAX_LEVELS)
    assert is_deeper(document, MAX_LEVELS - 1)
    assert not is_deeper("text", 0)
    assert is_deeper([], 0)
