"""Credentials of upstreams: which server gets which, and how they are written."""

from __future__ import annotations

import base64

import pytest
from pydantic import SecretStr

from countermark.core.names import IndexName
from shared.upstream_secrets import authorization_for, checked_secret

MIRROR = IndexName("root", "corp")
SECRETS = {"root/corp": SecretStr("https://user:p%40ss%3Aword@Wheels.example.org")}


@pytest.mark.parametrize("url", ["https://wheels.example.org/simple/", "https://wheels.example.org:443/a?b"])
def test_the_server_they_are_for(url: str) -> None:
    """Gets user and password as they are once their escapes are undone."""
    given = authorization_for(SECRETS, MIRROR, url)
    assert given is not None
    assert base64.b64decode(given.removeprefix("Basic ")) == b"user:p@ss:word"


@pytest.mark.parametrize(
    "url",
    [
        "http://wheels.example.org/simple/",
        "https://wheels.example.org:8443/simple/",
        "https://other.example.org/simple/",
        "https://wheels.example.org.evil.example/simple/",
        None,
    ],
)
def test_no_other_server(url: str | None) -> None:
    """Another scheme, port or host gets nothing; nor does another mirror."""
    assert authorization_for(SECRETS, MIRROR, url) is None
    assert authorization_for(SECRETS, IndexName("root", "other"), "https://wheels.example.org/") is None


@pytest.mark.parametrize(
    "text",
    [
        "user:secret",
        "https://wheels.example.org",
        "https://secret@wheels.example.org",
        "ftp://u:secret@h",
        "https://u:secret@[::1",
    ],
)
def test_what_is_none(text: str) -> None:
    """Is refused in words that repeat nothing of it."""
    with pytest.raises(ValueError, match="https://user:password@host") as refused:
        checked_secret(text)
    assert "secret" not in str(refused.value)
