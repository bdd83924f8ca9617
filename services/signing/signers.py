"""Keys: generated, found by their URI, used. Nothing else in the server sees a private key.

URIs are securesystemslib's (`file2:<PKCS#8 file>` here; hardware and key services speak the same interface). They are
kept
in the catalogue beside the public key and never published. A `file2:` URI without a leading slash is relative to the
keys
folder, so that a data folder can be moved. Source: trust contract section 2.4.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from securesystemslib.exceptions import Error as SecureSystemsError
from securesystemslib.signer import CryptoSigner, Key, Signature, Signer, SSlibKey
from tuf.api.metadata import Metadata

from shared.trust.metadata import canonical, to_publish
from shared.trust.roles import ONLINE, Role


class KeyUnusable(Exception):
    """A key cannot be loaded or does not sign as its public half says. The message names the role and key id, never
    the URI's secret."""


@dataclass(frozen=True, slots=True)
class KeyHandle:
    """A key of a role: its public half, and the URI by which its private half is found."""

    role: Role
    key: Key
    uri: str


def generate_key(folder: Path, role: Role) -> KeyHandle:
    """Make an Ed25519 key and store its private half as PKCS#8 in `folder`, readable by the owner only.

    The file is named by role and key id and never overwritten.
    """
    private = Ed25519PrivateKey.generate()
    signer = CryptoSigner(private)
    keyid = signer.public_key.keyid
    path = folder / f"{role}-{keyid[:16]}.pem"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        file.flush()
        os.fsync(file.fileno())
    return KeyHandle(role, signer.public_key, f"file2:{path.name}")


class Signers:
    """The private halves this process may use, by role; loaded once, checked when loaded."""

    def __init__(self, handles: Sequence[KeyHandle], folder: Path) -> None:
        """Load every key.

        Args:
            folder: where relative `file2:` URIs lie.

        Raises:
            KeyUnusable: a key cannot be loaded, or signs with something else than its public half.
        """
        self._by_role: dict[Role, list[Signer]] = {}
        for handle in handles:
            self._by_role.setdefault(handle.role, []).append(_load(handle, folder))

    def sign(self, role: Role, metadata: Metadata[Any], threshold: int) -> bytes:
        """Sign metadata with a role's keys, verify each signature, and return the bytes to publish.

        Offline roles are signed with a threshold of their keys; online ones with all, which are more than one while a
        key is being replaced: clients take the signatures they know (trust contract section 2.8).

        Raises:
            KeyUnusable: fewer keys than the threshold are at hand, or a signature does not verify.
        """
        signers = self._by_role.get(role, [])
        if len(signers) < threshold:
            raise KeyUnusable(f"role {role} needs {threshold} keys and {len(signers)} are at hand")
        signed = metadata.signed.to_dict()
        payload = canonical(signed)
        metadata.signatures.clear()
        for signer in signers if role in ONLINE else signers[:threshold]:
            metadata.signatures[signer.public_key.keyid] = _signature(role, signer, payload)
        return to_publish(signed, metadata.signatures)


def _load(handle: KeyHandle, folder: Path) -> Signer:
    scheme, _, name = handle.uri.partition(":")
    signer: Signer
    try:
        if scheme == CryptoSigner.SCHEME and "/" not in name and isinstance(handle.key, SSlibKey):
            private = load_pem_private_key((folder / name).read_bytes(), None)
            signer = CryptoSigner(cast(Ed25519PrivateKey, private), handle.key)
        else:
            signer = Signer.from_priv_key_uri(handle.uri, handle.key)
    except (ValueError, OSError, SecureSystemsError) as error:
        raise KeyUnusable(f"key {handle.key.keyid[:16]} of role {handle.role} cannot be loaded: {error}") from error
    # A URI and a public key that do not belong together sign happily: prove it before anything depends on it.
    _signature(handle.role, signer, b"countermark: does this key belong to its public half?")
    return signer


def _signature(role: Role, signer: Signer, payload: bytes) -> Signature:
    try:
        signature = signer.sign(payload)
        signer.public_key.verify_signature(signature, payload)
    except SecureSystemsError as error:
        raise KeyUnusable(f"key {signer.public_key.keyid[:16]} of role {role} does not sign: {error}") from error
    return signature


def by_role(handles: Sequence[KeyHandle]) -> Mapping[Role, list[Key]]:
    """Return the public keys of each role."""
    keys: dict[Role, list[Key]] = {}
    for handle in handles:
        keys.setdefault(handle.role, []).append(handle.key)
    return keys
