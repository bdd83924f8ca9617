"""How token secrets look and how they are found again."""

import string

from hypothesis import given
from hypothesis import strategies as st

from shared.auth.passwords import hash_password, password_matches
from shared.auth.tokens import PREFIX, new_secret, token_sha256


def test_a_new_secret_is_found_again_also_behind_the_ci_prefix() -> None:
    """`pypi-` in front, which CI actions look for, changes nothing."""
    secret = new_secret()
    assert secret.startswith(PREFIX)
    assert len(secret) == len(PREFIX) + 49
    digest = token_sha256(secret)
    assert digest is not None
    assert token_sha256(f"pypi-{secret}") == digest
    assert secret not in digest


def test_secrets_differ() -> None:
    """No two secrets are the same."""
    assert len({new_secret() for _ in range(100)}) == 100


@given(st.integers(0, 48), st.sampled_from(string.ascii_letters + string.digits))
def test_a_mistyped_secret_is_refused_by_its_checksum(position: int, letter: str) -> None:
    """One wrong character is noticed without looking anywhere."""
    secret = "cmk_1" + "0" * 43 + "0" * 6
    from_zero = new_secret()
    at = len(PREFIX) + position
    changed = from_zero[:at] + letter + from_zero[at + 1 :]
    assert (token_sha256(changed) is None) == (changed != from_zero)
    assert token_sha256(secret) is None


@given(st.text())
def test_any_other_text_is_no_token(text: str) -> None:
    """Nothing but the exact form is taken for a token."""
    assert token_sha256(text) is None


def test_passwords_match_only_themselves() -> None:
    """A hash fits its password, no other one, and an unreadable hash fits none."""
    encoded = hash_password("correct horse")
    assert password_matches(encoded, "correct horse")
    assert not password_matches(encoded, "Correct horse")
    assert not password_matches("not-a-hash", "correct horse")
    assert not password_matches(encoded, "x" * 5000)
