"""Replaces a key that the server has without a client noticing: everything is signed with both keys before clients are
told of the new one alone.

1. `begin`: the new key comes into use with the next second. From then on publications are signed with both.
2. `sign_registries`, `unsigned`: which indexes still have something that only the old key signed. Their signers see it
   (`custody`); registries, where the server has their key, are signed with both here.
3. `hand_over`: once there are none, the root (for timestamp and snapshot), the registry (for bins) or targets (for
   registry) names the new key alone. Clients that have it verify what was signed with both, as do those that have not.
4. `behind`: which indexes have not published that file yet.
5. `retire`: the old key signs nothing any more.
Each step can be done again; a command that was killed goes on where it was. The other order, root first, would fail
every client until everything is signed anew.

Source: trust contract section 2.8.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from countermark.core.ceremony.tree import DELEGATOR
from services.signing.ceremonies.events import Ceremonies, Proposal
from services.signing.ceremonies.rotation_files import (
    ACTOR,
    Rotation,
    RotationRefused,
    change_of,
    newest_last,
    replaced,
    sign_registries,
)
from services.signing.ceremonies.trust_root import CeremonyNeeded
from services.signing.ceremonies.views import SharedFiles
from services.signing.keys.access import key_access
from services.signing.keys.handles import keys_folder, load_handles
from services.signing.keys.signers import KeyHandle, KeyUnusable, Signers, generate_key, listed
from shared.catalogue import audit, binning, rotation, trust
from shared.catalogue.binning import BinnedIndex
from shared.catalogue.trust import StoredKey, StoredTrustFile
from shared.catalogue.unit_of_work import UnitOfWork
from shared.clock import whole_seconds
from shared.jobs.messages import RefreshIndex
from shared.resources import Resources
from shared.trust.roles import PROFILES, Role

__all__ = ["Rotation", "RotationRefused", "sign_registries"]


async def begin(resources: Resources, role: Role, given: KeyHandle | None = None) -> Rotation:
    """Bring a new key of a role into use beside the old one; goes on with one that is in use already.

    Args:
        given: the new key; None has one generated in the folder of keys.

    Raises:
        RotationRefused: people hold the role's keys, or another key is being brought into use already.
        CeremonyNeeded: the deployment has no trust root.
        KeyUnusable: the given key does not sign.
    """
    if role not in PROFILES[resources.settings.signing.profile].server_roles:
        raise _held_by_people(role)
    async with UnitOfWork(resources.engine) as work:
        await trust.lock_ceremony(work.connection)
        if role is Role.REGISTRY and not await _signs_registry(resources, work.connection):
            raise _held_by_people(role)
        living = [key for key in await trust.living_keys(work.connection) if key.role == role]
        if not living:
            raise CeremonyNeeded("the deployment has no trust root yet: run countermark-server init")
        since = {key.keyid: key.since for key in await trust.keys_in_use(work.connection)}
        old, *begun = sorted(living, key=lambda key: since[key.keyid])
        if begun:
            if given is not None and begun[-1].keyid != given.key.keyid:
                raise RotationRefused(
                    f"key {begun[-1].keyid[:16]} is being brought into use already: run this without a key to go on"
                )
            return Rotation(role, old, begun[-1])
        handle = given
        if handle is None:
            handle = await asyncio.to_thread(generate_key, keys_folder(resources), role)
        await _check(resources, handle, old)
        new = StoredKey(handle.key.keyid, role.value, handle.key.to_dict(), handle.uri)
        now = whole_seconds(resources.clock.now())
        # What is gathered in this second may be signed with the old key alone; what is gathered in the next is not.
        await trust.insert_keys(work.connection, [new], now + timedelta(seconds=1))
        await audit.record(
            work.connection,
            at=now,
            actor=ACTOR,
            action="key.begin",
            subject=role.value,
            keyid=new.keyid,
            beside=old.keyid,
        )
        await work.commit()
    return Rotation(role, old, new)


async def abandon(resources: Resources, role: Role) -> StoredKey:
    """Give up the new key of an online role before clients are told of it, and return it: one that cannot be used any
    more stops every publication, since all are signed with both.

    Raises:
        RotationRefused: no key is being brought into use, or clients are told of it already.
    """
    async with UnitOfWork(resources.engine) as work:
        await trust.lock_ceremony(work.connection)
        since = {key.keyid: key.since for key in await trust.keys_in_use(work.connection)}
        living = [key for key in await trust.living_keys(work.connection) if key.role == role]
        _, *begun = sorted(living, key=lambda key: since[key.keyid])
        if not begun:
            raise RotationRefused(f"no key of {role} is being brought into use")
        newest = (await trust.newest_trust_files(work.connection))[_delegator(role).value]
        in_use = await rotation.registries_in_use(work.connection) if role is Role.BINS else []
        if any(begun[-1].keyid.encode() in file.content for file in (newest, *in_use)):
            raise RotationRefused(f"clients are told of key {begun[-1].keyid[:16]} already: go on with it")
        now = whole_seconds(resources.clock.now())
        await trust.retire_key(work.connection, begun[-1].keyid, now)
        await audit.record(
            work.connection,
            at=now,
            actor=ACTOR,
            action="key.abandon",
            subject=role.value,
            keyid=begun[-1].keyid,
        )
        await work.commit()
    return begun[-1]


async def unsigned(resources: Resources, rotated: Rotation) -> list[BinnedIndex]:
    """Return the indexes of which clients still read something that the new key has not signed."""
    async with resources.engine.connect() as connection:
        return await rotation.unsigned_by(connection, rotated.role, rotated.new.keyid)


async def hurry(resources: Resources, rotated: Rotation, indexes: Sequence[BinnedIndex]) -> None:
    """Ask for a publication of some indexes, and count what they lack as not signed yet by the new key.

    The second matters where a signer's clock goes before that of the others: what it signed with the old key alone may
    look younger than the new key.
    """
    now = whole_seconds(resources.clock.now())
    async with UnitOfWork(resources.engine) as work:
        await trust.use_again_from(work.connection, rotated.new.keyid, now + timedelta(seconds=1))
        for index in indexes:
            await work.enqueue(RefreshIndex(index.id))
        await work.commit()


async def ask(resources: Resources, indexes: Sequence[BinnedIndex]) -> None:
    """Ask for a publication of some indexes."""
    async with UnitOfWork(resources.engine) as work:
        for index in indexes:
            await work.enqueue(RefreshIndex(index.id))
        await work.commit()


async def hand_over(resources: Resources, rotated: Rotation) -> StoredTrustFile:
    """Name the new key alone in the file that clients know the role's keys from; returns it. Nothing is done when it
    does already.

    Raises:
        CeremonyNeeded: people hold the keys of that file; the message says which ceremony brings the rotation on.
        RotationRefused: something was not signed with the new key yet.
        KeyUnusable: a key is missing or does not sign.
    """
    lacking = await unsigned(resources, rotated)
    if lacking:
        raise RotationRefused(f"{lacking[0].name} was not signed with the new key yet")
    signer = _delegator(rotated.role)
    profile = PROFILES[resources.settings.signing.profile]
    by_people = profile.name != "development" and not (signer is Role.REGISTRY and profile.registry_is_online)
    async with UnitOfWork(resources.engine) as work:
        await trust.lock_ceremony(work.connection)
        if rotated.new.keyid not in {key.keyid for key in await trust.living_keys(work.connection)}:
            raise RotationRefused(f"key {rotated.new.keyid[:16]} was given up: run this again")
        files = await trust.newest_trust_files(work.connection)
        done = newest = files[signer.value]
        keys, threshold = listed(signer, files[DELEGATOR[signer]].content, await load_handles(resources))
        by_people = by_people or (signer is not Role.REGISTRY and len(keys) < threshold)
        left = await _to_replace(work.connection, rotated, newest, by_people=by_people)
        if left and by_people:
            raise await _proposed(resources, work, rotated, signer)
        for old in left:
            done = await replaced(resources, work, rotated, old, (done.version + 1, keys, threshold))
        await work.commit()
    return done


async def behind(resources: Resources, rotated: Rotation) -> list[BinnedIndex]:
    """Return the indexes that have not published the file yet that names the new key alone."""
    async with resources.engine.connect() as connection:
        return await _behind(connection, rotated.role)


async def retire(resources: Resources, rotated: Rotation) -> None:
    """Let the old key sign nothing any more.

    Raises:
        RotationRefused: an index does not name the new key yet.
    """
    now = whole_seconds(resources.clock.now())
    async with UnitOfWork(resources.engine) as work:
        await trust.lock_ceremony(work.connection)
        # First: a batch that is being committed with the old key alone is waited for, and then seen; a later one fails.
        await trust.retire_key(work.connection, rotated.old.keyid, now)
        lacking = await rotation.unsigned_by(work.connection, rotated.role, rotated.new.keyid)
        lacking += await _behind(work.connection, rotated.role)
        if lacking:
            raise RotationRefused(f"{lacking[0].name} does not name the new key yet")
        await audit.record(
            work.connection,
            at=now,
            actor=ACTOR,
            action="key.retire",
            subject=rotated.role.value,
            keyid=rotated.old.keyid,
            replaced_by=rotated.new.keyid,
        )
        await work.commit()


def _delegator(role: Role) -> Role:
    """Return whose file names the keys of a role."""
    return {Role.BINS: Role.REGISTRY, Role.REGISTRY: Role.TARGETS}.get(role, Role.ROOT)


def _held_by_people(role: Role) -> RotationRefused:
    delegator = DELEGATOR.get(role.value, Role.ROOT.value)
    how = f"countermark ceremony propose {delegator} --add {role}=FILE --remove {role}=KEYID (docs/ceremonies.md)"
    return RotationRefused(f"the keys of {role} are held by people, who replace one by a ceremony: {how}")


async def _signs_registry(resources: Resources, connection: AsyncConnection) -> bool:
    """Return whether the server's key is enough for registry: a ceremony may have given the role to people."""
    targets = (await trust.newest_trust_files(connection)).get(Role.TARGETS.value)
    if targets is None:
        return True
    keys, threshold = listed(Role.REGISTRY, targets.content, await load_handles(resources))
    return len(keys) >= threshold


