"""The first ceremony of a deployment whose keys are held by people: its online keys, and the first event of each role.

All first versions are proposed at once, each by the keys that the one above it names, so that a holder can sign all of
them in one sitting; they are finalised from the top. Until the last is final nothing is published.

Source: trust contract sections 2.3 and 2.5; architecture section 11.3.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from securesystemslib.signer import Key
from sqlalchemy.ext.asyncio import AsyncConnection

from countermark.core.ceremony.changes import Change
from countermark.core.ceremony.tree import KEYED_BY, SHARED_ROLES
from services.signing.ceremonies.events import Ceremonies, Proposal
from services.signing.ceremonies.views import SharedFiles
from services.signing.keys.access import key_access
from services.signing.keys.handles import keys_folder, load_handles
from services.signing.keys.signers import KeyHandle, Signers, by_role, generate_key
from shared.catalogue import audit, signing_events, trust
from shared.catalogue.signing_events import Holder, StoredEvent
from shared.catalogue.trust import StoredKey, StoredTrustFile
from shared.catalogue.unit_of_work import UnitOfWork
from shared.clock import whole_seconds
from shared.errors import ErrorKind, ServiceError
from shared.resources import Resources
from shared.trust.metadata import registry_metadata
from shared.trust.roles import PROFILES, Profile, Role

ACTOR = "bootstrap"
"""Who the audit says it was: the operator's shell."""

REASON = "the first version of this deployment"


@dataclass(frozen=True, slots=True)
class HeldKey:
    """A key of an offline role, and the name of who holds it."""

    role: Role
    key: Key
    holder: str


async def bootstrap(
    resources: Resources, held: Sequence[HeldKey], given: Sequence[KeyHandle] = ()
) -> list[StoredEvent]:
    """Make the online keys and open the first event of each offline role; returns the events, the topmost first.

    Args:
        held: the keys of the offline roles.
        given: online keys that exist already, with the URIs that find them; the others are generated as files.

    Raises:
        ServiceError: INVALID, the keys do not make up what the profile demands; CONFLICT, it was done already.
        KeyUnusable: an online key cannot be used.
    """
    profile = PROFILES[resources.settings.signing.profile]
    check_holders(profile, held)
    now = whole_seconds(resources.clock.now())
    async with UnitOfWork(resources.engine) as work:
        await trust.lock_ceremony(work.connection)
        await _refuse_begun(work.connection, now)
        online = await _online_keys(resources, work.connection, given)
        bits = resources.settings.signing.bin_bits or profile.bin_bits
        if profile.registry_is_online:
            await _sign_registry(resources, work.connection, online, (now, bits))
        ceremonies = Ceremonies(resources)
        events = [
            await ceremonies.open_event(work.connection, ACTOR, proposal)
            for proposal in first_proposals(profile, held, by_role(online), bits)
        ]
        names = [Holder(one.key.keyid, one.holder, one.key.to_dict()) for one in held if one.holder]
        await signing_events.set_holders(work.connection, names, at=now, by=ACTOR)
        await audit.record(
            work.connection,
            at=now,
            actor=ACTOR,
            action="trust.bootstrap",
            subject="deployment",
            profile=profile.name,
            keyids=sorted(handle.key.keyid for handle in online),
        )
        await work.commit()
    return events


def check_holders(profile: Profile, held: Sequence[HeldKey]) -> None:
    """Refuse keys that do not make up what a profile demands. Pure.

    Raises:
        ServiceError: INVALID.
    """
    if profile.name == "development":
        detail = "The profile development makes all its keys itself: set signing.profile to small or production."
        raise ServiceError(ErrorKind.INVALID, detail)
    faults = []
    seen: dict[str, HeldKey] = {}
    for one in held:
        if one.role in offline_roles(profile):
            other = seen.setdefault(one.key.keyid, one)
            if other is not one:
                faults.append(
                    f"Key {one.key.keyid} is named twice, for {other.role} ({other.holder}) and {one.role} "
                    f"({one.holder}): each role and holder has a key of its own."
                )
        else:
            faults.append(f"The profile {profile.name} has no holders of {one.role}: the server itself signs it.")
    for role in offline_roles(profile):
        count, spec = sum(one.role is role for one in held), profile.roles[role]
        if count < spec.keys:
            faults.append(
                f"The profile {profile.name} wants {spec.keys} holders of {role}, of whom {spec.threshold} sign, and "
                f"{count} are named: add --holder {role}=FILE."
            )
    if faults:
        raise ServiceError(ErrorKind.INVALID, "\n".join(faults))


