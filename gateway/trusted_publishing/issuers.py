"""Keys of the issuers of identity tokens, fetched from the issuers themselves and kept for a while.

An issuer's URL comes from whoever registered a publisher, so it is asked as everything outside is (`shared.outgoing`):
over https, at public addresses unless the operator allows others, and never at another server than the URL's.
Source: contract python-index section 3.3; OpenID Connect Discovery 1.0 section 4; RFC 7517.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from gateway.trusted_publishing.refusals import MintRefused
from shared.outgoing import Outgoing, Patience, Unreachable
from shared.strict_json import read_json

log = structlog.get_logger()

_MOST_BYTES = 262_144
"""Bytes of one document of an issuer."""

_MOST_KEYS = 100
_SMALLEST = 2048
"""Bits of an RSA key. Source: RFC 7518 section 3.3."""

_FRESH = 600.0
"""Seconds for which keys are used without asking again."""

_AGAIN = 60.0
"""Seconds between two looks for a key that is not known. Source: contract python-index section 3.3."""

_AFTER_FAILURE = 10.0
"""Seconds for which an issuer that did not answer is not asked again."""

_LIMIT = 15.0
"""Seconds in which an issuer must have told its keys."""

_PATIENCE = Patience(connect=5.0, read=5.0, head=10.0)

_REMEMBERED = 256
"""Issuers whose keys are kept."""


class IssuerSilent(Exception):
    """An issuer does not tell its keys as it should; the message says why."""


@dataclass(slots=True)
class _Known:
    """What is known of an issuer: its keys by their ids, when it told them, and when it was asked last."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    keys: Mapping[str, RSAKey] = field(default_factory=dict)
    told_at: float = -math.inf
    asked_at: float = -math.inf

    def fresh(self, now: float) -> Mapping[str, RSAKey]:
        """Return the keys; none when they were told too long ago."""
        return self.keys if now - self.told_at < _FRESH else {}


class Issuers:
    """Finds keys; who asks at the same time shares an answer."""

    def __init__(self, outgoing: Outgoing, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._outgoing = outgoing
        self._monotonic = monotonic
        self._known: OrderedDict[str, _Known] = OrderedDict()

    async def key(self, issuer: str, key_id: str) -> RSAKey:
        """Return a key of an issuer, which the caller knows to be a registered one.

        Raises:
            MintRefused: invalid-token, when it has no such key or does not tell its keys at the moment.
        """
        known = self._entry(issuer)
        async with known.lock:
            if self._is_due(known, key_id):
                await self._ask(issuer, known)
        keys = known.fresh(self._monotonic())
        if not keys:
            said = f"The keys of {issuer} cannot be fetched at the moment, so that the token cannot be verified."
            raise MintRefused("invalid-token", f"{said} Try again shortly.")
        if key_id not in keys:
            raise MintRefused("invalid-token", f"The token is signed with a key that {issuer} does not publish.")
        return keys[key_id]

    def _entry(self, issuer: str) -> _Known:
        known = self._known.setdefault(issuer, _Known())
        self._known.move_to_end(issuer)
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return known

    def _is_due(self, known: _Known, key_id: str) -> bool:
        now = self._monotonic()
        keys = known.fresh(now)
        return key_id not in keys and now - known.asked_at >= (_AGAIN if keys else _AFTER_FAILURE)

    async def _ask(self, issuer: str, known: _Known) -> None:
        # First, so that a caller who leaves half-way counts as well.
        known.asked_at = self._monotonic()
        try:
            async with asyncio.timeout(_LIMIT):
                known.keys = await self._keys(issuer)
                known.told_at = self._monotonic()
        except (IssuerSilent, TimeoutError) as error:
            log.warning("identity_issuer_silent", issuer=issuer, error=str(error)[:500] or "too slow")

    async def _keys(self, issuer: str) -> dict[str, RSAKey]:
        told = await self._document(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
        if told.get("issuer") != issuer:
            raise IssuerSilent(f"its configuration is of another issuer: {told.get('issuer')!r}")
        place = told.get("jwks_uri")
        if not isinstance(place, str):
            raise IssuerSilent("its configuration names no keys (jwks_uri)")
        return read_keys(await self._document(place))

    async def _document(self, url: str) -> dict[str, Any]:
        if not url.startswith("https://"):
            raise IssuerSilent(f"{url[:200]!r} is no https URL")
        try:
            async with self._outgoing.get(
                url, {"accept": "application/json", "accept-encoding": "identity"}, patience=_PATIENCE, stays=True
            ) as answer:
                if answer.status != 200:
                    raise IssuerSilent(f"{url[:200]} answered {answer.status}")
                document = read_json(await answer.read(_MOST_BYTES))
        except (Unreachable, ValueError) as error:
            raise IssuerSilent(f"{url[:200]}: {error}") from error
        if not isinstance(document, dict):
            raise IssuerSilent(f"{url[:200]} is no JSON object")
        return document


def read_keys(document: Mapping[str, Any]) -> dict[str, RSAKey]:
    """Return the keys of a JWK set that can have signed a token: RSA, for signatures, with an id.

    Raises:
        IssuerSilent: it is no such set, or none of its keys is one.
    """
    listed = document.get("keys")
    if not isinstance(listed, list) or len(listed) > _MOST_KEYS:
        raise IssuerSilent(f"its keys are no list of at most {_MOST_KEYS}")
    usable = [jwk for jwk in listed if isinstance(jwk, dict) and _signs(jwk)]
    try:
        found = {str(jwk["kid"]): RSAKey.import_key({name: jwk[name] for name in ("kty", "n", "e")}) for jwk in usable}
    except (JoseError, ValueError, KeyError, TypeError) as error:
        raise IssuerSilent("one of its keys cannot be read") from error
    if not found or len(found) < len(usable):
        raise IssuerSilent("it publishes no RSA key, or two under one id")
    return found


def _signs(jwk: Mapping[str, Any]) -> bool:
    if jwk.get("kty") != "RSA" or not isinstance(jwk.get("kid"), str):
        return False
    return jwk.get("use", "sig") == "sig" and jwk.get("alg", "RS256") == "RS256" and _bits(jwk.get("n")) >= _SMALLEST


def _bits(modulus: object) -> int:
    if not isinstance(modulus, str):
        return 0
    try:
        return int.from_bytes(base64.urlsafe_b64decode(modulus + "=" * (-len(modulus) % 4))).bit_length()
    except (binascii.Error, ValueError):
        return 0
