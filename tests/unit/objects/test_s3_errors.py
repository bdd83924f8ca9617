"""Errors of an S3 server in words."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError, NoCredentialsError, SSLError

from shared.objects.s3_errors import advice, is_missing


def answered(code: str, message: str = "") -> ClientError:
    """Return the library's error for an answer with this code."""
    return ClientError({"Error": {"Code": code, "Message": message}}, "PutObject")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("SlowDown", "fewer requests"),
        ("503", "fewer requests"),
        ("AccessDenied", "may not do this"),
        ("InvalidAccessKeyId", "check objects.access_key"),
        ("RequestTimeTooSkewed", "clocks"),
    ],
)
def test_known_codes_say_what_to_do(code: str, words: str) -> None:
    """Codes an operator can do something about say what."""
    assert words in advice(answered(code))


def test_unknown_codes_are_passed_on() -> None:
    """A code nobody foresaw is named with the server's own words, cut to a bound."""
    text = advice(answered("StrangeThing", "because " * 100))
    assert text.startswith("it answered StrangeThing: because")
    assert len(text) < 250


def test_no_credentials() -> None:
    """Absent credentials name the settings."""
    assert "objects.secret_key" in advice(NoCredentialsError())


def test_an_unknown_authority() -> None:
    """A certificate of an authority that nobody named says which setting names it."""
    assert "objects.ca_file" in advice(SSLError(endpoint_url="https://s3.example.org", error=OSError("self-signed")))


def test_missing_is_told_from_refused() -> None:
    """Only an absent object counts as missing; an absent bucket does not."""
    assert is_missing(answered("NoSuchKey"))
    assert is_missing(answered("404"))
    assert not is_missing(answered("NoSuchBucket"))
    assert not is_missing(answered("403"))
