"""Signs shared files anew before they expire, where this server has the keys: registry in the profile `small`, all of
them in `development`. For those of key holders it opens a signing event in time, which renews and changes nothing else.

Source: trust contract sections 2.3 and 2.7.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import structlog
from sqlalchemy.exc import SQLAlchemyError
from tuf.api.metadata import Metadata

from countermark.core.ceremony.changes import Change, build
from countermark.core.ceremony.payload import read_published
from countermark.core.ceremony.tree import DELEGATOR
from services.signing.access import key_access
from services.signing.ceremony import load_handles
from services.signing.event_views import SharedFiles
from services.signing.events import Ceremonies, Proposal
from services.signing.signers import KeyHandle, KeyUnusable, Signers, listed
from shared.catalogue import audit, publications, trust
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
        due = _due(profile, shared, now)
        if not due:
            return []
        handles, renewed = await load_handles(resources), []
        for role in due:
            mine, threshold = listed(role, shared.files[DELEGATOR[role]].content, handles)
            if role not in _ours(profile) or len(mine) < threshold:
                await _call_holders(resources, work, role, shared.files[role.value].expires_at)
                continue
            file = await asyncio.to_thread(_renewed, resources, shared, role, (mine, threshold, now))
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


def _due(profile: Profile, shared: SharedFiles, now: datetime) -> list[Role]:
    """Return the roles that are due; those with an open event are their signers' matter, until it has expired."""
    if not shared.is_complete:
        return []
    waiting = {role for role, event in shared.waiting.items() if event.expires_at > now}
    files = {role: shared.files[role.value] for role in SHARED if role.value not in waiting}
    return [role for role, file in files.items() if is_due(profile.roles[role], file.expires_at, now)]


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
    resources: Resources, shared: SharedFiles, role: Role, by: tuple[list[KeyHandle], int, datetime]
) -> StoredTrustFile:
    """Return the next version of a role, with nothing changed but its expiry."""
    handles, threshold, now = by
    lifetime = PROFILES[resources.settings.signing.profile].roles[role].lifetime
    current = read_published(role, shared.files[role.value].content)
    signed = build(role, current, Change(), now, lifetime)
    content = Signers(handles, key_access(resources.settings)).sign(role, Metadata(signed), threshold)
    verify_with(shared.files[DELEGATOR[role]].content, role.value, content)
    return StoredTrustFile(role.value, signed.version, signed.expires, content)
