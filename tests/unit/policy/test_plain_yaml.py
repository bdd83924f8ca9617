"""YAML is read with one meaning. Trust contract section 3.2."""

from __future__ import annotations

import pytest

from countermark.core.plain_yaml import NotPlain, read_plain


def test_scalars_are_the_text_that_was_written() -> None:
    """Nothing becomes a number, a date or a truth value; quoting and blocks make no difference but to the text."""
    text = b"a: 1.10\nb: 010\nc: no\nd: 1:30\ne: 2026-01-01\nf: ''\ng: [~, {h: null}]\ni: |\n  two\n  lines\n"
    assert read_plain(text, 1000, 4) == {
        "a": "1.10", "b": "010", "c": "no", "d": "1:30", "e": "2026-01-01", "f": "", "g": ["~", {"h": "null"}],
        "i": "two\nlines\n",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"a: &x 1\nb: *x\n", r"anchors.*line 1"),
        (b"\n\na: !!str 1\n", r"tags.*line 3"),
        (b"%YAML 1.2\n---\na: 1\n", "directives"),
        (b"a: 1\na: 2\n", r"duplicate.*'a' \(line 2\)"),
        (b"a: {b: 1, b: 2}\n", "duplicate"),
        (b"[a]: 1\n", "non-text key"),
        (b"a: 1\n---\nb: 2\n", "not YAML"),
        (b"a: [[[[[1]]]]]\n", "nested too deeply"),
        (b"a:\n- - - - - 1\n", "nested too deeply"),
        (b"[" * 900, "nested too deeply"),
        (b"a: [1\n", r"not YAML.*line 2"),
        (b"\xff", "not UTF-8"),
        (b"", "empty"),
        (b"# only a comment\n", "empty"),
        (b"a: " + b"x" * 1000, "longer than 1000 bytes"),
        (b"a: \x00", "not YAML"),
        (b"<<: {a: 1}\nb: 2\n", None),
    ],
)
def test_what_is_refused(data: bytes, words: str | None) -> None:
    """All that means more than it shows is refused with its line; a merge key is a key like any other."""
    if words is None:
        assert read_plain(data, 1000, 4) == {"<<": {"a": "1"}, "b": "2"}
        return
    with pytest.raises(NotPlain, match=words):
        read_plain(data, 1000, 4)
