"""Whether a signature of an approving key is over exactly this statement. Fails closed; every input is bounded.

1. The text of the signature is of the form that the key's kind decides: base64 of the signature itself, or SSH's
   armour.
2. SSH: magic, version 1, the registered key and no other, the statement's own namespace, nothing reserved, sha256 or
   sha512, one signature of the key's type, nothing after it.
3. The signature is written in the one way there is (64 bytes; DER; `mpint`), and the key verifies it.

Source: OpenSSH PROTOCOL.sshsig; RFC 8032 section 5.1.7; RFC 8709; RFC 5656 section 3.1.2.
"""

from __future__ import annotations

import base64
import binascii
import hashlib

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from countermark.core.approval.keys import ApprovalKey, KeyKind
from countermark.core.approval.message import Statement
from countermark.core.approval.wire import MalformedWire, WireReader, wire_string

MAX_SIGNATURE_TEXT = 4096
"""Characters of a signature as it is sent and kept."""

_MAGIC = b"SSHSIG"
_BEGIN, _END = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"
_HASHES = {b"sha256": hashlib.sha256, b"sha512": hashlib.sha512}
_ED25519_BYTES = 64


class BadSignature(ValueError):
    """The signature is not of this key over this statement; the message says what is wrong."""


def verify(key: ApprovalKey, statement: Statement, signature: str) -> None:
    """Return when `signature` is of `key` over `statement`.

    Args:
        signature: base64 of an Ed25519 signature, or of a P-256 one over SHA-256 in DER; for SSH keys the armoured text
            that `ssh-keygen -Y sign` writes.

    Raises:
        BadSignature: it is not, or not written so.
    """
    if len(signature) > MAX_SIGNATURE_TEXT:
        raise BadSignature(f"the signature is longer than {MAX_SIGNATURE_TEXT} characters")
    message = statement.to_bytes()
    if key.kind.is_ssh:
        _verify_ssh(key, statement.namespace, message, signature)
    else:
        _verify_plain(key, message, _unpacked(signature.removesuffix("\n")))


def signature_text(signature: bytes) -> str:
    """Return a plain signature as it is sent and kept."""
    return base64.b64encode(signature).decode()


def _verify_plain(key: ApprovalKey, message: bytes, signature: bytes) -> None:
    try:
        if isinstance(key.public, Ed25519PublicKey):
            if len(signature) != _ED25519_BYTES:
                raise BadSignature("an Ed25519 signature has 64 bytes")
            key.public.verify(signature, message)
            return
        # One number has many encodings that lax readers take; only the shortest is one here.
        if encode_dss_signature(*decode_dss_signature(signature)) != signature:
            raise BadSignature("the P-256 signature is not in DER")
        key.public.verify(signature, message, ECDSA(SHA256()))
    except InvalidSignature as error:
        raise BadSignature("the key did not make this signature over this message") from error
    except BadSignature:
        raise
    except ValueError as error:
        raise BadSignature("the P-256 signature is not in DER") from error


def _verify_ssh(key: ApprovalKey, namespace: str, message: bytes, signature: str) -> None:
    try:
        reader = WireReader(_unarmoured(signature))
        if reader.take(len(_MAGIC)) != _MAGIC or reader.word() != 1:
            raise BadSignature("this is no SSH signature of version 1")
        if reader.string() != key.ssh_blob():
            raise BadSignature("another SSH key made this signature")
        said = reader.string()
        if said != namespace.encode():
            shown = ascii(said[:60].decode("ascii", "replace"))
            raise BadSignature(f"the signature is of namespace {shown}: sign with ssh-keygen -Y sign -n {namespace}")
        if reader.string():
            raise BadSignature("the signature has a reserved field, of which nothing is known")
        hash_name, inner = reader.string(), reader.string()
        reader.end()
        if hash_name not in _HASHES:
            raise BadSignature("the signature is over another digest than sha256 or sha512")
        digest = _HASHES[hash_name](message).digest()
        signed = _MAGIC + b"".join(map(wire_string, (namespace.encode(), b"", hash_name, digest)))
        _verify_plain(key, signed, _inner(key, inner))
    except MalformedWire as error:
        raise BadSignature(f"the SSH signature is malformed: {error}") from error


def _inner(key: ApprovalKey, blob: bytes) -> bytes:
    """Return an SSH key's signature in the form of a plain one."""
    reader = WireReader(blob)
    if reader.string() != key.kind.value.encode():
        raise BadSignature("the signature is of another type than the key")
    body = reader.string()
    reader.end()
    if key.kind is KeyKind.SSH_ED25519:
        return body
    numbers = WireReader(body)
    r, s = numbers.number(), numbers.number()
    numbers.end()
    return encode_dss_signature(r, s)


def _unarmoured(text: str) -> bytes:
    lines = text.replace("\r\n", "\n").removesuffix("\n").split("\n")
    if len(lines) < 3 or lines[0] != _BEGIN or lines[-1] != _END:
        raise BadSignature("an SSH signature begins and ends with its BEGIN and END lines, as ssh-keygen writes them")
    return _unpacked("".join(lines[1:-1]))


def _unpacked(text: str) -> bytes:
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise BadSignature("the signature is not in base64") from error
    if base64.b64encode(data).decode() != text:
        raise BadSignature("the base64 of the signature is not canonical")
    return data
