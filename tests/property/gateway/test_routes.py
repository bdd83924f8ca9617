"""Which paths mean one thing only is said once as a pattern, and here once more segment by segment."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.routes import plainly_written

_PIECES = st.sampled_from(
    ["/", "//", ".", "..", "...", "a", "\\", "\n", "\x00", "\x1f", "\x7f", "\x85", " ", "%", "\ufffd", "é"]
)


@given(st.lists(_PIECES, max_size=8).map("".join))
def test_a_path_means_one_thing_when_each_segment_and_each_character_does(rest: str) -> None:
    """What is refused: empty segments but the last, `.` and `..`, backslashes, control characters, no UTF-8."""
    path = f"/{rest}"
    *before, last = path[1:].split("/")
    segments = all(segment not in {"", ".", ".."} for segment in before) and last not in {".", ".."}
    characters = all(ord(character) >= 0x20 and character not in "\x7f\\\ufffd" for character in path)
    assert plainly_written(path, b"") is (segments and characters)
