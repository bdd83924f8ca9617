"""What people sign to approve a file: messages, keys and signatures, also those that OpenSSH itself made."""

import base64
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, SECP384R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from countermark.core.approval.keys import InvalidKey, KeyKind, parse_key
from countermark.core.approval.message import (
    Approval,
    InvalidApproval,
    KeyRegistration,
    approval_of,
    parse_approval,
)
from countermark.core.approval.signatures import BadSignature, signature_text, verify
from countermark.core.digest import Length, Sha256, sha256_of
from countermark.core.names import FileName, IndexName, NormalizedName
from countermark.core.pointer import Pointer, Resource

WHEEL = "widget-1.0-py3-none-any.whl"
POINTER = Pointer(
    NormalizedName("widget"),
    "1.0",
    IndexName("root", "stable"),
    Resource(f"/files/aa/{'b' * 62}/{WHEEL}", Sha256("aa" + "b" * 62), Length(7)),
)
APPROVAL, _ = approval_of(POINTER.to_bytes(), 1)
SPKI = (Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def test_the_message_names_everything() -> None:
    """The bytes that are signed are fixed for ever: an approval that was kept must verify in years."""
    assert APPROVAL.to_bytes() == (
        b"countermark release approval, version 1\nindex: root/stable\nproject: widget\nversion: 1.0\n"
        b"file: widget-1.0-py3-none-any.whl\n" + f"pointer-sha256: {sha256_of(POINTER.to_bytes())}\nround: 1\n".encode()
    )
    assert parse_approval(APPROVAL.to_bytes()) == APPROVAL


@pytest.mark.parametrize("version", ["", "1.0\nfile: other", "1\x000", "1" * 600, "1.0\u2028", "\x85"])
def test_a_value_cannot_pretend_to_be_another_line(version: str) -> None:
    """What could be read in two ways is never signed."""
    with pytest.raises(InvalidApproval):
        Approval(POINTER.index, POINTER.name, version, FileName(WHEEL), APPROVAL.pointer_sha256, 1)


@pytest.mark.parametrize("change", [b"# comment\n%s", b"%s\n", b"%s  extra: 1\n", b"", b"pointer: 1\n"])
def test_only_the_canonical_pointer_is_approved(change: bytes) -> None:
    """Bytes that are never signed are not approved either, though they may mean the same."""
    data = POINTER.to_bytes()
    with pytest.raises(InvalidApproval):
        approval_of(change % data if b"%s" in change else change, 1)


@pytest.mark.parametrize("text", ["0", "01", "-1", "1.0", "", "\u0661", "9" * 11, "True"])
def test_a_round_is_a_number_from_one(text: str) -> None:
    """It is written in one way only, and of two rounds none has the other's message."""
    message = APPROVAL.to_bytes().decode()
    with pytest.raises(InvalidApproval):
        parse_approval(message.replace("round: 1", f"round: {text}").encode())
    assert approval_of(POINTER.to_bytes(), 2)[0].to_bytes() != APPROVAL.to_bytes()


def test_plain_keys_sign_the_message_itself() -> None:
    """Ed25519 and P-256 keys approve; what one made, no other verifies, and no other statement."""
    ed, p256 = Ed25519PrivateKey.generate(), generate_private_key(SECP256R1())
    message = APPROVAL.to_bytes()
    made = {
        KeyKind.ED25519: (parse_key(ed.public_key().public_bytes(*SPKI).decode()), ed.sign(message)),
        KeyKind.P256: (parse_key(p256.public_key().public_bytes(*SPKI).decode()), p256.sign(message, ECDSA(SHA256()))),
    }
    for kind, (key, signature) in made.items():
        assert key.kind is kind
        verify(key, APPROVAL, signature_text(signature))
        with pytest.raises(BadSignature):
            verify(key, KeyRegistration("root", key.keyid), signature_text(signature))
    with pytest.raises(BadSignature):
        verify(made[KeyKind.ED25519][0], APPROVAL, signature_text(made[KeyKind.P256][1]))


def test_one_key_has_one_id_in_every_form() -> None:
    """Nobody counts twice because the same key was registered as PEM and as an SSH key."""
    for private, kind in (
        (Ed25519PrivateKey.generate(), KeyKind.SSH_ED25519),
        (generate_private_key(SECP256R1()), KeyKind.SSH_P256),
    ):
        public = private.public_key()
        line = public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
        ssh = parse_key(f"{line} somebody@somewhere\n")
        assert (ssh.kind, ssh.text) == (kind, line)
        assert ssh.keyid == parse_key(public.public_bytes(*SPKI).decode()).keyid
        assert ssh.fingerprint.startswith("SHA256:")


def _points_of_small_order() -> list[bytes]:
    """Return the encodings of the points of which eight times makes nothing, computed and not copied."""
    prime = 2**255 - 19
    d = -121665 * pow(121666, -1, prime) % prime

    def x_of(y: int) -> int | None:
        square = (y * y - 1) * pow(d * y * y + 1, -1, prime) % prime
        root = pow(square, (prime + 3) // 8, prime)
        for candidate in (root, root * pow(2, (prime - 1) // 4, prime) % prime):
            if candidate * candidate % prime == square:
                return candidate
        return None

    def add(one: tuple[int, int], two: tuple[int, int]) -> tuple[int, int]:
        (a, b), (x, y) = one, two
        product = d * a * b * x * y
        return (
            (a * y + b * x) * pow(1 + product, -1, prime) % prime,
            (b * y + a * x) * pow(1 - product, -1, prime) % prime,
        )

    order = 2**252 + 27742317777372353535851937790883648493
    found = set()
    for y in range(2, 40):
        x = x_of(y)
        if x is None:
            continue
        total, power, scalar = (0, 1), (x, y), order
        while scalar:
            total = add(total, power) if scalar & 1 else total
            power, scalar = add(power, power), scalar >> 1
        found |= {(total[1] | (total[0] & 1) << 255).to_bytes(32, "little")}
    return sorted(found)


def test_keys_for_which_any_signature_fits_are_refused() -> None:
    """A point of small order is no key: its signatures prove nothing."""
    weak = _points_of_small_order()
    assert len(weak) > 4
    for raw in [*weak, b"\xed" + b"\xff" * 30 + b"\x7f"]:
        pem = Ed25519PublicKey.from_public_bytes(raw).public_bytes(*SPKI).decode()
        with pytest.raises(InvalidKey, match="weak"):
            parse_key(pem)


def test_other_keys_are_refused_with_words() -> None:
    """Only what can be verified for years is taken; a private key is never asked for."""
    p384 = generate_private_key(SECP384R1()).public_key().public_bytes(*SPKI).decode()
    good = Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    blob = base64.b64decode(good.split()[1])
    for text, words in {
        p384: "only Ed25519 and P-256",
        "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQ==": "cannot approve",
        "ed25519 AAAA": "cannot approve",
        "-----BEGIN OPENSSH PRIVATE KEY-----": "private key",
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----": "no public key",
        "": "give a public key",
        "x" * 5000: "longer",
        f"ssh-ed25519 {base64.b64encode(blob + b'x').decode()}": "something follows",
        f"ssh-ed25519 {base64.b64encode(blob[:-1]).decode()}": "malformed",
        f"ecdsa-sha2-nistp256 {base64.b64encode(blob).decode()}": "another type",
        f"{good} one\n{good} two": "give a public key",
    }.items():
        with pytest.raises(InvalidKey, match=words):
            parse_key(text)


@pytest.fixture
def openssh() -> str:
    """The program; Debian's package openssh-client has it."""
    found = shutil.which("ssh-keygen")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("ssh-keygen is missing: install openssh-client")
        pytest.skip("ssh-keygen is missing")
    return found


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
@pytest.mark.parametrize("hash_name", ["sha256", "sha512"])
def test_what_openssh_signs_is_an_approval(openssh: str, tmp_path: Path, kind: str, hash_name: str) -> None:
    """The file that `ssh-keygen -Y sign` writes counts, in our namespace and no other."""
    key_file, message = tmp_path / "key", tmp_path / "message"
    subprocess.run([openssh, "-q", "-t", kind, "-N", "", "-f", str(key_file)], check=True)
    message.write_bytes(APPROVAL.to_bytes())
    key = parse_key(key_file.with_suffix(".pub").read_text())

    def signed(namespace: str) -> str:
        argv = [openssh, "-Y", "sign", "-q", "-O", f"hashalg={hash_name}", "-n", namespace, "-f", str(key_file)]
        subprocess.run([*argv, str(message)], check=True, capture_output=True)
        made = tmp_path / "message.sig"
        text = made.read_text()
        made.unlink()
        return text

    good = signed("countermark-release-approval")
    verify(key, APPROVAL, good)
    verify(key, APPROVAL, good.replace("\n", "\r\n"))
    with pytest.raises(BadSignature, match="namespace 'file'"):
        verify(key, APPROVAL, signed("file"))
    listed = subprocess.run([openssh, "-l", "-f", str(key_file)], check=True, capture_output=True, text=True).stdout
    assert key.fingerprint in listed
