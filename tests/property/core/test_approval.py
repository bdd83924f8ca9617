"""Approvals: whatever byte of the message or of the signature changes, nothing is approved."""

import base64
from dataclasses import dataclass

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, derive_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA512, Hash
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from countermark.core.approval.keys import ApprovalKey, InvalidKey, parse_key
from countermark.core.approval.message import APPROVAL_NAMESPACE, Approval, InvalidApproval, parse_approval
from countermark.core.approval.signatures import BadSignature, signature_text, verify
from countermark.core.approval.wire import wire_number, wire_string
from countermark.core.digest import Sha256
from countermark.core.names import FileName, IndexName, NormalizedName

APPROVAL = Approval(
    IndexName("root", "stable"),
    NormalizedName("widget"),
    "1.0",
    FileName("widget-1.0-py3-none-any.whl"),
    Sha256("0123456789abcdef" * 4),
    1,
)
ED, EC = Ed25519PrivateKey.from_private_bytes(b"k" * 32), derive_private_key(12345678901234567890, SECP256R1())


@dataclass(frozen=True)
class Made:
    """A key and its signature of `APPROVAL`; `armoured` in SSH's form, whose inside is `data`."""

    key: ApprovalKey
    data: bytes
    armoured: bool

    def text(self, data: bytes) -> str:
        """Return the signature with other bytes inside."""
        if not self.armoured:
            return signature_text(data)
        packed = base64.b64encode(data).decode()
        lines = [packed[at : at + 70] for at in range(0, len(packed), 70)]
        return "\n".join(["-----BEGIN SSH SIGNATURE-----", *lines, "-----END SSH SIGNATURE-----", ""])


def _made() -> list[Made]:
    message, made = APPROVAL.to_bytes(), []
    digest = Hash(SHA512())
    digest.update(message)
    namespace = wire_string(APPROVAL_NAMESPACE.encode())
    signed = b"SSHSIG" + namespace + wire_string(b"") + wire_string(b"sha512") + wire_string(digest.finalize())
    for private in (ED, EC):
        public = private.public_key()
        pem = parse_key(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode())
        ssh = parse_key(public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode())
        if isinstance(private, Ed25519PrivateKey):
            plain, inner = private.sign(message), private.sign(signed)
        else:
            plain = private.sign(message, ECDSA(SHA256()))
            inner = b"".join(map(wire_number, decode_dss_signature(private.sign(signed, ECDSA(SHA256())))))
        made.append(Made(pem, plain, armoured=False))
        whole = b"SSHSIG\x00\x00\x00\x01" + wire_string(ssh.ssh_blob()) + namespace + wire_string(b"")
        whole += wire_string(b"sha512") + wire_string(wire_string(ssh.kind.value.encode()) + wire_string(inner))
        made.append(Made(ssh, whole, armoured=True))
    return made


MADE = _made()
for _one in MADE:
    verify(_one.key, APPROVAL, _one.text(_one.data))


def _changed(data: bytes, at: int, by: int) -> bytes:
    at %= len(data)
    return data[:at] + bytes([data[at] ^ by]) + data[at + 1 :]


@given(st.sampled_from(MADE), st.integers(0, 1000), st.integers(1, 255))
def test_a_changed_byte_of_the_signature_is_refused(made: Made, at: int, by: int) -> None:
    """Of the key in it, the namespace, the digest's name or the numbers: any."""
    with pytest.raises(BadSignature):
        verify(made.key, APPROVAL, made.text(_changed(made.data, at, by)))


@given(st.sampled_from(MADE), st.integers(0, 1000), st.integers(1, 127))
def test_a_changed_character_of_the_signature_is_refused(made: Made, at: int, by: int) -> None:
    """Of the base64, its padding, the armour and its line ends: any."""
    text = made.text(made.data)
    changed = _changed(text.encode(), at, by).decode("latin-1")
    with pytest.raises(BadSignature):
        verify(made.key, APPROVAL, changed)


@given(st.sampled_from(MADE), st.integers(0, 1000))
def test_a_part_of_a_signature_is_none(made: Made, length: int) -> None:
    """What was cut, and what has something after it, is refused."""
    for data in (made.data[: length % len(made.data)], made.data + b"\0"):
        with pytest.raises(BadSignature):
            verify(made.key, APPROVAL, made.text(data))


@given(st.integers(0, 1000), st.integers(1, 255))
def test_a_changed_byte_of_the_message_is_another_message_or_none(at: int, by: int) -> None:
    """Either the bytes are no approval, or they are one that no signature of the first one fits."""
    changed = _changed(APPROVAL.to_bytes(), at, by)
    try:
        other = parse_approval(changed)
    except InvalidApproval:
        return
    assert other != APPROVAL
    assert other.to_bytes() == changed
    for made in MADE:
        with pytest.raises(BadSignature):
            verify(made.key, other, made.text(made.data))


@given(st.binary(max_size=400))
def test_no_bytes_are_an_approval_but_its_own(data: bytes) -> None:
    """Parsing takes canonical bytes and raises one kind of error at all others."""
    with pytest.raises(InvalidApproval):
        parse_approval(data)


@given(st.sampled_from(MADE), st.text(max_size=300))
def test_any_text_for_a_signature_or_a_key_is_refused_in_words(made: Made, text: str) -> None:
    """Whatever is sent, the answer is a refusal and no fault of ours."""
    with pytest.raises(BadSignature):
        verify(made.key, APPROVAL, text)
    with pytest.raises(InvalidKey):
        parse_key(text)
