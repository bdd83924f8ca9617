"""Log entries of signatures that a named key made, without a certificate. Imports sigstore.

sigstore-python verifies entries of certificates alone; of it only the tree, the checkpoint and the promise are used.
Source: trust contract sections 5.1 and 6 (24); rekor-tiles `CLIENTS.md`; ADR 0041.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sigstore._internal.trust import KeyringPurpose
from sigstore.models import TransparencyLogEntry
from sigstore_models.rekor.v1 import TransparencyLogEntry as Inner

from countermark.core.attestations.bundle import SigstoreBundle
from countermark.core.attestations.dsse import pae
from countermark.core.attestations.entries import Entry, read_entry
from countermark.core.attestations.facts import LogKind
from countermark.core.attestations.results import Failed, Step
from countermark.core.attestations.trust_root import Root
from countermark.core.strict_json import read_json

_DETAILS = {"secp256r1": ("PKIX_ECDSA_P256_SHA_256", "SHA2_256", hashlib.sha256)}
"""Curve -> how logs of the second version name its keys and their hash. The other kinds of keys are hashed in ways
that they do not take for envelopes, or that nobody agrees on: contract 5.3, the case of P-384."""


def check_key_entry(
    bundle: SigstoreBundle, key: PublicKeyTypes, roots: Iterable[Root], stamped: Sequence[datetime]
) -> tuple[Entry, Sequence[datetime]]:
    """Check that a log of one of the roots has a key's signature; returns the entry, and when the log was there.

    Args:
        bundle: one that this key signed, with a log entry.
        stamped: when it was signed, as time stamps prove it.

    Raises:
        Failed: STRUCTURE, LOG or WINDOWS.
    """
    entry = read_entry(bundle)
    assert bundle.entry is not None
    try:
        inner = Inner.from_dict(dict(bundle.entry))
        logged = TransparencyLogEntry(inner)
        body = read_json(inner.canonicalized_body)
    except Exception as error:
        raise Failed(Step.STRUCTURE, f"its log entry cannot be read: {str(error)[:200]}") from error
    root = next((one for one in roots if one.has_log(inner.log_id.key_id)), None)
    if root is None:
        raise Failed(Step.LOG, f"no trust root knows the log {inner.log_id.key_id.hex()[:64]}")
    try:
        logged._verify(root.sigstore.rekor_keyring(KeyringPurpose.VERIFY))  # noqa: SLF001 - the one way to it
    except Exception as error:
        raise Failed(Step.LOG, f"its log entry does not verify: {str(error)[:200]}") from error
    assert inner.inclusion_proof is not None
    assert inner.inclusion_proof.checkpoint is not None
    root.check_log(inner.log_id.key_id, inner.inclusion_proof.checkpoint.envelope, inner.inclusion_proof.tree_size)
    wanted = _hashed(bundle, key) if entry.kind == LogKind.V2 else _dsse(bundle, key, body)
    if body != wanted:
        raise Failed(Step.LOG, "its log entry is that of another signature")
    promised = [] if entry.promised_at is None else [datetime.fromtimestamp(entry.promised_at, UTC)]
    times = [*promised, *stamped]
    root.check_log_window(inner.log_id.key_id, times)
    return entry, times


def _dsse(bundle: SigstoreBundle, key: PublicKeyTypes, body: Any) -> Mapping[str, Any]:
    """Return what a log of the first version notes of a bundle; the hash of the envelope nobody can compute again."""
    spec = body.get("spec") if isinstance(body, dict) else None
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return {
        "apiVersion": "0.0.1",
        "kind": "dsse",
        "spec": {
            "envelopeHash": spec.get("envelopeHash") if isinstance(spec, dict) else None,
            "payloadHash": {"algorithm": "sha256", "value": hashlib.sha256(bundle.payload).hexdigest()},
            "signatures": [{"signature": _b64(bundle.signature), "verifier": _b64(pem)}],
        },
    }


def _hashed(bundle: SigstoreBundle, key: PublicKeyTypes) -> Mapping[str, Any]:
    """Return what a log of the second version notes of a bundle."""
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _DETAILS:
        raise Failed(Step.LOG, "logs of the second version are verified for keys on P-256 alone")
    details, algorithm, hashed = _DETAILS[key.curve.name]
    digest = hashed(pae(bundle.payload_type, bundle.payload)).digest()
    public = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    verifier = {"publicKey": {"rawBytes": _b64(public)}, "keyDetails": details}
    spec = {
        "data": {"algorithm": algorithm, "digest": _b64(digest)},
        "signature": {"content": _b64(bundle.signature), "verifier": verifier},
    }
    return {"apiVersion": "0.0.2", "kind": "hashedrekord", "spec": {"hashedRekordV002": spec}}


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()
