"""Credentials in lines of the log: cut out wherever a pattern finds them, whatever stands around."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from shared import log

_PIECES = [
    "cmk_",
    "cms_",
    "Basic ",
    "bearer\t",
    "Authorization",
    "x-devpi-auth",
    ": ",
    "=",
    "://",
    "a:b",
    "@",
    "?code=",
]
_MORE = ["&state=", "?token=", "&id_token=", "?code_verifier=", "abcdef0123456789", "é", "\n", "ſ", "K", " ", "/"]


def _whole(text: str) -> str:
    for pattern, replacement in log._SECRETS:
        text = pattern.sub(replacement, text)
    return text


@given(st.lists(st.one_of(st.sampled_from([*_PIECES, *_MORE]), st.text(max_size=3)), max_size=12).map("".join))
@example("BAſIC abcdefgh01")
@example("AUTHORIZATION: x")
def test_the_quick_look_misses_nothing(text: str) -> None:
    """A text is looked through by every pattern if one of them would change it."""
    assert log.redact_text(text) == _whole(text)