async def _behind(connection: AsyncConnection, role: Role) -> list[BinnedIndex]:
    if role is not Role.BINS:
        named_in = _delegator(role)
        return await rotation.behind(connection, named_in, await trust.newest_version(connection, named_in.value))
    found = []
    for index in await binning.binned_indexes(connection):
        files = await trust.trust_files_in_use(connection, index.registry_version)
        if files[Role.REGISTRY.value].version > index.registry_version:
            found.append(index)
    return found


async def _to_replace(
    connection: AsyncConnection, rotated: Rotation, newest: StoredTrustFile, *, by_people: bool
) -> list[StoredTrustFile]:
    """Return the files that name the old key and of which a new version is to be made, that of the newest last.

    There is one registry for each count of bins that an index has.

    Raises:
        RotationRefused: people would have to sign a registry for a count of bins that is not the newest.
    """
    files = {newest.version: newest}
    if rotated.role is Role.BINS:
        files |= {file.version: file for file in await rotation.registries_in_use(connection)}
    old = [file for _, file in sorted(files.items()) if rotated.old.keyid.encode() in file.content]
    if by_people and [file for file in old if file.version != newest.version]:
        raise RotationRefused(
            "some indexes have another count of bins than the newest registry has: move them first (countermark-server "
            "bins)"
        )
    return newest_last(old, newest)


