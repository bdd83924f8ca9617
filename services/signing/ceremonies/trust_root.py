"""Makes the deployment's trust root: keys and the four files that every index uses byte for byte.

Only the `development` profile is made here, by generating every key on this machine; `small` and `production` need key
holders and their ceremony (`services.signing.ceremonies.bootstrapping`).
Source: trust contract sections 2.3 and 2.5; architecture section 11.3.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection
from tuf.api.metadata import Metadata

from services.signing.ceremonies.public_root import NoPublicRoot, public_root
from services.signing.ceremonies.views import first_ceremony
from services.signing.keys.access import key_access
from services.signing.keys.handles import keys_folder, load_handles
from services.signing.keys.signers import KeyHandle, Signers, by_role, generate_key, listed
from shared.catalogue import audit, signing_events, trust
from shared.catalogue.trust import StoredKey, StoredTrustFile
from shared.catalogue.unit_of_work import UnitOfWork
from shared.clock import whole_seconds
from shared.resources import Resources
from shared.trust.metadata import (
    registry_metadata,
    root_metadata,
    succinct_roles_of,
    targets_metadata,
    trust_metadata,
    verify_with,
)
from shared.trust.roles import PROFILES, SHARED, Profile, Role

log = structlog.get_logger()


class CeremonyNeeded(Exception):
    """The profile's keys are held by people: nothing can be generated here.

    Attributes:
        waits_for: what is missing of the first ceremony, in words; empty when it was not begun.
    """

    def __init__(self, message: str, waits_for: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.waits_for = tuple(waits_for)


async def ensure_trust(resources: Resources) -> bool:
    """Create keys and shared trust files if the deployment has none; returns whether it did.

    Raises:
        CeremonyNeeded: there are none and the profile is not `development`.
    """
    profile = PROFILES[resources.settings.signing.profile]
    async with UnitOfWork(resources.engine) as work:
        await trust.lock_ceremony(work.connection)
        if trust.is_complete(await trust.newest_trust_files(work.connection)):
            return False
        if profile.name != "development" or (await first_ceremony(work.connection)):
            raise await ceremony_needed(work.connection, profile)
        now = whole_seconds(resources.clock.now())
        folder = keys_folder(resources)
        handles = await asyncio.to_thread(_generate, profile, folder)
        bits = resources.settings.signing.bin_bits or profile.bin_bits
        root = await asyncio.to_thread(_public_root)
        for file in await asyncio.to_thread(_sign_shared, profile, handles, folder, (now, bits), root):
            await trust.insert_trust_file(work.connection, file)
        await signing_events.keep_targets(work.connection, root.values(), at=now)
        await trust.insert_keys(work.connection, [_stored(handle) for handle in handles], now)
        await audit.record(
            work.connection,
            at=now,
            actor="init",
            action="trust.create",
            subject="deployment",
            profile=profile.name,
            keyids=sorted(handle.key.keyid for handle in handles),
        )
        await work.commit()
    return True


async def ceremony_needed(connection: AsyncConnection, profile: Profile) -> CeremonyNeeded:
    """Return what to say when nothing can be published: what is missing, and who does it."""
    missing = await first_ceremony(connection)
    if missing:
        return CeremonyNeeded(f"the first ceremony is not done: {'; '.join(missing)}", missing)
    command = "init" if profile.name == "development" else "trust bootstrap --holder root=FILE ..."
    people = "" if profile.name == "development" else f" (signing profile {profile.name}: people hold its keys)"
    return CeremonyNeeded(f"the deployment has no trust root yet: run countermark-server {command}{people}")


async def ensure_registry(resources: Resources, bits: int) -> StoredTrustFile:
    """Return the newest registry file, which delegates to 2^`bits` bins; sign one when the newest has another count.

    Indexes that are published for the first time take it at once, all others when they are moved to its bins.

    Raises:
        CeremonyNeeded: there is no trust root, or the registry's keys are held by people.
        KeyUnusable: the registry's key is missing or does not sign.
    """
    profile = PROFILES[resources.settings.signing.profile]
    async with UnitOfWork(resources.engine) as work:
        await trust.lock_ceremony(work.connection)
        newest = await trust.newest_trust_files(work.connection)
        if not trust.is_complete(newest):
            raise await ceremony_needed(work.connection, profile)
        old = newest["registry"]
        if succinct_roles_of(old.content).bit_length == bits:
            return old
        if not profile.registry_is_online:
            raise CeremonyNeeded(
                f"signing profile {profile.name} keeps the registry's keys offline: its key holders sign a registry "
                f"with {1 << bits} bins, then this command moves the indexes"
            )
        now = whole_seconds(resources.clock.now())
        handles = await load_handles(resources)
        expires = now + profile.roles[Role.REGISTRY].lifetime
        metadata = registry_metadata(by_role(handles), bits, old.version + 1, expires)
        registry, threshold = listed(Role.REGISTRY, newest["targets"].content, handles)
        signers = await asyncio.to_thread(Signers, registry, key_access(resources.settings))
        content = signers.sign(Role.REGISTRY, metadata, threshold)
        verify_with(newest["targets"].content, Role.REGISTRY.value, content)
        file = StoredTrustFile(Role.REGISTRY.value, old.version + 1, expires, content)
        await trust.insert_trust_file(work.connection, file)
        await audit.record(
            work.connection,
            at=now,
            actor="bins",
            action="trust.registry",
            subject="deployment",
            version=file.version,
            bins=1 << bits,
        )
        await work.commit()
    return file


def _public_root() -> dict[str, bytes]:
    """Return the target by which attestations of the public Sigstore instance are verified; no policy demands any.

    Blocking. Without it a deployment begins all the same, and takes no attestation before its roots are set.
    """
    try:
        return {"trusted_root.json": public_root()}
    except NoPublicRoot as error:
        log.warning("no_public_root", error=str(error))
        return {}


def _stored(handle: KeyHandle) -> StoredKey:
    return StoredKey(handle.key.keyid, handle.role.value, handle.key.to_dict(), handle.uri)


def _generate(profile: Profile, folder: Path) -> list[KeyHandle]:
    return [generate_key(folder, role) for role, spec in profile.roles.items() for _ in range(spec.keys)]


def _sign_shared(
    profile: Profile, handles: list[KeyHandle], folder: Path, when: tuple[datetime, int], of_trust: Mapping[str, bytes]
) -> list[StoredTrustFile]:
    """Sign version 1 of each shared file and check it against its delegator, as a client will.

    Args:
        of_trust: the targets of trust, path -> content.
    """
    now, bits = when
    signers = Signers(handles, folder)
    keys = by_role(handles)
    expires = {role: now + profile.roles[role].lifetime for role in SHARED}
    unsigned: dict[Role, Metadata[Any]] = {
        Role.ROOT: root_metadata(profile, keys, 1, expires[Role.ROOT]),
        Role.TARGETS: targets_metadata(profile, keys, 1, expires[Role.TARGETS]),
        Role.TRUST: trust_metadata(1, expires[Role.TRUST], of_trust),
        Role.REGISTRY: registry_metadata(keys, bits, 1, expires[Role.REGISTRY]),
    }
    signed = {role: signers.sign(role, metadata, profile.roles[role].threshold) for role, metadata in unsigned.items()}
    for role, delegator in (
        (Role.ROOT, Role.ROOT),
        (Role.TARGETS, Role.ROOT),
        (Role.TRUST, Role.TARGETS),
        (Role.REGISTRY, Role.TARGETS),
    ):
        verify_with(signed[delegator], role.value, signed[role])
    return [StoredTrustFile(role.value, 1, expires[role], content) for role, content in signed.items()]
