"""Keys of logs, and how a trust root lists them.

Source: trust contract section 5.1 (ids of logs); protobuf-specs, `TransparencyLogInstance`.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

BEGAN = datetime(2020, 1, 1, tzinfo=UTC)
"""When all that an instance consists of began to be trusted."""


def b64(data: bytes) -> str:
    """Return bytes as protobuf's JSON has them."""
    return base64.b64encode(data).decode()


def new_key() -> ec.EllipticCurvePrivateKey:
    """Return a key on P-256."""
    return ec.generate_private_key(ec.SECP256R1())


def spki(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    """Return the public half, as DER."""
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def period(end: datetime | None = None) -> dict[str, str]:
    """Return a time in which something is trusted, in protobuf's JSON."""
    bounds = {"start": BEGAN} if end is None else {"start": BEGAN, "end": end}
    return {name: at.strftime("%Y-%m-%dT%H:%M:%SZ") for name, at in bounds.items()}


@dataclass(slots=True)
class LogKey:
    """The key of a log, CT or transparency, as a trust root lists it."""

    url: str
    key: ec.EllipticCurvePrivateKey = field(default_factory=new_key)
    end: datetime | None = None

    @property
    def id(self) -> bytes:
        """The log's id."""
        return hashlib.sha256(spki(self.key)).digest()

    def sign(self, data: bytes) -> bytes:
        """Sign."""
        return self.key.sign(data, ec.ECDSA(hashes.SHA256()))

    def listed(self) -> dict[str, Any]:
        """Return its part of a trust root."""
        return _listed(self.url, spki(self.key), "PKIX_ECDSA_P256_SHA_256", self.id, self.end)


@dataclass(slots=True)
class TiledLogKey:
    """The Ed25519 key of a transparency log of the second version, whose id is that of its checkpoints' key.

    Attributes:
        origin: how its checkpoints name it.
    """

    url: str
    origin: str
    key: ed25519.Ed25519PrivateKey = field(default_factory=ed25519.Ed25519PrivateKey.generate)
    end: datetime | None = None

    @property
    def id(self) -> bytes:
        """The log's id. Source: C2SP signed-note, "Signatures"."""
        public = self.key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return hashlib.sha256(f"{self.origin}\n".encode() + b"\1" + public).digest()

    def sign(self, data: bytes) -> bytes:
        """Sign."""
        return self.key.sign(data)

    def listed(self) -> dict[str, Any]:
        """Return its part of a trust root."""
        return _listed(self.url, spki(self.key), "PKIX_ED25519", self.id, self.end)


def _listed(url: str, public: bytes, kind: str, identity: bytes, end: datetime | None) -> dict[str, Any]:
    return {
        "baseUrl": url,
        "hashAlgorithm": "SHA2_256",
        "publicKey": {"rawBytes": b64(public), "keyDetails": kind, "validFor": period(end)},
        "logId": {"keyId": b64(identity)},
    }
