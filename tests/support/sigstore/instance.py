"""A Sigstore instance in memory: identity provider, authority with CT log, transparency logs, time stamps, trust roots.

It signs as sigstore clients do, and unmodified ones verify what it signed. For tests alone: its names say `test`.
Source: trust contract section 5.3 (a); contract python-index section 4.3.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.support.sigstore.authority import Authority
from tests.support.sigstore.keys import LogKey, b64, new_key
from tests.support.sigstore.log import TransparencyLog, from_b64
from tests.support.sigstore.log_v2 import TiledLog, verifier
from tests.support.sigstore.stamps import StampAuthority
from tests.support.sigstore.tokens import Provider, github

IN_TOTO = "application/vnd.in-toto+json"
PUBLISH = "https://index.test/attestations/publish/v1"
SLSA = "https://slsa.dev/provenance/v1"
GITHUB_PUBLISHER = {"kind": "GitHub", "repository": "acme/thing", "workflow": "release.yml", "environment": None}

Logged = Literal["v1", "v2", "none"]
"""In which log something is: of the first version, of the second, or in none."""


@dataclass(slots=True)
class Instance:
    """The instance; each part can be replaced by another one's, as an attacker's would be.

    Attributes:
        stamps: the time stamp authority; what is in the second log or in none needs its stamps.
        company: an authority that no CT log watches, as a company runs one for itself; see `company_root`.
    """

    provider: Provider = field(default_factory=Provider)
    ct_log: LogKey = field(default_factory=lambda: LogKey("https://ct.test"))
    authority: Authority = field(init=False)
    log: TransparencyLog = field(default_factory=lambda: TransparencyLog(LogKey("https://rekor.test")))
    log_v2: TiledLog = field(default_factory=TiledLog)
    stamps: StampAuthority = field(default_factory=StampAuthority)
    company: Authority = field(init=False)

    def __post_init__(self) -> None:
        """Make the authorities: the one that has its certificates logged, and the other."""
        self.authority = Authority(self.ct_log)
        self.company = Authority(self.ct_log, scts=0, of="company ")

    def trusted_root(self) -> bytes:
        """Return the trust root of all but the company's authority."""
        return self._root([self.log.key.listed(), self.log_v2.key.listed()], self.authority, [self.ct_log.listed()])

    def company_root(self) -> bytes:
        """Return the trust root of the company's authority: without logs, with time stamps."""
        return self._root([], self.company, [])

    def _root(self, logs: list[dict[str, Any]], authority: Authority, ct_logs: list[dict[str, Any]]) -> bytes:
        return json.dumps(
            {
                "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
                "tlogs": logs,
                "certificateAuthorities": [authority.listed()],
                "ctlogs": ct_logs,
                "timestampAuthorities": [self.stamps.listed()],
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
        log: Logged = "v1",
        stamped: bool | None = None,
        authority: Authority | None = None,
    ) -> dict[str, Any]:
        """Sign a payload; returns a bundle in its JSON.

        Args:
            claims: of whom; a run of a workflow where nothing is said.
            at: when the certificate is issued, in seconds since 1970.
            later: seconds after that at which the log takes the envelope in and the stamp is made.
            stamped: whether with a time stamp; where nothing is said, unless the first log promises a time.
            authority: who issues the certificate; `company` wants `log="none"`.
        """
        at = int(time.time()) - 60 if at is None else at
        token = self.provider.token(github() if claims is None else claims, at)
        key = new_key()
        issuer = authority or self.authority
        certificate = issuer.issue(key.public_key(), self.provider.claims(token, at), at)
        held = {"certificate": {"rawBytes": b64(certificate.public_bytes(Encoding.DER))}}
        stamped = log != "v1" if stamped is None else stamped
        return self._bundle(_envelope(payload, payload_type, key), held, certificate, log, stamped, at + later)

    def sign_with_key(
        self,
        payload: bytes,
        key: ec.EllipticCurvePrivateKey,
        *,
        hint: str = "",
        at: int | None = None,
        payload_type: str = IN_TOTO,
        log: Logged = "none",
        stamped: bool = False,
    ) -> dict[str, Any]:
        """Sign a payload with a key that has no certificate; returns a bundle in its JSON.

        Args:
            key: on P-256.
            hint: what the bundle says of which key it is; the sha256 of its public half where nothing is said.
            at: when the log takes it in and the stamp is made, in seconds since 1970.
        """
        at = int(time.time()) - 60 if at is None else at
        public = key.public_key()
        der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        held = {"publicKey": {"hint": hint or hashlib.sha256(der).hexdigest()}}
        return self._bundle(_envelope(payload, payload_type, key), held, public, log, stamped, at)

    def _bundle(
        self,
        envelope: dict[str, Any],
        held: dict[str, Any],
        by: x509.Certificate | ec.EllipticCurvePublicKey,
        log: Logged,
        stamped: bool,
        at: int,
    ) -> dict[str, Any]:
        signature = from_b64(envelope["signatures"][0]["sig"])
        stamps = [{"signedTimestamp": b64(self.stamps.stamp(signature, at))}] if stamped else []
        return {
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": held
            | {
                "tlogEntries": self._entries(envelope, by, log, at),
                "timestampVerificationData": {"rfc3161Timestamps": stamps},
            },
            "dsseEnvelope": envelope,
        }

    def _entries(
        self,
        envelope: dict[str, Any],
        by: x509.Certificate | ec.EllipticCurvePublicKey,
        log: Logged,
        at: int,
    ) -> list[dict[str, Any]]:
        if log == "v1":
            return [self.log.add_dsse(envelope, pem(by), at)]
        if log == "v2":
            signed = encoded(from_b64(envelope["payload"]), envelope["payloadType"])
            signature = from_b64(envelope["signatures"][0]["sig"])
            return [self.log_v2.add(hashlib.sha256(signed).digest(), signature, verifier(by))]
        return []

    def attest(self, file_name: str, content: bytes, claims: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return an attestation that one of us published a file."""
        return pep740(self.sign(statement(file_name, content), claims))


def encoded(payload: bytes, payload_type: str) -> bytes:
    """Return what is signed of an envelope. Source: DSSE protocol, "Signature definition" (PAE)."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def _envelope(payload: bytes, payload_type: str, key: ec.EllipticCurvePrivateKey) -> dict[str, Any]:
    signature = key.sign(encoded(payload, payload_type), ec.ECDSA(hashes.SHA256()))
    return {"payload": b64(payload), "payloadType": payload_type, "signatures": [{"sig": b64(signature)}]}


def pem(of: x509.Certificate | ec.EllipticCurvePublicKey) -> bytes:
    """Return a certificate or a key as the first log notes it."""
    if isinstance(of, x509.Certificate):
        return of.public_bytes(Encoding.PEM)
    return of.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


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
