"""The keys that the deployment has now, as the catalogue names them and the settings say where they are."""

from __future__ import annotations

from pathlib import Path

from securesystemslib.signer import Key

from services.signing.keys.access import keys_folder_of, with_configured_uris
from services.signing.keys.signers import KeyHandle
from shared.catalogue import trust
from shared.resources import Resources
from shared.trust.roles import Role


def keys_folder(resources: Resources) -> Path:
    """Return the folder of generated keys."""
    return keys_folder_of(resources.settings)


async def load_handles(resources: Resources) -> list[KeyHandle]:
    """Return the handles of all living keys, with the URIs that the settings give them.

    Raises:
        KeyUnusable: `signing.uris` names a key that there is not.
    """
    async with resources.engine.connect() as connection:
        stored = await trust.living_keys(connection)
        known = await trust.known_keys(connection)
    handles = [KeyHandle(Role(key.role), Key.from_dict(key.keyid, dict(key.public_key)), key.uri) for key in stored]
    return with_configured_uris(handles, resources.settings, known)
