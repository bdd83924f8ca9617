"""A transparency log as Rekor's second version is one: it proves that an entry is there and says nothing of the time.

Source: rekor-tiles `CLIENTS.md`; the type `hashedrekord` 0.0.2, the only one, also for envelopes; trust contract
section 5.1.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import rfc8785
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.support.sigstore.keys import TiledLogKey, b64
from tests.support.sigstore.log import begun, checkpoint, proof
from tests.support.sigstore.merkle import Tree


@dataclass(slots=True)
class TiledLog:
    """The log; entries stay in memory.

    Attributes:
        before: what it has already: an index in a real log is never 0, nor a proof empty.
    """

    key: TiledLogKey = field(default_factory=lambda: TiledLogKey("https://rekor2.test", "rekor2.test"))
    before: int = 6
    tree: Tree = field(init=False)

    def __post_init__(self) -> None:
        """Begin with what it has already."""
        self.tree = begun(self.before)

    def add(self, digest: bytes, signature: bytes, verifier: dict[str, Any]) -> dict[str, Any]:
        """Take a signature in; returns the entry in protobuf's JSON.

        Args:
            digest: the sha256 of what is signed: of a file, or of an envelope's pre-authentication encoding.
            verifier: with what it is verified, in protobuf's JSON; see `verifier`.
        """
        spec: dict[str, Any] = {
            "data": {"algorithm": "SHA2_256", "digest": b64(digest)},
            "signature": {"content": b64(signature), "verifier": verifier},
        }
        body = rfc8785.dumps({"apiVersion": "0.0.2", "kind": "hashedrekord", "spec": {"hashedRekordV002": spec}})
        index = self.tree.append(body)
        return {
            "logIndex": str(index),
            "logId": {"keyId": b64(self.key.id)},
            "kindVersion": {"kind": "hashedrekord", "version": "0.0.2"},
            "inclusionProof": proof(index, self.tree, self.checkpoint()),
            "canonicalizedBody": b64(body),
        }

    def checkpoint(self) -> str:
        """Return a signed note of the tree as it is."""
        return checkpoint(self.key.origin, self.key.origin, self.tree, self.key)


def verifier(of: x509.Certificate | ec.EllipticCurvePublicKey) -> dict[str, Any]:
    """Return how entries name a certificate, or a key on P-256."""
    if isinstance(of, x509.Certificate):
        held = {"x509Certificate": {"rawBytes": b64(of.public_bytes(Encoding.DER))}}
    else:
        public = of.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        held = {"publicKey": {"rawBytes": b64(public)}}
    return held | {"keyDetails": "PKIX_ECDSA_P256_SHA_256"}