async def _proposed(resources: Resources, work: UnitOfWork, rotated: Rotation, signer: Role) -> CeremonyNeeded:
    """Open the signing event that names the new key alone, unless one is open; returns what to say."""
    shared = await SharedFiles.read(work.connection)
    now = whole_seconds(resources.clock.now())
    event = shared.waiting.get(signer.value)
    if event is None or event.expires_at <= now:
        change = change_of(rotated, shared.files[signer.value])
        proposal = Proposal(signer.value, change, f"a new key of {rotated.role}", {})
        event = await Ceremonies(resources).open_event(work.connection, ACTOR, proposal)
        await work.commit()
    return CeremonyNeeded(
        f"everything is signed with both keys; signing event {event.id} of {signer} waits for its key holders "
        f"(countermark ceremony show {event.id}): run this again once it is final"
    )


async def _check(resources: Resources, handle: KeyHandle, old: StoredKey) -> None:
    """Refuse a key that does not sign, or that another role has.

    Raises:
        RotationRefused: it is in use already.
        KeyUnusable: it does not sign.
    """
    async with resources.engine.connect() as connection:
        known = await trust.key_roles(connection, handle.key.keyid)
    if known:
        raise RotationRefused(f"key {handle.key.keyid[:16]} is, or was, a key of {known[0]}: take a new one")
    try:
        await asyncio.to_thread(Signers, [handle], key_access(resources.settings))
    except KeyUnusable as error:
        raise KeyUnusable(f"{error}; {old.keyid[:16]} stays the only key of {handle.role}") from error
