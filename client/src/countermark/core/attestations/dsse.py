"""What is signed of a DSSE envelope, and whether a key signed it. Needs cryptography.

Source: DSSE protocol, "Signature definition"; trust contract sections 4 and 5.3 (P-256 for leaf keys).
"""

from __future__ import annotations

import hashlib

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from countermark.core.attestations.results import Failed, Step

MIN_RSA_BITS = 2048

_HASHES = {"secp256r1": SHA256(), "secp384r1": SHA384(), "secp521r1": SHA512()}
"""Name of a curve -> the hash that is used with it."""


def pae(payload_type: str, payload: bytes) -> bytes:
    """Return what is signed: lengths are those of bytes."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def is_p256(key: PublicKeyTypes) -> bool:
    """Return whether a key is on the one curve that all of sigstore's parts agree on."""
    return isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)


def is_known(key: PublicKeyTypes) -> bool:
    """Return whether signatures of a key can be checked: ECDSA, Ed25519, or RSA of at least `MIN_RSA_BITS`."""
    match key:
        case ec.EllipticCurvePublicKey():
            return key.curve.name in _HASHES
        case rsa.RSAPublicKey():
            return key.key_size >= MIN_RSA_BITS
        case _:
            return isinstance(key, ed25519.Ed25519PublicKey)


def check_signature(key: PublicKeyTypes, signature: bytes, signed: bytes) -> None:
    """Check that a key signed.

    Raises:
        Failed: SIGNATURE; it did not, or is of a kind that is not known here.
    """
    if not is_known(key):
        raise Failed(Step.SIGNATURE, "the signer's key is of a kind that is not known here")
    try:
        match key:
            case ec.EllipticCurvePublicKey():
                key.verify(signature, signed, ec.ECDSA(_HASHES[key.curve.name]))
            case ed25519.Ed25519PublicKey():
                key.verify(signature, signed)
            case rsa.RSAPublicKey():
                _check_rsa(key, signature, signed)
    except InvalidSignature as error:
        raise Failed(Step.SIGNATURE, "the signer's key did not sign this statement") from error


def key_sha256(key: PublicKeyTypes) -> str:
    """Return the sha256 of a key's SubjectPublicKeyInfo, in hex."""
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def _check_rsa(key: rsa.RSAPublicKey, signature: bytes, signed: bytes) -> None:
    """Check a signature with either padding: the one of Sigstore's keys, or that of securesystemslib's."""
    try:
        key.verify(signature, signed, padding.PKCS1v15(), SHA256())
    except InvalidSignature:
        pss = padding.PSS(padding.MGF1(SHA256()), padding.PSS.AUTO)
        key.verify(signature, signed, pss, SHA256())
