"""A transparency log as Rekor's first version is one: a Merkle tree, proofs, checkpoints, and promises with a time.

Source: RFC 6962 section 2.1; RFC 8785; C2SP signed-note and tlog-checkpoint; trust contract section 5.3 (a).
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

import rfc8785
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import Certificate

from tests.support.sigstore.authority import LogKey


@dataclass(slots=True)
class TransparencyLog:
    """The log; entries stay in memory.

    Attributes:
        origin: how its checkpoints name it.
        before: what it has already: an index in a real log is never 0, nor a proof empty.
    """

    key: LogKey
    origin: str = "rekor.test - 1"
    before: int = 5
    leaves: list[bytes] = field(init=False)

    def __post_init__(self) -> None:
        """Begin with what it has already."""
        self.leaves = [b"entry %d" % number for number in range(self.before)]

    def add_dsse(self, envelope: dict[str, Any], certificate: Certificate, at: int) -> dict[str, Any]:
        """Take an envelope in; returns the entry in protobuf's JSON.

        Args:
            at: when, in seconds since 1970.
        """
        payload = base64.b64decode(envelope["payload"])
        pem = _b64(certificate.public_bytes(Encoding.PEM))
        spec: dict[str, Any] = {
            "envelopeHash": _hash(json.dumps(envelope).encode()),
            "payloadHash": _hash(payload),
            "signatures": [{"signature": one["sig"], "verifier": pem} for one in envelope["signatures"]],
        }
        body = rfc8785.dumps({"apiVersion": "0.0.1", "kind": "dsse", "spec": spec})
        self.leaves.append(body)
        return self._entry(len(self.leaves) - 1, "dsse", at)

    def _entry(self, index: int, kind: str, at: int) -> dict[str, Any]:
        body, hashes = _b64(self.leaves[index]), [_leaf(leaf) for leaf in self.leaves]
        promised: dict[str, Any] = {"body": body, "integratedTime": at, "logID": self.key.id.hex(), "logIndex": index}
        root = _root(hashes)
        return {
            "logIndex": str(index),
            "logId": {"keyId": _b64(self.key.id)},
            "kindVersion": {"kind": kind, "version": "0.0.1"},
            "integratedTime": str(at),
            "inclusionPromise": {"signedEntryTimestamp": _b64(self.key.sign(rfc8785.dumps(promised)))},
            "inclusionProof": {
                "logIndex": str(index),
                "rootHash": _b64(root),
                "treeSize": str(len(hashes)),
                "hashes": [_b64(one) for one in _path(index, hashes)],
                "checkpoint": {"envelope": self.checkpoint(len(hashes), root)},
            },
            "canonicalizedBody": body,
        }

    def checkpoint(self, size: int, root: bytes) -> str:
        """Return a signed note of the tree's size and root."""
        note = f"{self.origin}\n{size}\n{_b64(root)}\n"
        return f"{note}\n\u2014 rekor.test {_b64(self.key.id[:4] + self.key.sign(note.encode()))}\n"


def _leaf(body: bytes) -> bytes:
    return hashlib.sha256(b"\0" + body).digest()


def _root(hashes: list[bytes]) -> bytes:
    if len(hashes) == 1:
        return hashes[0]
    split = _split(len(hashes))
    return hashlib.sha256(b"\1" + _root(hashes[:split]) + _root(hashes[split:])).digest()


def _path(index: int, hashes: list[bytes]) -> list[bytes]:
    """Return the hashes beside the way from a leaf to the root."""
    if len(hashes) == 1:
        return []
    split = _split(len(hashes))
    if index < split:
        return [*_path(index, hashes[:split]), _root(hashes[split:])]
    return [*_path(index - split, hashes[split:]), _root(hashes[:split])]


def _split(size: int) -> int:
    """Return the largest power of two below a size."""
    return 1 << ((size - 1).bit_length() - 1)


def _hash(data: bytes) -> dict[str, str]:
    return {"algorithm": "sha256", "value": hashlib.sha256(data).hexdigest()}


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()
