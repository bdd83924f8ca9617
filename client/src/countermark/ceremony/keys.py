"""Opens the private key of a URI for one signature, asking for what protects it.

| URI | private half |
|---|---|
| `file2:<path>` | PKCS#8 in PEM, not encrypted |
| `pkcs8:<path>` | PKCS#8 in PEM, encrypted |

Source: trust contract section 2.4.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.exceptions import Error as SecureSystemsError
from securesystemslib.signer import CryptoSigner, Signer

from countermark.core.errors import ClientError

Secret = Callable[[str], str]
"""Asks for a passphrase or PIN, told whose it is."""

_KEY_LIMIT = 64 << 10
"""Bytes of a private key in PEM."""


class KeyUnusable(ClientError):
    """A key cannot be opened, or does not sign."""

    link = "key"


def open_signer(uri: str, secret: Secret) -> Signer:
    """Return the signer of a private key, after it has shown that it signs as its public half says.

    Raises:
        KeyUnusable: it cannot be used; the message never holds a secret.
    """
    scheme, _, place = uri.partition(":")
    if scheme not in {"file2", "pkcs8"} or not place:
        raise KeyUnusable("the URI names no private key", "Write file2:PATH, or pkcs8:PATH when it is encrypted.")
    path = Path(place)
    try:
        with path.open("rb") as file:
            pem = file.read(_KEY_LIMIT + 1)
    except OSError as error:
        raise KeyUnusable(f"{path} cannot be read: {error.strerror}", "Correct the URI.") from error
    signer = CryptoSigner(_private(pem, path, scheme == "pkcs8", secret))
    try:
        trial = b"countermark: does this key belong to its public half?"
        signer.public_key.verify_signature(signer.sign(trial), trial)
    except SecureSystemsError as error:
        raise KeyUnusable(f"the key in {path} does not sign", "Take Ed25519 or P-256.") from error
    return signer


def _private(pem: bytes, path: Path, is_encrypted: bool, secret: Secret) -> Any:
    passphrase = secret(f"the passphrase of {path}").encode() if is_encrypted else None
    try:
        return load_pem_private_key(pem, passphrase)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        if is_encrypted:
            raise KeyUnusable(f"{path} cannot be opened with its passphrase", "Correct the passphrase.") from error
        raise KeyUnusable(
            f"{path} holds no private key that is not encrypted", "Write pkcs8: in its URI when it is."
        ) from error
