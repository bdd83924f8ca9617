"""Public keys in ceremonies: their ids, and which of them are the same key. Pure.

Source: TUF specification 1.0.34 section 4.2 (key ids); trust contract section 2.3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from securesystemslib.signer import Key, SSlibKey

from countermark.core.ceremony.faults import CeremonyFault
from countermark.core.ceremony.payload import canonical_bytes
from countermark.core.digest import sha256_of

_FIELDS = frozenset(["keytype", "scheme", "keyval"])


def key_document(key: Key) -> dict[str, Any]:
    """Return a public key as documents of ceremonies have it: the library's fields, and its id."""
    return {**key.to_dict(), "keyid": key.keyid}


def parse_key(document: object) -> Key:
    """Read a public key of a document.

    Raises:
        CeremonyFault: it is no key that can sign a role, or its id is another key's.
    """
    if not isinstance(document, Mapping) or document.keys() != _FIELDS | {"keyid"}:
        raise CeremonyFault("a key has the fields keytype, scheme, keyval and keyid, and no others")
    fields = {name: document[name] for name in _FIELDS}
    keyval = fields["keyval"]
    if not isinstance(keyval, Mapping) or not isinstance(document["keyid"], str):
        raise CeremonyFault("a key has a keyval object, and a key id in text")
    try:
        key = Key.from_dict(document["keyid"], {**fields, "keyval": dict(keyval)})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CeremonyFault(f"this is no public key: {str(error)[:200]}") from error
    check_key(key)
    return key


def check_key(key: Key) -> None:
    """Refuse a key that could not sign, or whose id is not its own.

    Raises:
        CeremonyFault: so.
    """
    fingerprint(key)
    if key.unrecognized_fields or key.keyval.keys() != {"public"}:
        raise CeremonyFault(f"key {key.keyid[:64]} has fields beside its type, scheme and public value")
    if key.keyid != sha256_of(canonical_bytes(key.to_dict())):
        raise CeremonyFault(f"key id {key.keyid[:64]} is not the hash of its key")


def fingerprint(key: Key) -> bytes:
    """Return what is the same for all forms of one key (scheme, letter case, line ends): its DER SubjectPublicKeyInfo.

    Raises:
        CeremonyFault: it is no public key of a kind that may sign a role.
    """
    try:
        if not isinstance(key, SSlibKey):
            raise TypeError("keys of this kind sign no roles")
        public = key.keyval["public"]
        if key.keytype == "ed25519":
            loaded: Any = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public))
        else:
            loaded = load_pem_public_key(public.encode("utf-8"))
        # Type and scheme must fit the key itself, else it would be listed and never verify.
        usual = SSlibKey.from_crypto(loaded)
        is_type = key.keytype == usual.keytype or key.keytype.startswith(f"{usual.keytype}-sha2-")
        if not is_type or (usual.keytype != "rsa" and key.scheme != usual.scheme):
            raise ValueError("it is a key of another type or scheme than it says")
        return bytes(loaded.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    except (ValueError, TypeError, KeyError, AttributeError, UnsupportedAlgorithm) as error:
        raise CeremonyFault(f"key {key.keyid[:64]} cannot be used: {str(error)[:200]}") from error
