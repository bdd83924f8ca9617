"""Keys that approve: PEM files are used here, SSH keys by `ssh-keygen`, which asks the agent too, and keys that have
a URI (on tokens, in key services) through `core.signing`.

Source: ssh-keygen(1), `-Y sign`; OpenSSH PROTOCOL.sshsig.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_private_key,
)
from securesystemslib.signer import Key

from countermark.core.approval.keys import ApprovalKey, InvalidKey, parse_key
from countermark.core.approval.message import Statement
from countermark.core.approval.signatures import BadSignature, signature_text, verify
from countermark.core.ceremony.faults import CeremonyFault
from countermark.core.ceremony.keys import fingerprint
from countermark.core.errors import LocalState, UsageFault
from countermark.core.signing.access import KeyAccess, SecretKind, Wanted, asked_once
from countermark.core.signing.loading import load_signer
from countermark.core.signing.making import find_key
from countermark.core.signing.uris import SCHEMES

MAX_KEY_FILE = 64 * 1024
"""Bytes of a key file."""

_SECONDS = 120
"""How long `ssh-keygen` may take: a person may have to type or touch something."""


@dataclass(frozen=True, slots=True)
class Signer:
    """A key that can sign here, or whose signature was made elsewhere."""

    public: ApprovalKey
    _sign: Callable[[Statement], str]

    def sign(self, statement: Statement) -> str:
        """Return a signature, verified before anybody gets it.

        Raises:
            LocalState: the key does not sign, or wrongly.
        """
        signature = self._sign(statement)
        try:
            verify(self.public, statement, signature)
        except BadSignature as error:
            words = f"the signature does not verify: {error}"
            raise LocalState(words, "Sign exactly the bytes of the message, with this key.") from error
        return signature


def open_signer(key: str, access: KeyAccess) -> Signer:
    """Return the key of a URI (`core.signing.uris`), or of a file: a PEM private key, an SSH private key, or an SSH
    public key whose other half the agent or the file beside it has.

    Nothing is signed by this; a token is logged in to when it is to sign.

    Raises:
        LocalState: it cannot be read.
        KeyUnusable: what the URI names cannot be used.
        UsageFault: it is no key that can approve.
    """
    if _is_uri(key):
        return _open_uri(key, access)
    path = Path(key)
    text = _read(path)
    if "OPENSSH PRIVATE KEY" in text or text.startswith(("ssh-", "ecdsa-")):
        return _open_ssh(path, text)
    if "PRIVATE KEY" not in text:
        raise UsageFault(f"{path} is no private key", "Give a PEM or SSH private key, or --signature with the public.")
    return _open_pem(path, text, access)


def read_public(key: str, access: KeyAccess) -> ApprovalKey:
    """Return the public key of a file, or the public half of a URI's key.

    Raises:
        LocalState: it cannot be read.
        KeyUnusable: what the URI names cannot be used.
        UsageFault: it is no key that can approve.
    """
    if _is_uri(key):
        return _approving(find_key(key, access).key, key)
    return _parsed(_read(Path(key)), key)


def made_elsewhere(public: str, signature: Path) -> Signer:
    """Return a key whose signature was made elsewhere, and lies in a file.

    Args:
        public: file with a PEM or SSH public key.
        signature: what `ssh-keygen -Y sign` wrote, or the base64 or bytes of a plain signature.
    """
    key = _parsed(_read(Path(public)), public)
    try:
        with signature.open("rb") as file:
            data = file.read(MAX_KEY_FILE)
    except OSError as error:
        raise _unreadable(signature, error) from error
    try:
        text = data.decode("ascii").strip()
    except UnicodeDecodeError:
        text = ""
    if not key.kind.is_ssh and (not text or not _is_base64(text)):
        text = signature_text(data)
    return Signer(key, lambda _: text)


def _is_base64(text: str) -> bool:
    return all(character.isalnum() or character in "+/=" for character in text)


def _is_uri(key: str) -> bool:
    return key.partition(":")[0] in SCHEMES


def _open_uri(uri: str, access: KeyAccess) -> Signer:
    once = replace(access, secret=asked_once(access.secret))
    found = find_key(uri, once)
    public = _approving(found.key, uri)

    def sign(statement: Statement) -> str:
        made = load_signer(found.uri, found.key, once).sign(statement.to_bytes())
        return signature_text(bytes.fromhex(made.signature))

    return Signer(public, sign)


def _approving(key: Key, uri: str) -> ApprovalKey:
    """Return a key of `core.signing` as one that approves: what is registered is its PEM form."""
    try:
        public = load_der_public_key(fingerprint(key))
    except CeremonyFault as error:
        raise UsageFault(f"{uri}: {error}", "Use an Ed25519 or P-256 key.") from error
    return _parsed(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(), uri)


def _open_pem(path: Path, text: str, access: KeyAccess) -> Signer:
    secret = access.secret(Wanted(SecretKind.PASSPHRASE, str(path))).encode() if "ENCRYPTED" in text else None
    try:
        private = load_pem_private_key(text.encode(), secret)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise UsageFault(f"{path} cannot be opened: not PEM, or another passphrase", "Check the file.") from error
    if isinstance(private, Ed25519PrivateKey):
        ed25519 = private
        return Signer(_public(ed25519), lambda message: signature_text(ed25519.sign(message.to_bytes())))
    if isinstance(private, EllipticCurvePrivateKey) and isinstance(private.curve, SECP256R1):
        p256 = private
        return Signer(_public(p256), lambda message: signature_text(p256.sign(message.to_bytes(), ECDSA(SHA256()))))
    raise UsageFault(f"{path} is neither an Ed25519 nor a P-256 key", "Make one of these.")


def _public(private: Ed25519PrivateKey | EllipticCurvePrivateKey) -> ApprovalKey:
    pem = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return parse_key(pem.decode())


def _open_ssh(path: Path, text: str) -> Signer:
    beside = path.with_name(f"{path.name}.pub")
    if text.startswith(("ssh-", "ecdsa-")):
        line = text
    elif beside.is_file():
        line = _read(beside)
    else:
        line = _run(["-y", "-f", str(path)], b"").decode("ascii", "replace")
    key = _parsed(line, str(path))

    def sign(statement: Statement) -> str:
        made = _run(["-Y", "sign", "-q", "-n", statement.namespace, "-f", str(path)], statement.to_bytes())
        return made.decode("ascii", "replace")

    return Signer(key, sign)


def _parsed(text: str, where: str) -> ApprovalKey:
    try:
        return parse_key(text)
    except InvalidKey as error:
        raise UsageFault(f"{where}: {error}", "Give an Ed25519 or P-256 key, as PEM or as an SSH key.") from error


def _run(arguments: list[str], data: bytes) -> bytes:
    program = shutil.which("ssh-keygen")
    if program is None:
        raise LocalState("ssh-keygen is not installed", "Install OpenSSH's client, or use a PEM key.")
    try:
        # Words for the person (a passphrase, a touch) go to their terminal.
        done = subprocess.run(  # noqa: S603 - the program that the person has, with arguments of ours
            [program, *arguments], input=data, capture_output=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LocalState(f"ssh-keygen did not sign: {type(error).__name__}", "Try again.") from error
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise LocalState(f"ssh-keygen did not sign: {said[-1] if said else done.returncode}", "Check the key.")
    return done.stdout


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_KEY_FILE + 1)
    except OSError as error:
        raise _unreadable(path, error) from error
    if len(data) > MAX_KEY_FILE:
        raise UsageFault(f"{path} is too long for a key", "Give a key file.")
    return data.decode("utf-8", "replace").strip()


def _unreadable(path: Path, error: OSError) -> LocalState:
    return LocalState(f"cannot read {path}: {error.strerror or error}", "Give a file that can be read.")
