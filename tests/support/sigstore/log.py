"""A transparency log as Rekor's first version is one: proofs, checkpoints, and promises with a time.

Source: RFC 8785; C2SP signed-note and tlog-checkpoint; Rekor's types `dsse` and `hashedrekord` 0.0.1; trust contract
section 5.3 (a).
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, Protocol

import rfc8785

from tests.support.sigstore.keys import LogKey, b64
from tests.support.sigstore.merkle import Tree


class NoteKey(Protocol):
    """A log's key, whatever its kind."""

    @property
    def id(self) -> bytes:
        """The log's id."""

    def sign(self, data: bytes) -> bytes:
        """Sign."""


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
    tree: Tree = field(init=False)

    def __post_init__(self) -> None:
        """Begin with what it has already."""
        self.tree = begun(self.before)

    def add_dsse(self, envelope: dict[str, Any], verifier: bytes, at: int) -> dict[str, Any]:
        """Take an envelope in; returns the entry in protobuf's JSON.

        Args:
            envelope: in its JSON.
            verifier: the certificate or public key, as PEM.
            at: when, in seconds since 1970.
        """
        return self.add_dsse_text(json.dumps(envelope), verifier, at)

    def add_dsse_text(self, envelope: str, verifier: bytes, at: int) -> dict[str, Any]:
        """Do the same with an envelope as it was sent: the log notes the hash of that text."""
        read = json.loads(envelope)
        spec: dict[str, Any] = {
            "envelopeHash": _hash(envelope.encode()),
            "payloadHash": _hash(from_b64(read["payload"])),
            "signatures": [{"signature": one["sig"], "verifier": b64(verifier)} for one in read["signatures"]],
        }
        return self._add("dsse", spec, at)

    def add_hash(self, digest: bytes, signature: bytes, verifier: bytes, at: int) -> dict[str, Any]:
        """Take a signature over a file with that sha256 in; see `add_dsse`."""
        spec: dict[str, Any] = {
            "data": {"hash": {"algorithm": "sha256", "value": digest.hex()}},
            "signature": {"content": b64(signature), "publicKey": {"content": b64(verifier)}},
        }
        return self._add("hashedrekord", spec, at)

    def checkpoint(self) -> str:
        """Return a signed note of the tree as it is."""
        return checkpoint(self.origin, self.origin.partition(" ")[0], self.tree, self.key)

    def _add(self, kind: str, spec: dict[str, Any], at: int) -> dict[str, Any]:
        body = rfc8785.dumps({"apiVersion": "0.0.1", "kind": kind, "spec": spec})
        index = self.tree.append(body)
        promised: dict[str, Any] = {
            "body": b64(body),
            "integratedTime": at,
            "logID": self.key.id.hex(),
            "logIndex": index,
        }
        return {
            "logIndex": str(index),
            "logId": {"keyId": b64(self.key.id)},
            "kindVersion": {"kind": kind, "version": "0.0.1"},
            "integratedTime": str(at),
            "inclusionPromise": {"signedEntryTimestamp": b64(self.key.sign(rfc8785.dumps(promised)))},
            "inclusionProof": proof(index, self.tree, self.checkpoint()),
            "canonicalizedBody": b64(body),
        }


def begun(count: int) -> Tree:
    """Return a tree with so many entries of others."""
    tree = Tree()
    for number in range(count):
        tree.append(b"entry %d" % number)
    return tree


def proof(index: int, tree: Tree, signed: str) -> dict[str, Any]:
    """Return a proof of inclusion in the whole tree, in protobuf's JSON."""
    return {
        "logIndex": str(index),
        "rootHash": b64(tree.root()),
        "treeSize": str(len(tree)),
        "hashes": [b64(one) for one in tree.path(index)],
        "checkpoint": {"envelope": signed},
    }


def checkpoint(origin: str, name: str, tree: Tree, key: NoteKey) -> str:
    """Return a signed note of a tree's size and root; `name` is who signs it."""
    note = f"{origin}\n{len(tree)}\n{b64(tree.root())}\n"
    return f"{note}\n\u2014 {name} {b64(key.id[:4] + key.sign(note.encode()))}\n"


def from_b64(text: str) -> bytes:
    """Return the bytes."""
    return base64.b64decode(text, validate=True)


def _hash(data: bytes) -> dict[str, str]:
    return {"algorithm": "sha256", "value": hashlib.sha256(data).hexdigest()}
