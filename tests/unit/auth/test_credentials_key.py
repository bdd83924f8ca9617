"""Requests with one token are counted as one, however it is sent."""

from __future__ import annotations

import base64

from shared.auth.tokens import new_secret
from shared.auth.verifier import credentials_key


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def test_every_spelling_of_a_token_is_one() -> None:
    """Bearer, Basic with any user name, with and without the prefix that CI actions look for."""
    token = new_secret()
    spellings = [
        f"Bearer {token}",
        f"token {token}",
        _basic("a", token),
        _basic("b", token),
        _basic("", f"pypi-{token}"),
    ]
    assert len({credentials_key(spelling) for spelling in spellings}) == 1
    assert credentials_key(f"Bearer {new_secret()}") != credentials_key(spellings[0])
    assert token not in credentials_key(spellings[0])


def test_passwords_are_counted_apart_and_not_kept() -> None:
    """A stranger who guesses uses up nobody else's tries; any text has a key."""
    right, wrong = credentials_key(_basic("a", "right")), credentials_key(_basic("a", "wrong"))
    assert right != wrong
    assert "right" not in right
    assert len(credentials_key("nonsense \x00 " + "x" * 100_000)) == 64
