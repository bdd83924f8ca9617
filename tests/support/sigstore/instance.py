"""A Sigstore instance in memory: identity provider, authority with CT log, transparency log, and their trust root.

It signs as sigstore clients do, and unmodified ones verify what it signed. For tests alone: its names say `test`.
Source: trust contract section 5.3 (a); contract python-index section 4.3.
"""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from tests.support.sigstore.authority import Authority, LogKey, new_key
from tests.support.sigstore.log import TransparencyLog
from tests.support.sigstore.tokens import Provider, github

IN_TOTO = "application/vnd.in-toto+json"
PUBLISH = "https://index.test/attestations/publish/v1"
SLSA = "https://slsa.dev/provenance/v1"
GITHUB_PUBLISHER = {"kind": "GitHub", "repository": "acme/thing", "workflow": "release.yml", "environment": None}


@dataclass(slots=True)
class Instance:
    """The instance; each part can be replaced by another one's, as an attacker's would be."""

    provider: Provider = field(default_factory=Provider)
    ct_log: LogKey = field(default_factory=lambda: LogKey("https://ct.test"))
    authority: Authority = field(init=False)
    log: TransparencyLog = field(default_factory=lambda: TransparencyLog(LogKey("https://rekor.test")))

    def __post_init__(self) -> None:
        """Make the authority that has its certificates logged."""
        self.authority = Authority(self.ct_log)

    def trusted_root(self) -> bytes:
        """Return the trust root."""
        return json.dumps(
            {
                "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
                "tlogs": [self.log.key.listed()],
                "certificateAuthorities": [self.authority.listed()],
                "ctlogs": [self.ct_log.listed()],
                "timestampAuthorities": [],
            }
        ).encode()

    def sign(
        self,
        payload: bytes,
        claims: Mapping[str, Any] | None = None,
        *,
        at: int | None = None,
        later: int = 1,
        payload_type: str = IN_TOTO,
    ) -> dict[str, Any]:
        """Sign a payload; returns a bundle in its JSON.

        Args:
            claims: of whom; a run of a workflow where nothing is said.
            at: when the certificate is issued, in seconds since 1970.
            later: seconds after that at which the log takes the envelope in.
        """
        at = int(time.time()) - 60 if at is None else at
        token = self.provider.token(github() if claims is None else claims, at)
        key = new_key()
        certificate = self.authority.issue(key.public_key(), self.provider.claims(token, at), at)
        kind = payload_type.encode()
        signed = b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)
        envelope = {
            "payload": _b64(payload),
            "payloadType": payload_type,
            "signatures": [{"sig": _b64(key.sign(signed, ec.ECDSA(hashes.SHA256())))}],
        }
        return {
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {
                "certificate": {"rawBytes": _b64(certificate.public_bytes(Encoding.DER))},
                "tlogEntries": [self.log.add_dsse(envelope, certificate, at + later)],
                "timestampVerificationData": {"rfc3161Timestamps": []},
            },
            "dsseEnvelope": envelope,
        }

    def attest(self, file_name: str, content: bytes, claims: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return an attestation that one of us published a file."""
        return pep740(self.sign(statement(file_name, content), claims))


def statement(file_name: str, content: bytes, predicate_type: str = PUBLISH, **more: Any) -> bytes:
    """Return a statement about a file; `more` replaces its keys."""
    subject = {"name": file_name, "digest": {"sha256": hashlib.sha256(content).hexdigest()}}
    made: dict[str, Any] = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [subject],
        "predicateType": predicate_type,
        "predicate": None if predicate_type == PUBLISH else {"buildDefinition": {}},
    }
    return json.dumps(made | more).encode()


def pep740(bundle: Mapping[str, Any]) -> dict[str, Any]:
    """Return a bundle as an attestation object."""
    material, envelope = bundle["verificationMaterial"], bundle["dsseEnvelope"]
    return {
        "version": 1,
        "verification_material": {
            "certificate": material["certificate"]["rawBytes"],
            "transparency_entries": material["tlogEntries"],
        },
        "envelope": {"statement": envelope["payload"], "signature": envelope["signatures"][0]["sig"]},
    }


def provenance(*attestations: Any, publisher: Mapping[str, Any] = GITHUB_PUBLISHER) -> bytes:
    """Return a provenance object with one bundle."""
    bundle = {"publisher": {"claims": None} | dict(publisher), "attestations": list(attestations)}
    return json.dumps({"version": 1, "attestation_bundles": [bundle]}).encode()


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()
