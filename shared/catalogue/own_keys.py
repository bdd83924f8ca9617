"""Which keys are the deployment's own: what they sign is no evidence of anything that it judges.

Source: ADR 0043.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from countermark.core.digest import sha256_of
from shared.catalogue.tables import KeyHandle


async def own_keys(connection: AsyncConnection) -> frozenset[str]:
    """Return the sha256 of the SubjectPublicKeyInfo of every key that this deployment signs metadata with, or did.

    Raises:
        LookupError: one cannot be read, so that nobody could say that it is no evidence.
    """
    found = await connection.scalars(select(KeyHandle.public_key))
    try:
        return frozenset(sha256_of(_der(key)) for key in found)
    except (ValueError, KeyError, TypeError, AttributeError, UnsupportedAlgorithm) as error:
        raise LookupError(f"a key of this deployment in the catalogue cannot be read: {str(error)[:200]}") from error


def _der(key: Mapping[str, Any]) -> bytes:
    """Return the DER of a public key that is kept as TUF has it: Ed25519 in hex, others in PEM."""
    public = key["keyval"]["public"]
    if key["keytype"] == "ed25519":
        loaded: Any = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public))
    else:
        loaded = load_pem_public_key(public.encode())
    return bytes(loaded.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
