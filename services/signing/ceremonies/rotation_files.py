"""The files in which a key is replaced: those signed with old and new key, and those that name the new one alone.

Source: trust contract section 2.8; the steps are told in `services.signing.ceremonies.rotating`.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from securesystemslib.signer import Key
from tuf.api.metadata import Metadata

from countermark.core.ceremony.changes import Change, build
from countermark.core.ceremony.faults import CeremonyFault
from countermark.core.ceremony.key_lists import key_lists
from countermark.core.ceremony.payload import read_published
from countermark.core.ceremony.tree import DELEGATOR, KEYED_BY
from services.signing.ceremonies.rules import check_children
from services.signing.keys.access import key_access
from services.signing.keys.handles import load_handles
from services.signing.keys.signers import KeyHandle, Signers, listed
from shared.catalogue import audit, rotation, trust
from shared.catalogue.trust import StoredKey, StoredTrustFile
from shared.catalogue.unit_of_work import UnitOfWork
from shared.clock import whole_seconds
from shared.resources import Resources
from shared.trust.metadata import verify_with
from shared.trust.roles import PROFILES, Role

ACTOR = "rotation"


class RotationRefused(Exception):
    """The key cannot be replaced as asked; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Rotation:
    """A key of a role and the one that replaces it."""

    role: Role
    old: StoredKey
    new: StoredKey


async def sign_registries(resources: Resources, rotated: Rotation) -> None:
    """Have registries signed with both keys, where it is their key that is replaced; everything else publications sign.

    Raises:
        KeyUnusable: a key is missing or does not sign.
    """
    if rotated.role is not Role.REGISTRY:
        return
    async with UnitOfWork(resources.engine) as work:
        await trust.lock_ceremony(work.connection)
        files = await trust.newest_trust_files(work.connection)
        done = newest = files[Role.REGISTRY.value]
        keys, threshold = listed(Role.REGISTRY, files[Role.TARGETS.value].content, await load_handles(resources))
        every = {file.version: file for file in (newest, *await rotation.registries_in_use(work.connection))}
        lacking = [file for _, file in sorted(every.items()) if rotated.new.keyid.encode() not in file.content]
        for old in newest_last(lacking, newest):
            done = await replaced(resources, work, rotated, old, (done.version + 1, keys, threshold))
        await work.commit()


def newest_last(files: list[StoredTrustFile], newest: StoredTrustFile) -> list[StoredTrustFile]:
    """Return files to sign anew: new indexes begin with the newest registry, which has to stay the one with the newest
    count of bins. Pure."""
    return [*files, newest] if files and files[-1].version != newest.version else files


def change_of(rotated: Rotation, file: StoredTrustFile) -> Change:
    """Return what makes a file name the new key and not the old one, as far as it does not yet; where it names none of
    its role, nothing."""
    if rotated.role.value not in KEYED_BY[file.role]:
        return Change()
    role, new = rotated.role.value, Key.from_dict(rotated.new.keyid, dict(rotated.new.public_key))
    listed_now = key_lists(read_published(file.role, file.content))[role].keyids
    return Change(
        add=() if new.keyid in listed_now else ((role, new),),
        remove=((role, rotated.old.keyid),) if rotated.old.keyid in listed_now else (),
    )


async def replaced(
    resources: Resources,
    work: UnitOfWork,
    rotated: Rotation,
    old: StoredTrustFile,
    by: tuple[int, list[KeyHandle], int],
) -> StoredTrustFile:
    """Sign and keep a file with the new key in place of the old one; `by`: its version, its signers' keys, how many."""
    version, handles, threshold = by
    profile = PROFILES[resources.settings.signing.profile]
    signer = Role(old.role)
    now = whole_seconds(resources.clock.now())
    change = change_of(rotated, old)
    signed = build(signer, read_published(signer, old.content), change, now, profile.roles[signer].lifetime)
    signed.version = version
    signers = await asyncio.to_thread(Signers, handles, key_access(resources.settings))
    content = signers.sign(signer, Metadata(signed), threshold)
    newest = await trust.newest_trust_files(work.connection)
    delegators = [old.content, content] if signer is Role.ROOT else [newest[DELEGATOR[signer]].content]
    for delegator in delegators:
        verify_with(delegator, signer.value, content)
    in_use = await rotation.registries_in_use(work.connection)
    try:
        for children in (
            {role: one.content for role, one in newest.items()},
            *({one.role: one.content} for one in in_use),
        ):
            check_children(signer.value, content, children)
    except CeremonyFault as error:
        raise RotationRefused(f"clients would refuse what is published: {error}") from error
    file = StoredTrustFile(signer.value, version, signed.expires, content)
    await trust.insert_trust_file(work.connection, file)
    await audit.record(
        work.connection,
        at=now,
        actor=ACTOR,
        action=f"trust.{signer}",
        subject="deployment",
        version=version,
        role=rotated.role.value,
        keyid=rotated.new.keyid,
        instead_of=rotated.old.keyid,
    )
    return file
