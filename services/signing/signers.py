"""The private halves that this process may use, by role. Nothing else in the server sees a private key.

URIs are kept in the catalogue beside the public key and never published; `signing.uris` overrules them. What they may
be stands in `countermark.core.signing`. Source: trust contract section 2.4; ADR 0032.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner, Key, Signer
from tuf.api.metadata import Metadata

from countermark.core.signing.access import KeyAccess
from countermark.core.signing.faults import KeyUnusable
from countermark.core.signing.files import write_private
from countermark.core.signing.loading import load_signer
from shared.trust.metadata import canonical, to_publish
from shared.trust.roles import Role

__all__ = ["ONLINE", "KeyHandle", "KeyUnusable", "Signers", "by_role", "generate_key", "online"]

ONLINE = (Role.BINS, Role.SNAPSHOT, Role.TIMESTAMP)
"""Roles whose keys have to be at hand all the time."""


@dataclass(frozen=True, slots=True)
class KeyHandle:
    """A key of a role: its public half, and the URI by which its private half is found; empty when people hold it."""

    role: Role
    key: Key
    uri: str


def generate_key(folder: Path, role: Role) -> KeyHandle:
    """Make an Ed25519 key and store its private half as PKCS#8 in `folder`, readable by the owner only.

    The file is named by role and key id and never overwritten.

    Raises:
        KeyUnusable: it cannot be written.
    """
    private = Ed25519PrivateKey.generate()
    key = CryptoSigner(private).public_key
    path = folder / f"{role}-{key.keyid[:16]}.pem"
    write_private(path, private, None)
    return KeyHandle(role, key, f"file2:{path.name}")


class Signers:
    """The private halves this process may use, by role; loaded once, checked when loaded."""

    def __init__(self, handles: Sequence[KeyHandle], keys: KeyAccess | Path) -> None:
        """Load every key that has a URI; the others are held by people.

        Args:
            handles: the keys.
            keys: the means to reach them; a folder alone stands for itself, and no secrets.

        Raises:
            KeyUnusable: a key cannot be loaded, or signs with something else than its public half.
        """
        access = KeyAccess(folder=keys) if isinstance(keys, Path) else keys
        self._by_role: dict[Role, list[Signer]] = {}
        for handle in handles:
            if handle.uri:
                signer = load_signer(handle.uri, handle.key, access, role=handle.role)
                self._by_role.setdefault(handle.role, []).append(signer)

    def sign(self, role: Role, metadata: Metadata[Any], threshold: int) -> bytes:
        """Sign metadata with a threshold of a role's keys and return the bytes to publish; each signature is verified.

        Raises:
            KeyUnusable: fewer keys than the threshold are at hand, or a signature does not verify.
        """
        signers = self._by_role.get(role, [])
        if len(signers) < threshold:
            raise KeyUnusable(f"role {role} needs {threshold} keys and {len(signers)} are at hand")
        signed = metadata.signed.to_dict()
        payload = canonical(signed)
        metadata.signatures.clear()
        for signer in signers[:threshold]:
            metadata.signatures[signer.public_key.keyid] = signer.sign(payload)
        return to_publish(signed, metadata.signatures)


def by_role(handles: Sequence[KeyHandle]) -> Mapping[Role, list[Key]]:
    """Return the public keys of each role."""
    keys: dict[Role, list[Key]] = {}
    for handle in handles:
        keys.setdefault(handle.role, []).append(handle.key)
    return keys


def online(handles: Sequence[KeyHandle]) -> list[KeyHandle]:
    """Return the keys that publishing needs; the others may be away."""
    return [handle for handle in handles if handle.role in ONLINE]
