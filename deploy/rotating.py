"""Replaces a key that the server has beside a running deployment, and says how far it has come.

Source: trust contract section 2.8; `services.signing.ceremonies.rotating` has the steps.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from securesystemslib.exceptions import Error as SecureSystemsError
from securesystemslib.signer import Key

from deploy.errors import LaunchError, UsageError
from deploy.open_resources import open_resources
from deploy.rebuilding import beside_server
from services.signing.ceremonies import rotating
from services.signing.ceremonies.rotating import Rotation, RotationRefused
from services.signing.ceremonies.trust_root import CeremonyNeeded
from services.signing.keys.signers import KeyHandle, KeyUnusable
from shared.catalogue import trust
from shared.catalogue.binning import BinnedIndex
from shared.clock import SystemClock
from shared.resources import Resources
from shared.settings import Settings
from shared.trust.roles import ONLINE, Role

Row = Mapping[str, object]

_POLL = 0.25
"""Seconds between two looks at what is left."""

_ASK_AGAIN = 20.0
"""Seconds after which the indexes that are left are asked for once more."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait, in seconds.

    Attributes:
        publications: for all indexes to be signed anew.
        grace: for clients that are at work, and for caches, before the old key ends.
    """

    publications: float = 900.0
    grace: float = 300.0


def rotated_role(name: str) -> Role:
    """Return the role of a name, of those whose keys a server may have.

    Raises:
        UsageError: it is none.
    """
    roles = (*ONLINE, Role.REGISTRY)
    if name not in roles:
        raise UsageError(f"{name[:50]} has no key of the server's: use {', '.join(roles)}; others change by ceremony")
    return Role(name)


async def list_keys(settings: Settings) -> list[Row]:
    """Return the living keys: role, key id, since when, where its private half is."""
    async with open_resources(beside_server(settings), SystemClock()) as resources:
        async with resources.engine.connect() as connection:
            since = {key.keyid: key.since for key in await trust.keys_in_use(connection)}
            keys = await trust.living_keys(connection)
        order = list(Role)
        return [
            {"role": key.role, "keyid": key.keyid, "since": since.get(key.keyid), "uri": key.uri}
            for key in sorted(keys, key=lambda key: (order.index(Role(key.role)), since[key.keyid]))
        ]


async def rotate(
    settings: Settings, role: Role, given: tuple[Path, str] | None, patience: Patience, say: Callable[[str], None]
) -> None:
    """Replace a key that the server has; what an earlier run has done is not done again.

    Args:
        given: file with the public half of the new key, and the URI of its private half; None makes one.
        say: takes a line for each step.

    Raises:
        UsageError: the role or the key is none.
        LaunchError: it could not be brought to its end; the message says what to do before running it again.
    """
    handle = None if given is None else _handle(role, *given)
    async with open_resources(beside_server(settings), SystemClock()) as resources:
        try:
            await _rotate(resources, await rotating.begin(resources, role, handle), patience, say)
        except RotationRefused as error:
            raise UsageError(str(error)) from error
        except (CeremonyNeeded, KeyUnusable) as error:
            raise LaunchError(str(error)) from error


async def abandon(settings: Settings, role: Role, say: Callable[[str], None]) -> None:
    """Give up the new key of a rotation that was begun.

    Raises:
        UsageError: none was, or clients are told of the new key already.
    """
    async with open_resources(beside_server(settings), SystemClock()) as resources:
        try:
            given_up = await rotating.abandon(resources, role)
        except RotationRefused as error:
            raise UsageError(str(error)) from error
    say(f"{given_up.keyid[:16]} signs nothing any more; {role} is signed with the key it had\n")


async def _rotate(resources: Resources, rotated: Rotation, patience: Patience, say: Callable[[str], None]) -> None:
    role, old, new = rotated.role, rotated.old.keyid[:16], rotated.new.keyid[:16]
    say(f"1. {role} is signed with {old} and {new} from now on\n")
    await asyncio.sleep(1.0)  # the new key's time begins with the next second
    await rotating.sign_registries(resources, rotated)
    signed = await _wait(lambda: rotating.unsigned(resources, rotated), resources, rotated, patience.publications)
    say(f"2. everything that clients read is signed with both keys ({signed:.1f} s)\n")
    file = await rotating.hand_over(resources, rotated)
    say(f"3. {file.role} version {file.version} names {new} alone\n")
    seen = await _wait(lambda: rotating.behind(resources, rotated), resources, rotated, patience.publications)
    say(f"4. every index publishes it ({seen:.1f} s)\n")
    if patience.grace:
        say(f"waiting {patience.grace:.0f} s for clients that are at work (if it is stopped, run it again to go on)\n")
        await asyncio.sleep(patience.grace)
    await rotating.retire(resources, rotated)
    say(f"5. {old} signs nothing any more: its private half can be destroyed\n")


async def _wait(
    left: Callable[[], Awaitable[Sequence[BinnedIndex]]], resources: Resources, rotated: Rotation, seconds: float
) -> float:
    """Have indexes published until none is left; returns the seconds it took.

    Raises:
        LaunchError: some are left when the time is over.
    """
    begun = time.monotonic()
    asked: float | None = None
    while lacking := await left():
        now = time.monotonic()
        if now - begun > seconds:
            names = ", ".join(str(index.name) for index in lacking[:5])
            raise LaunchError(
                f"{len(lacking)} indexes were not signed anew in {seconds:.0f} s ({names}): "
                "is a signing service running, and can it use the new key? Run this again to go on"
            )
        if asked is None:
            await rotating.ask(resources, lacking)
            asked = now
        elif now - asked > _ASK_AGAIN:
            await rotating.hurry(resources, rotated, lacking)
            asked = now
        await asyncio.sleep(_POLL)
    return time.monotonic() - begun


def _handle(role: Role, file: Path, uri: str) -> KeyHandle:
    """Read the public half of a key, as `countermark key show` prints it.

    Raises:
        UsageError: the file holds none, or not the one that its key id says.
    """
    try:
        document = json.loads(file.read_bytes()[:100_000])
        key = Key.from_dict(str(document["keyid"]), dict(document["key"]))
    except (OSError, ValueError, KeyError, TypeError, SecureSystemsError) as error:
        raise UsageError(f"{file} holds no public key: {error}") from error
    return KeyHandle(role, key, uri)
