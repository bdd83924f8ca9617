"""A deployment whose online keys are where a test wants them, as a ceremony of key holders makes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from tuf.api.metadata import Metadata

from countermark.core.signing.making import FoundKey
from services.signing.keys.signers import ONLINE, KeyHandle, Signers, by_role, generate_key
from shared.catalogue import trust
from shared.catalogue.trust import StoredKey, StoredTrustFile
from shared.catalogue.unit_of_work import UnitOfWork
from shared.clock import whole_seconds
from shared.resources import Resources
from shared.settings import Signing
from shared.trust.metadata import registry_metadata, root_metadata, targets_metadata, trust_metadata
from shared.trust.roles import PROFILES, SHARED, Role


def with_signing(
    resources: Resources,
    *,
    secrets: Mapping[str, str] | None = None,
    uris: Mapping[str, str] | None = None,
    module: Path | None = None,
) -> Resources:
    """Return the same resources with other settings of keys."""
    told = {name: SecretStr(secret) for name, secret in (secrets or {}).items()}
    signing = Signing(secrets=told, uris=dict(uris or {}), pkcs11_module=module)
    return replace(resources, settings=resources.settings.model_copy(update={"signing": signing}))


async def make_trust(resources: Resources, folder: Path, online: Mapping[Role, FoundKey]) -> None:
    """Sign the shared files with keys in files, name the given online keys in them, and store it all."""
    profile, now = PROFILES["development"], whole_seconds(resources.clock.now())
    offline = [generate_key(folder, role) for role in SHARED for _ in range(profile.roles[role].keys)]
    handles = offline + [KeyHandle(role, online[role].key, online[role].uri) for role in ONLINE]
    keys, signers = by_role(handles), Signers(offline, folder)
    expires = {role: now + profile.roles[role].lifetime for role in SHARED}
    unsigned: dict[Role, Metadata[Any]] = {
        Role.ROOT: root_metadata(profile, keys, 1, expires[Role.ROOT]),
        Role.TARGETS: targets_metadata(profile, keys, 1, expires[Role.TARGETS]),
        Role.TRUST: trust_metadata(1, expires[Role.TRUST]),
        Role.REGISTRY: registry_metadata(keys, profile.bin_bits, 1, expires[Role.REGISTRY]),
    }
    stored = [StoredKey(handle.key.keyid, handle.role.value, handle.key.to_dict(), handle.uri) for handle in handles]
    async with UnitOfWork(resources.engine) as work:
        for role, metadata in unsigned.items():
            content = signers.sign(role, metadata, profile.roles[role].threshold)
            await trust.insert_trust_file(work.connection, StoredTrustFile(role.value, 1, expires[role], content))
        await trust.insert_keys(work.connection, stored, now)
        await work.commit()
    for handle in offline:
        (folder / handle.uri.removeprefix("file2:")).unlink()
