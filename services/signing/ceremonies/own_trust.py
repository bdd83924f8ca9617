"""Changes the targets of the trust role where this deployment has the role's keys itself: a whole ceremony at once.

It is proposed, signed, and finalised by the code that people's ceremonies use, so the same is checked and the same is
left in the audit. Where people hold the keys, nothing here replaces them.
Source: trust contract sections 2.3 and 2.5; ADR 0040.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from countermark.core.ceremony.changes import Change
from countermark.core.ceremony.tree import DELEGATOR
from services.signing.ceremonies.events import Ceremonies, Proposal
from services.signing.ceremonies.trust_targets import targets_of
from services.signing.ceremonies.views import EventView, SharedFiles
from services.signing.keys.access import key_access
from services.signing.keys.handles import load_handles
from services.signing.keys.signers import KeyHandle, Signers, listed
from shared.errors import ErrorKind, ServiceError
from shared.resources import Resources
from shared.trust.roles import Role

ACTOR = "operator"
"""Who the audit says it was: whoever has the server's shell and its keys."""


async def trust_targets(resources: Resources) -> tuple[int, dict[str, bytes]]:
    """Return the version of the published file of trust, 0 without one, and its targets, path -> content.

    Raises:
        LookupError: the catalogue lacks the bytes of one.
    """
    async with resources.engine.connect() as connection:
        file = (await SharedFiles.read(connection)).files.get(Role.TRUST)
        if file is None:
            return 0, {}
        targets = await targets_of(connection, file.content)
    return file.version, {str(path): content for path, content in targets.items()}


async def set_trust_targets(
    resources: Resources, targets: Mapping[str, bytes], untargets: Sequence[str], reason: str
) -> int:
    """Let trust sign some targets, and others no more; returns the version of its file that says so.

    Args:
        targets: path -> content.
        untargets: paths.
        reason: for the audit.

    Raises:
        ServiceError: CONFLICT, people hold the keys of trust, or an event of theirs is open; INVALID, a target is none
            that trust may sign, or cannot be read as what it is.
        KeyUnusable: a key does not sign.
    """
    mine, threshold = await _keys(resources)
    signers = await asyncio.to_thread(Signers, mine, key_access(resources.settings))
    ceremonies = Ceremonies(resources)
    change = Change(targets=dict(targets), untargets=tuple(untargets))
    view = await ceremonies.propose(ACTOR, Proposal(Role.TRUST, change, reason, {}))
    try:
        await _finish(ceremonies, view, signers, threshold)
    except BaseException:
        # Else it would lie open, and stand in the way of the next.
        await ceremonies.withdraw(ACTOR, view.event.id, "it could not be finalised")
        raise
    return view.event.version


async def _finish(ceremonies: Ceremonies, view: EventView, signers: Signers, threshold: int) -> None:
    event = view.event
    given = await asyncio.to_thread(signers.signatures, Role.TRUST, event.payload, threshold)
    await ceremonies.submit(ACTOR, event.id, event.payload_sha256, given)
    await ceremonies.finalise(ACTOR, event.id)


async def _keys(resources: Resources) -> tuple[list[KeyHandle], int]:
    """Return the keys of trust that this deployment has, and how many must sign.

    Raises:
        ServiceError: CONFLICT; there is no trust root yet, or the keys are people's.
    """
    async with resources.engine.connect() as connection:
        above = (await SharedFiles.read(connection)).files.get(DELEGATOR[Role.TRUST])
    if above is None:
        detail = "The deployment has no trust root yet: run countermark-server init, or finish its first ceremony."
        raise ServiceError(ErrorKind.CONFLICT, detail)
    handles = [handle for handle in await load_handles(resources) if handle.uri]
    mine, threshold = listed(Role.TRUST, above.content, handles)
    if len(mine) < threshold:
        detail = (
            "People hold the keys of trust here, and it takes a ceremony: countermark ceremony propose trust --target "
            "PATH=FILE (or --untarget PATH), which they sign, and countermark ceremony finalise."
        )
        raise ServiceError(ErrorKind.CONFLICT, detail)
    return mine, threshold
