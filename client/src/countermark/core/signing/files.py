"""Private keys as PKCS#8, in files and in variables of the environment.

Source: RFC 5958 (asymmetric key packages), RFC 8018 (password-based encryption); trust contract section 2.4.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from countermark.core.signing.access import KeyAccess
from countermark.core.signing.faults import KeyUnusable, words
from countermark.core.signing.uris import ENCRYPTED_FILE, FILE, VARIABLE, KeyUri

SHORTEST_PASSPHRASE = 12
"""Characters of the passphrase of a new key: whoever has the file may guess as long as they like."""

_KEY_LIMIT = 64 << 10
"""Bytes of a private key in PEM."""

_ENCRYPTED = b"-----BEGIN ENCRYPTED PRIVATE KEY-----"

Passphrase = Callable[[], str]
"""Asks for the passphrase, when one is needed."""


def read_private(uri: KeyUri, access: KeyAccess, passphrase: Passphrase) -> Any:
    """Return the private key of a `file2:`, `pkcs8:` or `env:` URI, an object of the library `cryptography`.

    Raises:
        KeyUnusable: it is not there, is no key, or cannot be opened.
    """
    if uri.scheme == VARIABLE:
        pem, what = _from_variable(uri.place, access), f"variable {uri.place}"
    else:
        path = path_of(uri, access)
        pem, what = _from_file(path), str(path)
    # In front of the block may stand words: PEM allows them (RFC 7468 section 2).
    encrypted = _ENCRYPTED in pem
    if encrypted and uri.scheme == FILE:
        raise KeyUnusable(f"{what} is encrypted", f"Write {ENCRYPTED_FILE}: instead of {FILE}: in its URI.")
    if not encrypted and uri.scheme == ENCRYPTED_FILE:
        raise KeyUnusable(
            f"{what} is not encrypted", f"Encrypt it (`openssl pkcs8 -topk8`), or write {FILE}: in its URI."
        )
    secret = passphrase().encode() if encrypted else None
    try:
        return load_pem_private_key(pem, secret)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        if encrypted:
            raise KeyUnusable(f"{what} cannot be opened with its passphrase", "Correct the passphrase.") from error
        raise KeyUnusable(f"{what} holds no private key: {words(error)}", "It has to be PKCS#8 in PEM.") from error


def write_private(path: Path, private: Ed25519PrivateKey, passphrase: str | None) -> None:
    """Write a private key as PKCS#8 to a new file that its owner alone can read, durable on return.

    Args:
        path: of the file; its folder is made where it is missing.
        private: the key.
        passphrase: encrypts it; None: not encrypted.

    Raises:
        KeyUnusable: the passphrase is too short, or the file exists or cannot be written.
    """
    if passphrase is not None and len(passphrase) < SHORTEST_PASSPHRASE:
        raise KeyUnusable(
            f"the passphrase has fewer than {SHORTEST_PASSPHRASE} characters", "Take a longer one; nothing was written."
        )
    encryption = NoEncryption() if passphrase is None else BestAvailableEncryption(passphrase.encode())
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(pem)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            path.unlink(missing_ok=True)
            raise
        if sys.platform != "win32":
            # There folders cannot be opened, and need not be.
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    except FileExistsError as error:
        raise KeyUnusable(f"{path} exists and is not written over", "Name another file.") from error
    except OSError as error:
        raise KeyUnusable(f"{path} cannot be written: {error.strerror}", "Name a folder that can be.") from error


def path_of(uri: KeyUri, access: KeyAccess) -> Path:
    """Return the file of a `file2:` or `pkcs8:` URI."""
    return access.folder / uri.place


def _from_file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            pem = file.read(_KEY_LIMIT + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "that is no path"
        remedy = "Put the key's file there, readable by this account, or correct its URI."
        raise KeyUnusable(f"{path} cannot be read: {reason}", remedy) from error
    if len(pem) > _KEY_LIMIT:
        raise KeyUnusable(f"{path} has more than {_KEY_LIMIT} bytes: it is no private key")
    return pem


def _from_variable(name: str, access: KeyAccess) -> bytes:
    value = access.environ.get(name)
    if not value:
        raise KeyUnusable(f"variable {name} is not set", f"Set {name} to the private key, PKCS#8 in PEM.")
    if len(value) > _KEY_LIMIT:
        raise KeyUnusable(f"variable {name} has more than {_KEY_LIMIT} characters: it is no private key")
    return value.encode("utf-8", "surrogateescape")
