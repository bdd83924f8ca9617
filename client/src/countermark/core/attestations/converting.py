"""Attestation objects of PEP 740 as Sigstore bundles, and back. Pure.

A bundle can hold more: time stamps, entries of the second version of logs, keys. So bundles are what is stored, and
objects are made of those that fit into one.
Source: PEP 740, "Attestation objects"; trust contract section 5.2 (pypi-attestations).
"""

from __future__ import annotations

import base64
import json
from typing import Any

from countermark.core.attestations.bundle import V0_3, SigstoreBundle
from countermark.core.attestations.provenance import read_attestation
from countermark.core.attestations.statement import PAYLOAD_TYPE


def pep740_of(bundle: SigstoreBundle) -> dict[str, Any] | None:
    """Return a bundle as an attestation object; None where nobody could verify that.

    That is where a key signed, or where no log of the first version says when: the objects have no place for time
    stamps.
    """
    entry = bundle.entry
    if bundle.certificate is None or entry is None or bundle.payload_type != PAYLOAD_TYPE:
        return None
    if entry.get("kindVersion") != {"kind": "dsse", "version": "0.0.1"}:
        return None
    if not entry.get("inclusionPromise") or not entry.get("inclusionProof"):
        return None
    return {
        "version": 1,
        "verification_material": {"certificate": _b64(bundle.certificate), "transparency_entries": [dict(entry)]},
        "envelope": {"statement": _b64(bundle.payload), "signature": _b64(bundle.signature)},
    }


def bundle_of_pep740(document: Any) -> bytes:
    """Return an attestation object as a bundle: the same bytes for the same attestation.

    Args:
        document: the object, read from JSON; nothing of it is verified but its form.

    Raises:
        Failed: STRUCTURE.
    """
    attestation = read_attestation(document)
    bundle = {
        "mediaType": V0_3,
        "verificationMaterial": {
            "certificate": {"rawBytes": _b64(attestation.certificate)},
            "tlogEntries": [attestation.entry],
        },
        "dsseEnvelope": {
            "payload": _b64(attestation.statement),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"sig": _b64(attestation.signature)}],
        },
    }
    return json.dumps(bundle, sort_keys=True, separators=(",", ":")).encode()


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()
