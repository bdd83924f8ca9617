"""Public keys that people approve with: Ed25519 and P-256, as PEM or as the one line of an SSH public key.

The kind decides the form of a signature: what is registered as an SSH key signs in SSH's form, what is registered as
PEM signs the message itself. The key id is made of the key alone, so that one key has one id in whichever form.

Source: RFC 5280 (SubjectPublicKeyInfo), RFC 4253 section 6.6, RFC 5656 section 3.1, RFC 8709 section 4.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from enum import StrEnum

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from countermark.core.approval.wire import MalformedWire, WireReader, wire_string

MAX_KEY_TEXT = 4096
"""Characters of a public key with its comment."""

_PEM_HEAD = "-----BEGIN PUBLIC KEY-----"
_CURVE = "nistp256"
_PRIME = 2**255 - 19
_SMALL_ORDER = frozenset(
    [
        0,
        1,
        _PRIME - 1,
        0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826,
        0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7,
    ]
)
"""y of the points whose order divides 8: with such a key a signature fits any message. Source: RFC 7748 section 6.1."""


class InvalidKey(ValueError):
    """The text is no public key of a kind that can approve; the message says why."""


class KeyKind(StrEnum):
    """What a key is, and with it the form of its signatures."""

    ED25519 = "ed25519"
    P256 = "ecdsa-p256"
    SSH_ED25519 = "ssh-ed25519"
    SSH_P256 = "ecdsa-sha2-nistp256"

    @property
    def is_ssh(self) -> bool:
        """Whether signatures are in SSH's form."""
        return self in {KeyKind.SSH_ED25519, KeyKind.SSH_P256}


PublicKey = Ed25519PublicKey | EllipticCurvePublicKey


@dataclass(frozen=True, slots=True)
class ApprovalKey:
    """A public key.

    Attributes:
        text: the key in its one canonical form: PEM, or `type base64` without a comment.
        keyid: sha256 of the key's SubjectPublicKeyInfo (DER), in hex.
        public: the key itself.
    """

    kind: KeyKind
    text: str
    keyid: str
    public: PublicKey

    @property
    def fingerprint(self) -> str:
        """The name that people compare: for SSH keys what `ssh-keygen -l` shows."""
        if not self.kind.is_ssh:
            return f"sha256:{self.keyid}"
        digest = hashlib.sha256(self.ssh_blob()).digest()
        return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")

    def ssh_blob(self) -> bytes:
        """Return an SSH key as it stands in signatures."""
        return base64.b64decode(self.text.partition(" ")[2])


def parse_key(text: str) -> ApprovalKey:
    """Return the public key that a text holds.

    Args:
        text: PEM (`BEGIN PUBLIC KEY`) of an Ed25519 or P-256 key, or a line `ssh-ed25519 ...` or
            `ecdsa-sha2-nistp256 ...`.

    Raises:
        InvalidKey: it is another kind of key, a private one, or none.
    """
    if len(text) > MAX_KEY_TEXT:
        raise InvalidKey(f"longer than {MAX_KEY_TEXT} characters")
    if "PRIVATE KEY" in text:
        raise InvalidKey("this is a private key: give the public one, and keep this one to yourself")
    stripped = text.strip()
    return _from_pem(stripped) if stripped.startswith(_PEM_HEAD) else _from_line(stripped)


def _from_pem(text: str) -> ApprovalKey:
    try:
        public = load_pem_public_key(text.encode("ascii"))
    except (ValueError, UnicodeEncodeError, UnsupportedAlgorithm) as error:
        raise InvalidKey("this PEM text holds no public key that can be read") from error
    if isinstance(public, Ed25519PublicKey):
        return _key(KeyKind.ED25519, public)
    if isinstance(public, EllipticCurvePublicKey) and isinstance(public.curve, SECP256R1):
        return _key(KeyKind.P256, public)
    raise InvalidKey("only Ed25519 and P-256 keys can approve")


def _from_line(text: str) -> ApprovalKey:
    words = text.split(None, 2)
    if "\n" in text or "\r" in text or len(words) < 2:
        raise InvalidKey("give a public key: PEM (BEGIN PUBLIC KEY), or the line of an SSH public key file")
    try:
        kind = KeyKind(words[0])
    except ValueError:
        kind = KeyKind.ED25519
    if not kind.is_ssh:
        raise InvalidKey(f"{words[0][:40]!r} keys cannot approve: use ssh-ed25519 or ecdsa-sha2-nistp256")
    try:
        blob = base64.b64decode(words[1].encode("ascii"), validate=True)
        if base64.b64encode(blob).decode() != words[1]:
            raise InvalidKey("the base64 of this SSH key is not canonical")
        public = key_in(kind, blob)
    except (UnicodeEncodeError, binascii.Error, MalformedWire) as error:
        raise InvalidKey(f"this SSH key is malformed: {error}") from error
    return _key(kind, public)


def key_in(kind: KeyKind, blob: bytes) -> PublicKey:
    """Return the key that SSH's binary form holds.

    Raises:
        MalformedWire: it is not written so.
        InvalidKey: it is no key of this kind.
    """
    reader = WireReader(blob)
    if reader.string() != kind.value.encode():
        raise InvalidKey("the SSH key is of another type than it says")
    try:
        public: PublicKey
        if kind is KeyKind.SSH_ED25519:
            public = Ed25519PublicKey.from_public_bytes(reader.string())
        else:
            if reader.string() != _CURVE.encode():
                raise InvalidKey("the SSH key is on another curve than it says")
            public = EllipticCurvePublicKey.from_encoded_point(SECP256R1(), reader.string())
    except MalformedWire:
        raise
    except ValueError as error:
        raise InvalidKey(f"the SSH key is none: {error}") from error
    reader.end()
    return public


def _key(kind: KeyKind, public: PublicKey) -> ApprovalKey:
    if isinstance(public, Ed25519PublicKey):
        raw = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
        y = int.from_bytes(raw, "little") & ((1 << 255) - 1)
        if y >= _PRIME or y in _SMALL_ORDER:
            raise InvalidKey("this Ed25519 key is weak: a signature of it would fit any message")
    keyid = hashlib.sha256(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()
    if not kind.is_ssh:
        pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        return ApprovalKey(kind, pem, keyid, public)
    return ApprovalKey(kind, f"{kind} {base64.b64encode(_blob(kind, public)).decode()}", keyid, public)


def _blob(kind: KeyKind, public: PublicKey) -> bytes:
    name = wire_string(kind.value.encode())
    if isinstance(public, Ed25519PublicKey):
        return name + wire_string(public.public_bytes(Encoding.Raw, PublicFormat.Raw))
    point = public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return name + wire_string(_CURVE.encode()) + wire_string(point)
