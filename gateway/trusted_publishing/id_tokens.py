"""Identity tokens of CI jobs: what one says before it is believed, and whether it is to be believed. Pure.

1. The token is three parts of base64url within a bound; header and claims are JSON objects without a key twice.
2. The algorithm is RS256, whatever the header says beside it, and the header names a key.
3. The signature is that of the issuer's key.
4. `iss` is the issuer whose key it was, `aud` one text, ours; `exp`, `iat` and, where it is there, `nbf` hold now.
5. `sub` is there, and `jti`, by which the token is used once.

Source: contract python-index section 3.3; RFC 7515 section 7.1, RFC 7519 section 4.1, RFC 8725.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from gateway.trusted_publishing.claims import shown
from gateway.trusted_publishing.refusals import MintRefused
from shared.strict_json import BadJson, read_json

ALGORITHM = "RS256"
"""The one that is taken: all CI services sign so."""

MAX_TOKEN = 16_384
"""Characters of an identity token; real ones have some 2,000."""

LEEWAY = 30
"""Seconds by which an issuer's clock may differ from ours."""

LONGEST = 86_400
"""Seconds that an identity token may be good for from now on: for so long it is remembered that it was used."""

_MOST_JTI = 500
_MOST_KID = 200
_MOST_ISSUER = 2000

_WITHOUT_JTI = frozenset(["https://accounts.google.com"])
"""Issuers that give their tokens no `jti`; the token itself stands for it."""


@dataclass(frozen=True, slots=True)
class Unverified:
    """What a token says of itself: nothing of it is to be believed yet."""

    text: str
    issuer: str
    key_id: str
    claims: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class IdentityToken:
    """A token that is to be believed.

    Attributes:
        sha256: of what makes it that one token, hexadecimal.
        expires: seconds since 1970.
    """

    claims: Mapping[str, Any]
    sha256: str
    expires: float


def read_unverified(text: str) -> Unverified:
    """Take a token apart.

    Raises:
        MintRefused: invalid-payload, it is none; invalid-token, it is signed in another way than we take.
    """
    parts = text.split(".")
    if len(text) > MAX_TOKEN or len(parts) != 3:
        raise MintRefused("invalid-payload", "That is no identity token: a JWT in its compact form is expected.")
    header, claims = (_object(part) for part in parts[:2])
    if header.get("alg") != ALGORITHM:
        raise MintRefused("invalid-token", f"The token is signed with {shown(header.get('alg'))}, not {ALGORITHM}.")
    if "crit" in header:
        raise MintRefused("invalid-token", "The token's header demands an extension that is not known here.")
    key_id, issuer = header.get("kid"), claims.get("iss")
    if not isinstance(key_id, str) or not 0 < len(key_id) <= _MOST_KID:
        raise MintRefused("invalid-token", "The token's header names no key (kid).")
    if not isinstance(issuer, str) or not 0 < len(issuer) <= _MOST_ISSUER:
        raise MintRefused("invalid-payload", "The token names no issuer (iss).")
    return Unverified(text, issuer, key_id, claims)


def verify(token: Unverified, key: RSAKey, *, audience: str, now: float) -> IdentityToken:
    """Check a token by steps 3 to 5.

    Args:
        key: of the issuer that the token names.
        now: seconds since 1970.

    Raises:
        MintRefused: invalid-token.
    """
    try:
        jws.deserialize_compact(token.text, key, algorithms=[ALGORITHM])
    except (JoseError, ValueError) as error:
        raise MintRefused("invalid-token", "The token's signature is not its issuer's.") from error
    claims = token.claims
    if claims["iss"] != token.issuer:
        raise MintRefused("invalid-token", "The token is of another issuer than its key.")
    if not isinstance(claims.get("aud"), str) or claims["aud"] != audience:
        told = shown(claims.get("aud"))
        raise MintRefused("invalid-token", f"The token is for the audience {told}: ask for one for {audience!r} alone.")
    expires = _check_times(claims, now)
    if not isinstance(claims.get("sub"), str) or not claims["sub"]:
        raise MintRefused("invalid-token", "The token says nobody that it is about (sub).")
    return IdentityToken(claims, _used_as(token), expires)


def _check_times(claims: Mapping[str, Any], now: float) -> float:
    expires, issued = _seconds(claims, "exp"), _seconds(claims, "iat")
    begins = _seconds(claims, "nbf") if "nbf" in claims else issued
    if now >= expires + LEEWAY:
        raise MintRefused("invalid-token", "The token has expired (exp): ask for a new one right before publishing.")
    if expires > now + LONGEST + LEEWAY:
        raise MintRefused("invalid-token", f"The token is good for too long (exp): at most {LONGEST} seconds.")
    if now < issued - LEEWAY:
        raise MintRefused("invalid-token", "The token was issued in the future (iat): a clock is wrong.")
    if now < begins - LEEWAY:
        raise MintRefused("invalid-token", "The token is not good yet (nbf).")
    return expires


def _used_as(token: Unverified) -> str:
    used = token.claims.get("jti")
    if used is None and token.issuer in _WITHOUT_JTI:
        used = token.text.rpartition(".")[0]
    elif not isinstance(used, str) or not 0 < len(used) <= _MOST_JTI:
        raise MintRefused("invalid-token", "The token has no id (jti), by which it could be used once.")
    return hashlib.sha256(f"{token.issuer}\0{used}".encode()).hexdigest()


def _seconds(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise MintRefused("invalid-token", f"The token has no time as its claim {name}.")
    return float(value)


def _object(part: str) -> dict[str, Any]:
    try:
        raw = base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
        found = read_json(raw)
    except (binascii.Error, ValueError, BadJson) as error:
        raise MintRefused("invalid-payload", "That is no identity token: its parts cannot be read.") from error
    if not isinstance(found, dict):
        raise MintRefused("invalid-payload", "That is no identity token: its parts are no JSON objects.")
    return found
