"""Bundles of statements that a key signed without a log: DSSE with the key's hint, or with its certificate. Pure.

Who holds the key is for a policy to say, which names it, or for the authority that issued the certificate. Only a time
stamp tells when it signed.
Source: trust contract sections 4 (DSSE) and 5.1; sigstore/protobuf-specs, `PublicKeyIdentifier`, `X509Certificate`.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence

from countermark.core.attestations.bundle import V0_3
from countermark.core.attestations.statement import PAYLOAD_TYPE


def hint_of(public: bytes) -> str:
    """Return what bundles call a key: the sha256 of its SubjectPublicKeyInfo (DER)."""
    return hashlib.sha256(public).hexdigest()


def bundle_of_key(
    statement: bytes,
    public: bytes,
    signature: bytes,
    stamps: Sequence[bytes] = (),
    certificate: bytes | None = None,
) -> bytes:
    """Return the bundle of a statement.

    Args:
        statement: the payload.
        public: DER of the key's SubjectPublicKeyInfo.
        signature: over `pae(PAYLOAD_TYPE, statement)`.
        stamps: RFC 3161 time stamps of the signature, DER.
        certificate: of the key, DER; it then stands in place of the hint.
    """
    hint = hint_of(public)
    signer = {"publicKey": {"hint": hint}} if certificate is None else {"certificate": {"rawBytes": _b64(certificate)}}
    document = {
        "mediaType": V0_3,
        "verificationMaterial": {
            **signer,
            "tlogEntries": [],
            "timestampVerificationData": {"rfc3161Timestamps": [{"signedTimestamp": _b64(one)} for one in stamps]},
        },
        "dsseEnvelope": {
            "payload": _b64(statement),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"sig": _b64(signature), "keyid": hint}],
        },
    }
    return json.dumps(document, separators=(",", ":")).encode()


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()
