"""The intake of tokens that scanners found in public: a signed list comes in, the tokens are revoked.

The list is JSON, `[{"token", "type", "url"}, ...]`, signed over its exact bytes with ECDSA P-256 and SHA-256. The
key's id and the signature are in the headers of GitHub's secret scanning partner programme.
Source: contract python-index section 3.6.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from sqlalchemy import select, update

from gateway.writer import CatalogueWriter
from shared.auth.tokens import token_sha256
from shared.catalogue.tables import Token
from shared.catalogue.unit_of_work import UnitOfWork
from shared.errors import ErrorKind, ServiceError
from shared.settings import Leaks

KEY_HEADER = "github-public-key-identifier"
SIGNATURE_HEADER = "github-public-key-signature"

MAX_LEAKS = 1000
"""Tokens in a list."""

_MAX_URL = 500
"""Characters of an address that the audit keeps."""

Key = EllipticCurvePublicKey


def leak_keys(settings: Leaks) -> dict[str, Key]:
    """Return the keys that may sign lists.

    Raises:
        ValueError: one is no PEM of an ECDSA P-256 public key.
    """
    keys = {}
    for key_id, pem in settings.keys.items():
        try:
            key = load_pem_public_key(pem.encode())
        except ValueError as error:
            raise ValueError(f"leaks.keys: {key_id!r} is no PEM public key") from error
        if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256R1):
            raise ValueError(f"leaks.keys: {key_id!r} is no ECDSA P-256 key")  # noqa: TRY004 - a setting's value
        keys[key_id] = key
    return keys


def signed_leaks(keys: Mapping[str, Key], key_id: str, signature: str, body: bytes) -> dict[str, str]:
    """Return what a signed list tells: digest of a token of ours -> where it was found. What is no token is left out.

    Raises:
        ServiceError: FORBIDDEN for an unknown key or a wrong signature, MALFORMED for a list that is none.
    """
    key = keys.get(key_id)
    if key is None:
        raise ServiceError(ErrorKind.FORBIDDEN, "The list is signed with a key that this server does not know.")
    try:
        key.verify(base64.b64decode(signature, validate=True), body, ECDSA(SHA256()))
    except (binascii.Error, ValueError, InvalidSignature) as error:
        raise ServiceError(ErrorKind.FORBIDDEN, "The signature does not belong to this list.") from error
    try:
        told = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _malformed() from error
    if not isinstance(told, list) or len(told) > MAX_LEAKS:
        raise _malformed()
    found: dict[str, str] = {}
    for leak in told:
        if not isinstance(leak, dict) or not isinstance(leak.get("token"), str):
            raise _malformed()
        digest = token_sha256(leak["token"])
        if digest is not None:
            url = leak.get("url")
            found[digest] = url[:_MAX_URL].replace("\x00", "") if isinstance(url, str) else ""
    return found


class LeakedTokens(CatalogueWriter):
    """Revokes tokens that were found in public."""

    async def revoke(self, found: Mapping[str, str]) -> int:
        """Revoke the tokens that are kept under these digests; returns how many were still good.

        Args:
            found: digest -> the address at which the token was found, for the audit.
        """
        async with UnitOfWork(self._engine) as work:
            living = (Token.secret_sha256.in_(list(found)), Token.revoked_at.is_(None))
            query = select(Token.id, Token.account, Token.secret_sha256).where(*living).with_for_update()
            rows = (await work.connection.execute(query)).all()
            for row in rows:
                await work.connection.execute(
                    update(Token).where(Token.id == row.id).values(revoked_at=self._clock.now())
                )
                url = found[row.secret_sha256]
                await self._record(work, "token.revoke-leaked", str(row.id), account=row.account, url=url)
            await self._commit(work)
        return len(rows)


def _malformed() -> ServiceError:
    return ServiceError(
        ErrorKind.MALFORMED, f"A list of at most {MAX_LEAKS} objects with token, type and url is expected."
    )
