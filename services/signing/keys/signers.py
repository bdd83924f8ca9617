"""The private halves that this process may use, by role. Nothing else in the server sees a private key.

URIs are kept in the catalogue beside the public key and never published; `signing.uris` overrules them. What they may
be stands in `countermark.core.signing`. Source: trust contract section 2.4; ADR 0032.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner, Key, Signature, Signer
from tuf.api.metadata import Metadata

from countermark.core.attestations.dsse import pae
from countermark.core.attestations.keyed import bundle_of_key
from countermark.core.attestations.statement import PAYLOAD_TYPE
from countermark.core.ceremony.key_lists import key_lists
from countermark.core.ceremony.keys import fingerprint
from countermark.core.ceremony.payload import read_published
from countermark.core.ceremony.tree import DELEGATOR
from countermark.core.signing.access import KeyAccess
from countermark.core.signing.faults import KeyUnusable
from countermark.core.signing.files import write_private
from countermark.core.signing.loading import load_signer
from shared.trust.metadata import canonical, to_publish
from shared.trust.roles import ONLINE, Role

__all__ = ["ONLINE", "KeyHandle", "KeyUnusable", "Signers", "by_role", "generate_key", "listed", "online"]


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
        """Sign metadata with a role's keys and return the bytes to publish; each signature is verified.

        What people may sign is signed with a threshold of its keys; what the server signs by itself with all, which are
        more than one while a key is being replaced: clients take the signatures they know (trust contract section 2.8).

        Raises:
            KeyUnusable: fewer keys than the threshold are at hand, or a signature does not verify.
        """
        signers = self._by_role.get(role, [])
        if len(signers) < threshold:
            raise KeyUnusable(f"role {role} needs {threshold} keys and {len(signers)} are at hand")
        signed = metadata.signed.to_dict()
        payload = canonical(signed)
        metadata.signatures.clear()
        for signer in signers if role in (*ONLINE, Role.REGISTRY) else signers[:threshold]:
            metadata.signatures[signer.public_key.keyid] = signer.sign(payload)
        return to_publish(signed, metadata.signatures)

    def attest(self, role: Role, statement: bytes) -> bytes:
        """Return the Sigstore bundle of a statement that a role's key signs: the first that is at hand.

        No metadata can be mistaken for it, nor it for metadata: what a DSSE envelope signs begins with `DSSEv1`, and
        metadata with `{`.

        Raises:
            KeyUnusable: there is none, or its signature does not verify.
        """
        signers = self._by_role.get(role, [])
        if not signers:
            raise KeyUnusable(f"role {role} has no key at hand to sign an attestation")
        signature = bytes.fromhex(signers[0].sign(pae(PAYLOAD_TYPE, statement)).signature)
        return bundle_of_key(statement, fingerprint(signers[0].public_key), signature)

    def signatures(self, role: Role, payload: bytes, threshold: int) -> list[Signature]:
        """Return the signatures of a threshold of a role's keys over the exact bytes of a payload.

        Raises:
            KeyUnusable: fewer keys are at hand, or a signature does not verify.
        """
        signers = self._by_role.get(role, [])
        if len(signers) < threshold:
            raise KeyUnusable(f"role {role} needs {threshold} keys and {len(signers)} are at hand")
        return [signer.sign(payload) for signer in signers[:threshold]]


def by_role(handles: Sequence[KeyHandle]) -> Mapping[Role, list[Key]]:
    """Return the public keys of each role."""
    keys: dict[Role, list[Key]] = {}
    for handle in handles:
        keys.setdefault(handle.role, []).append(handle.key)
    return keys


def online(handles: Sequence[KeyHandle], ids: Collection[str] | None = None) -> list[KeyHandle]:
    """Return the keys that publishing needs, of those with some ids if they are given; the others may be away."""
    return [handle for handle in handles if handle.role in ONLINE and (ids is None or handle.key.keyid in ids)]


def listed(role: Role, delegator: bytes, handles: Sequence[KeyHandle]) -> tuple[list[KeyHandle], int]:
    """Return the keys of a shared role that are here and count for clients, and how many must sign.

    A ceremony may have replaced some of those that this deployment made, or given the role to people altogether. While
    the key of registry is being replaced, the other one of the two is returned with that which counts.

    Args:
        delegator: the newest published file of the role above, which lists the role's keys.
    """
    found = key_lists(read_published(DELEGATOR[role], delegator))[role]
    mine = [handle for handle in handles if handle.role is role and handle.key.keyid in found.keyids]
    if role is Role.REGISTRY and len(mine) >= found.threshold:
        mine += [handle for handle in handles if handle.role is role and handle.uri and handle not in mine]
    return mine, found.threshold
