"""API tokens: how a secret looks, how it is kept. Pure but for the random source.

A token is `cmk_1`, or `cms_1` when a login of the devpi client made it, and 49 characters: 43 of base62 randomness (256
bits) and a 6-character checksum, so that scanners find it by its prefix and a mistyped one is refused without looking
anywhere. Only the sha256 of the whole text is kept.
Source: contract python-index section 3.6; architecture section 11.9.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import zlib

PREFIX = "cmk_1"
"""`cmk_` and the format's version."""

MINTED_PREFIX = "pypi-"
"""Stands before the tokens of trusted publishers, and is no part of them. Source: contract python-index 3.2 and 3.6."""

LOGIN_PREFIX = "cms_1"
"""Begins the tokens of `+login`: good for the account's own name only, and for hours. Source: contract devpi 23."""

FORMAT_VERSION = 1
"""Of tokens that people make."""

LOGIN_FORMAT_VERSION = 2
"""Of tokens of `+login`."""

OPEN_LOGIN_FORMAT_VERSION = 3
"""Of those that were made while the deployment was an open devpi, perhaps without a password: good while it is one."""

PUBLISHER_FORMAT_VERSION = 4
"""Of those that a trusted publisher's exchange made: what it may do is in its scopes, whatever accounts may."""

LOGIN_FORMAT_VERSIONS = frozenset([LOGIN_FORMAT_VERSION, OPEN_LOGIN_FORMAT_VERSION])
"""Of all tokens of `+login`."""

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_TOKEN = re.compile(r"cm[ks]_1([0-9A-Za-z]{43})([0-9A-Za-z]{6})\Z")


def new_secret(prefix: str = PREFIX) -> str:
    """Return a new token's text, of one kind. It is shown once and never stored."""
    body = "".join(secrets.choice(_ALPHABET) for _ in range(43))
    return f"{prefix}{body}{_checksum(body)}"


def token_sha256(text: str) -> str | None:
    """Return under which digest a token would be kept, or None when `text` is no token of ours.

    A leading `pypi-` is ignored: minted tokens carry it because CI actions look for it.
    """
    bare = text.removeprefix(MINTED_PREFIX)
    match = _TOKEN.match(bare)
    if match is None or _checksum(match[1]) != match[2]:
        return None
    return hashlib.sha256(bare.encode()).hexdigest()


def looks_like_token(text: str) -> bool:
    """Return whether `text` begins as our tokens do, whether or not it is one."""
    return text.removeprefix(MINTED_PREFIX).startswith((PREFIX, LOGIN_PREFIX))


def is_login_token(text: str) -> bool:
    """Return whether a text has the form of a token of `+login`; never whether it is good."""
    return text.startswith(LOGIN_PREFIX) and token_sha256(text) is not None


def _checksum(body: str) -> str:
    value = zlib.crc32(body.encode())
    digits = []
    for _ in range(6):
        value, rest = divmod(value, 62)
        digits.append(_ALPHABET[rest])
    return "".join(reversed(digits))