def first_proposals(
    profile: Profile, held: Sequence[HeldKey], online: Mapping[Role, Sequence[Key]], bits: int
) -> list[Proposal]:
    """Return what the first version of each offline role says, the topmost first. Pure.

    Args:
        online: online role -> its keys.
        bits: bins of an index as a power of two.
    """
    keys = {role: list(found) for role, found in online.items()}
    for one in held:
        keys.setdefault(one.role, []).append(one.key)
    proposals = []
    for role in offline_roles(profile):
        listed = [Role(name) for name in KEYED_BY[role]]
        change = Change(
            add=tuple((name, key) for name in listed for key in keys.get(name, ())),
            thresholds={name: profile.roles[name].threshold for name in listed},
            bins=bits if role is Role.REGISTRY else None,
        )
        proposals.append(Proposal(role, change, REASON, {}))
    return proposals


def offline_roles(profile: Profile) -> list[Role]:
    """Return the roles whose keys people hold, the topmost first. Pure."""
    roles = [Role(name) for name in SHARED_ROLES]
    return [role for role in roles if not (role is Role.REGISTRY and profile.registry_is_online)]


def online_roles(profile: Profile) -> list[Role]:
    """Return the roles that the server itself signs. Pure."""
    return [role for role in profile.roles if role not in offline_roles(profile)]


async def _refuse_begun(connection: AsyncConnection, now: datetime) -> None:
    shared = await SharedFiles.read(connection)
    final = sorted(shared.files.keys() - {Role.REGISTRY.value})
    if final:
        detail = f"There is a {final[0]} already: propose changes with countermark ceremony propose."
        raise ServiceError(ErrorKind.CONFLICT, detail)
    waiting = [event for event in shared.waiting.values() if event.expires_at > now]
    if waiting:
        named = ", ".join(f"{event.role} ({event.id})" for event in waiting)
        detail = f"The first ceremony was begun: let its events be signed, or withdraw all of them: {named}."
        raise ServiceError(ErrorKind.CONFLICT, detail)


async def _online_keys(
    resources: Resources, connection: AsyncConnection, given: Sequence[KeyHandle]
) -> list[KeyHandle]:
    """Return the keys of the online roles: those given, those of an earlier try, and new ones for the rest.

    Keys are made before the catalogue knows them: what a try that failed leaves behind is a file that nothing uses.
    """
    profile, earlier = PROFILES[resources.settings.signing.profile], await load_handles(resources)
    if len({handle.key.keyid for handle in given}) < len(given):
        detail = "One key is given for two roles: timestamp, snapshot and bins have keys of their own."
        raise ServiceError(ErrorKind.INVALID, detail)
    for handle in given:
        if handle.role not in online_roles(profile):
            raise ServiceError(ErrorKind.INVALID, f"{handle.role} is signed by people: name --holder {handle.role}.")
        if any(one.role is handle.role for one in earlier):
            detail = f"{handle.role} has a key of an earlier try already: leave it out."
            raise ServiceError(ErrorKind.CONFLICT, detail)
    have, folder = [*earlier, *given], keys_folder(resources)
    new = list(given)
    for role in online_roles(profile):
        lacking = profile.roles[role].keys - sum(one.role is role for one in have)
        new += [await asyncio.to_thread(generate_key, folder, role) for _ in range(lacking)]
    await asyncio.to_thread(Signers, [*earlier, *new], key_access(resources.settings))
    if new:
        stored = [StoredKey(one.key.keyid, one.role.value, one.key.to_dict(), one.uri) for one in new]
        await trust.insert_keys(connection, stored, resources.clock.now())
    return [*earlier, *new]


async def _sign_registry(
    resources: Resources, connection: AsyncConnection, online: Sequence[KeyHandle], when: tuple[datetime, int]
) -> None:
    """Sign the first registry where the server does so; targets, when it is final, must name the key it has."""
    now, bits = when
    if Role.REGISTRY.value in await trust.newest_trust_files(connection):
        return
    spec = PROFILES[resources.settings.signing.profile].roles[Role.REGISTRY]
    expires = now + spec.lifetime
    signers = await asyncio.to_thread(Signers, online, key_access(resources.settings))
    content = signers.sign(Role.REGISTRY, registry_metadata(by_role(online), bits, 1, expires), spec.threshold)
    await trust.insert_trust_file(connection, StoredTrustFile(Role.REGISTRY.value, 1, expires, content))
