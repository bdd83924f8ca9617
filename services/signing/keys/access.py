"""What this deployment's settings say of private keys: where they are, and where PINs and passphrases come from."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from countermark.core.signing.access import ConfiguredSecrets, KeyAccess
from services.signing.keys.signers import KeyHandle, KeyUnusable
from shared.settings import Settings


def keys_folder_of(settings: Settings) -> Path:
    """Return the folder of generated keys, where relative paths of key URIs lie."""
    return settings.signing.keys or settings.data / "keys"


def key_access(settings: Settings) -> KeyAccess:
    """Return the means to reach private keys.

    The environment is passed on whole: `env:` URIs name variables, and the libraries of key services read theirs.
    """
    secrets = {name: secret.get_secret_value() for name, secret in settings.signing.secrets.items()}
    module = settings.signing.pkcs11_module
    return KeyAccess(
        folder=keys_folder_of(settings),
        secret=ConfiguredSecrets(secrets, "signing.secrets"),
        environ=os.environ,
        module=None if module is None else str(module),
    )


def with_configured_uris(handles: Sequence[KeyHandle], settings: Settings, known: Collection[str]) -> list[KeyHandle]:
    """Return the keys with the URIs that `signing.uris` gives them.

    Args:
        known: the ids of all keys that the deployment has or had: a line about a retired one may stay.

    Raises:
        KeyUnusable: it names a key that the deployment does not have.
    """
    configured = settings.signing.uris
    unknown = configured.keys() - set(known)
    if unknown and handles:
        problem = f"signing.uris names key {min(unknown)[:16]}, which this deployment does not have"
        raise KeyUnusable(problem, "Correct the key id (`countermark key show`), or take the line away.")
    return [replace(handle, uri=configured.get(handle.key.keyid, handle.uri)) for handle in handles]
