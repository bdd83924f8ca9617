"""A push's document, whatever it holds."""

from __future__ import annotations

import orjson
from hypothesis import given
from hypothesis import strategies as st

from services.upload import push_rules as rules
from services.upload.push_rules import InvalidPush

_TEXTS = st.text(max_size=10) | st.sampled_from(["root/dev", "x" * 501, "a\nb", "", "https://a.example/"])
_VALUES = st.none() | st.booleans() | st.integers(-5, 5) | _TEXTS | st.lists(_TEXTS, max_size=2)
_KEYS = st.sampled_from(
    [
        "name",
        "version",
        "targetindex",
        "posturl",
        "username",
        "password",
        "no_docs",
        "only_docs",
        "register_project",
        "k",
    ]
)


@given(st.binary(max_size=60) | st.dictionaries(_KEYS, _VALUES, max_size=9).map(orjson.dumps))
def test_any_document_is_a_push_or_one_sentence(body: bytes) -> None:
    """It is understood with plain texts in its fields, or refused in words that fit a line."""
    read = _read(body)
    if isinstance(read, InvalidPush):
        assert 0 < len(str(read)) < 1000
        return
    assert all(isinstance(text, str) and 0 < len(text) <= rules.MAX_TEXT and text.isprintable() for text in read)


def _read(body: bytes) -> list[str] | InvalidPush:
    """Return the texts of a document, or why it is none."""
    try:
        push = rules.parse_push(body)
        rules.check_flags(push)
        return [
            push.name,
            push.version,
            rules.target_of(push) if push.is_internal else rules.forwarding_of(push).posturl,
        ]
    except InvalidPush as error:
        return error
