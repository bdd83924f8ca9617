"""Errors of an S3 server in words."""

from __future__ import annotations

import ssl

import pytest
from botocore.exceptions import ClientError, NoCredentialsError, SSLError

from shared.objects.s3_errors import advice, was_repeated


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


@pytest.mark.parametrize(
    ("number", "words"),
    [(20, "objects.ca_file"), (18, "objects.ca_file"), (62, "another host name"), (10, "not valid today")],
)
def test_certificates(number: int, words: str) -> None:
    """What OpenSSL found wrong with a certificate decides what to do."""
    cause = ssl.SSLCertVerificationError()
    cause.verify_code = number
    assert words in advice(SSLError(endpoint_url="https://s3.example.org", error=cause))


def test_no_tls() -> None:
    """A fault of TLS that is not about a certificate asks whether the endpoint speaks it."""
    cause = ssl.SSLError("record layer failure")
    assert "http://" in advice(SSLError(endpoint_url="https://s3.example.org", error=cause))


def test_one_line() -> None:
    """Whatever a server or the library says becomes one line."""
    assert "\n" not in advice(answered("Strange", "a\nb"))
    assert "\n" not in advice(OSError("a\nb"))


def test_repetitions() -> None:
    """Only a request that was sent more than once counts as repeated."""
    error = answered("NoSuchUpload")
    assert not was_repeated(error)
    error.response["ResponseMetadata"] = {"RetryAttempts": 1}  # type: ignore[typeddict-item]
    assert was_repeated(error)
