"""Public keys that a policy names by themselves, without a certificate. Pure."""

from __future__ import annotations

import hashlib

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

MIN_RSA_BITS = 2048


class InvalidKey(ValueError):
    """A text that is no usable public key; the message says what to write."""


def key_id(pem: str) -> str:
    """Return the sha256 of a key's SubjectPublicKeyInfo in DER, hexadecimal.

    Args:
        pem: `BEGIN PUBLIC KEY`: Ed25519, ECDSA on P-256 or P-384, or RSA.

    Raises:
        InvalidKey: it is none, or too weak.
    """
    if not pem.startswith("-----BEGIN PUBLIC KEY-----"):
        raise InvalidKey("write the public key in PEM, from -----BEGIN PUBLIC KEY----- to the end, as a block (|)")
    try:
        key = load_pem_public_key(pem.encode("ascii"))
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InvalidKey("this is no public key in PEM") from error
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < MIN_RSA_BITS:
            raise InvalidKey(f"an RSA key of {key.key_size} bits is too short: take {MIN_RSA_BITS} or more")
    elif isinstance(key, ec.EllipticCurvePublicKey):
        if not isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1):
            raise InvalidKey(f"the curve {key.curve.name} is not taken: use P-256 or P-384")
    elif not isinstance(key, ed25519.Ed25519PublicKey):
        raise InvalidKey("use an Ed25519, ECDSA or RSA key")
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()
