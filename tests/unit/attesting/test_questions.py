"""Questions as they go through a pipe."""

import base64
import json
import random

import pytest

from countermark.core.digest import sha256_of
from shared.attesting.questions import encoded, weight_of


def test_bytes_stand_in_base64() -> None:
    """Of any length, at any depth, in order; together the pieces are what the JSON library reads."""
    some = random.Random(1)
    contents = [some.randbytes(length) for length in (0, 1, 2, 3, 48 << 10, (48 << 10) + 1, 200_000)]
    found = encoded({"ask": "x", "list": contents, "deep": {"one": {"a": b"z"}, "none": None}, "tuple": (b"1", 2)})
    whole = b"".join(found.pieces)
    assert json.loads(whole) == {
        "ask": "x",
        "list": [base64.b64encode(one).decode() for one in contents],
        "deep": {"one": {"a": "eg=="}, "none": None},
        "tuple": ["MQ==", 2],
    }
    assert (found.length, found.sha256) == (len(whole), sha256_of(whole))
    assert max(map(len, found.pieces)) <= 64 << 10


def test_the_same_question_has_the_same_digest() -> None:
    """Answers are remembered by it."""
    assert encoded({"a": b"1", "b": [b"2"]}) == encoded({"a": b"1", "b": [b"2"]})
    assert encoded({"a": b"1"}).sha256 != encoded({"a": b"2"}).sha256


def test_what_is_no_json_is_refused() -> None:
    """A mistake of whoever asks."""
    with pytest.raises(TypeError):
        encoded({"a": object()})


def test_weight() -> None:
    """It is about as much as is sent."""
    question = {"ask": "x", "list": [b"x" * 90_000, "y" * 1000], "number": 1}
    assert weight_of(question) == pytest.approx(encoded(question).length, rel=0.01)
