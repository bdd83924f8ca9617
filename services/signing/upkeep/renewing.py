"""Signs shared files anew before they expire, where this server has the keys: registry in the profile `small`, all of
them in `development`. For those of key holders it opens a signing event in time, which renews and changes nothing else.

Source: trust contract sections 2.3 and 2.7.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import structlog
from sqlalchemy.exc import SQLAlchemyError
from tuf.api.metadata import Metadata

from countermark.core.ceremony.changes import Change, build
from countermark.core.ceremony.payload import read_published
from countermark.core.ceremony.tree import DELEGATOR
from services.signing.ceremonies.events import Ceremonies, Proposal
from services.signing.ceremonies.views import SharedFiles
from services.signing.keys.access import key_access
from services.signing.keys.handles import load_handles
from services.signing.keys.signers import KeyHandle, KeyUnusable, Signers, listed
from shared.catalogue import audit, publications, rotation, trust
from shared.catalogue.trust import StoredTrustFile
from shared.catalogue.unit_of_work import UnitOfWork
from shared.clock import whole_seconds
from shared.errors import ServiceError
from shared.jobs.messages import RefreshIndex
from shared.resources import Resources
from shared.trust.metadata import verify_with
from shared.trust.roles import PROFILES, SHARED, Profile, Role, is_due

log = structlog.get_logger()

_ACTOR = "signing"

LOOK_EVERY = timedelta(hours=1)
"""How often expiries are looked at: files are due a month before they expire."""


class RenewLoop:
    """Renews what is due. Safe with several replicas: what one has renewed is not due for the others."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources

    async def run(self) -> None:
        """Look now and every `LOOK_EVERY`, until cancelled."""
        while True:
            try:
                await renew_due(self._resources)
            except (KeyUnusable, ServiceError, SQLAlchemyError, OSError) as error:
                log.warning("renewal_failed", error=str(error))
            await asyncio.sleep(LOOK_EVERY.total_seconds())


async def renew_due(resources: Resources) -> list[str]:
    """Sign the shared files that are due and have every index published with them; returns their roles. Of those whose
    keys people hold signing events are opened.

    Raises:
        KeyUnusable: a key is missing or does not sign.
    """
    profile, now = PROFILES[resources.settings.signing.profile], whole_seconds(resources.clock.now())
    async with UnitOfWork(resources.engine) as work:
        await trust.lock_ceremony(work.connection)
        shared = await SharedFiles.read(work.connection)
        in_use = await rotation.registries_in_use(work.connection) if shared.is_complete else []
        due = _due(profile, shared, in_use, now)
        if not due:
            return []
        handles, renewed = await load_handles(resources), []
        versions = {role: file.version for role, file in shared.files.items()}
        called: set[Role] = set()
        for role, old in due:
            mine, threshold = listed(role, shared.files[DELEGATOR[role]].content, handles)
            if role not in _ours(profile) or len(mine) < threshold:
                if role not in called:
                    await _call_holders(resources, work, role, shared.files[role.value].expires_at)
                called.add(role)
                continue
            versions[role] += 1
            by = mine, threshold, now
            file = await asyncio.to_thread(_renewed, resources, shared, replace(old, version=versions[role]), by)
            renewed.append(role.value)
            await trust.insert_trust_file(work.connection, file)
            await audit.record(
                work.connection,
                at=now,
                actor=_ACTOR,
                action="trust.renew",
                subject="deployment",
                role=role.value,
                version=file.version,
            )
        if renewed:
            for _, index_id in await publications.index_names(work.connection):
                await work.enqueue(RefreshIndex(index_id))
        await work.commit()
    if renewed:
        log.info("shared_files_renewed", roles=renewed)
    return renewed


def _ours(profile: Profile) -> tuple[Role, ...]:
    """Return the shared roles that this server signs by itself."""
    return SHARED if profile.name == "development" else (Role.REGISTRY,) if profile.registry_is_online else ()


def _due(
    profile: Profile, shared: SharedFiles, in_use: Sequence[StoredTrustFile], now: datetime
) -> list[tuple[Role, StoredTrustFile]]:
    """Return the files that are due; those with an event that can still be signed are their signers' matter.

    Of registry there is one for each count of bins that an index has. The newest comes last: new indexes begin with it.

    Args:
        in_use: the registries that indexes are published with.
    """
    if not shared.is_complete:
        return []
    asked = {role for role, event in shared.waiting.items() if event.expires_at > now}
    found = []
    for role in SHARED:
        newest = shared.files[role.value]
        older = [file for file in in_use if file.role == role.value and file.version != newest.version]
        due = [file for file in older if is_due(profile.roles[role], file.expires_at, now)]
        if due or is_due(profile.roles[role], newest.expires_at, now):
            due.append(newest)
        found += [(role, file) for file in due if role.value not in asked]
    return found


async def _call_holders(resources: Resources, work: UnitOfWork, role: Role, expires_at: datetime) -> None:
    """Open the event by which the holders of a role renew its file.

    A role is given to people by a ceremony too, also where the server once had all keys.
    """
    log.warning("renewal_needs_holders", role=role.value, expires_at=expires_at.isoformat())
    if role is Role.REGISTRY and PROFILES[resources.settings.signing.profile].registry_is_online:
        return
    reason = f"{role} expires on {expires_at:%Y-%m-%d}: opened by the registry, to renew it without a change"
    await Ceremonies(resources).open_event(work.connection, _ACTOR, Proposal(role.value, Change(), reason, {}))


def _renewed(
    resources: Resources, shared: SharedFiles, old: StoredTrustFile, by: tuple[list[KeyHandle], int, datetime]
) -> StoredTrustFile:
    """Return a file with nothing changed but its expiry, and its version: that of `old` is to be the new one."""
    (handles, threshold, now), role = by, Role(old.role)
    lifetime = PROFILES[resources.settings.signing.profile].roles[role].lifetime
    signed = build(role, read_published(role, old.content), Change(), now, lifetime)
    signed.version = old.version
    content = Signers(handles, key_access(resources.settings)).sign(role, Metadata(signed), threshold)
    verify_with(shared.files[DELEGATOR[role]].content, role.value, content)
    return StoredTrustFile(role.value, signed.version, signed.expires, content)
