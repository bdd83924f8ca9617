"""Begins the first ceremony of a deployment, from public key files; beside a running server, or before the first start.

Source: trust contract sections 2.3 and 2.5.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from countermark.core.ceremony.documents import MAX_DOCUMENT_BYTES, PublicKeyFile, parse_public_key_file
from countermark.core.ceremony.faults import CeremonyFault
from deploy.data_folder import DataFolder
from deploy.embedded import Children
from deploy.errors import LaunchError, UsageError
from deploy.first_steps import prepare_catalogue
from deploy.open_resources import open_resources
from deploy.rebuilding import beside_server
from services.signing.ceremonies.bootstrapping import HeldKey, check_holders
from services.signing.ceremonies.bootstrapping import bootstrap as begin
from services.signing.ceremonies.trust_state import trust_state
from services.signing.keys.signers import KeyHandle, KeyUnusable
from shared.clock import SystemClock
from shared.errors import ServiceError
from shared.resources import Resources
from shared.settings import Settings
from shared.trust.roles import PROFILES, Role

Row = Mapping[str, object]


async def bootstrap(settings: Settings, holders: Sequence[str], online: Sequence[str]) -> list[Row]:
    """Make the online keys and propose the first shared files; returns a line for each event.

    Args:
        holders: `ROLE=FILE` each.
        online: `ROLE=FILE=URI` each.

    Raises:
        UsageError: an option or a key file cannot be read, or the keys are not what the profile demands.
        LaunchError: it was done already, or an online key cannot be used.
    """
    held = [_held(text) for text in holders]
    given = [_online(text) for text in online]
    try:
        # Before anything is made or started.
        check_holders(PROFILES[settings.signing.profile], held)
    except ServiceError as error:
        raise UsageError(error.detail) from error
    async with _prepared(settings) as resources:
        try:
            events = await begin(resources, held, given)
        except KeyUnusable as error:
            raise LaunchError(str(error)) from error
    return [
        {
            "role": event.role,
            "version": event.version,
            "event": str(event.id),
            "payload_sha256": event.payload_sha256,
            "expires_at": event.expires_at,
        }
        for event in events
    ]


async def status(settings: Settings) -> dict[str, Any]:
    """Return the shared roles that are published, and in words what is missing of the first ceremony."""
    async with open_resources(beside_server(settings), SystemClock()) as resources:
        missing, lines = await trust_state(resources)
    roles = [asdict(line) | {"keys": len(line.keys)} for line in lines]
    return {"profile": settings.signing.profile, "missing": missing, "roles": roles}


@asynccontextmanager
async def _prepared(settings: Settings) -> AsyncIterator[Resources]:
    """Open resources on a catalogue that is up to date: the settings', a running server's, or one started for this."""
    folder = DataFolder(settings.data)
    if (settings.database.url is not None and settings.queue.url is not None) or folder.is_running():
        told = beside_server(settings)
        await prepare_catalogue(told)
        async with open_resources(told, SystemClock()) as resources:
            yield resources
        return
    children = Children(settings)
    with folder.held():
        async with children.running():
            told = children.told(settings)
            await prepare_catalogue(told)
            async with open_resources(told, SystemClock()) as resources:
                yield resources


def _held(text: str) -> HeldKey:
    role, equals, name = text.partition("=")
    if not equals or not name:
        raise UsageError(f"--holder {text}: write it as ROLE=FILE, for example root=alice.pub.json")
    found = _key_file(Path(name))
    return HeldKey(_role(role), found.key, found.holder)


def _online(text: str) -> KeyHandle:
    role, _, rest = text.partition("=")
    name, equals, uri = rest.partition("=")
    if not equals or not name or not uri:
        raise UsageError(f"--online {text}: write it as ROLE=FILE=URI, for example timestamp=ts.pub.json=hsm:2?label=x")
    return KeyHandle(_role(role), _key_file(Path(name)).key, uri)


def _role(text: str) -> Role:
    try:
        return Role(text)
    except ValueError as error:
        raise UsageError(f"there is no role {text}: name one of {', '.join(Role)}") from error


def _key_file(path: Path) -> PublicKeyFile:
    try:
        with path.open("rb") as file:
            return parse_public_key_file(file.read(MAX_DOCUMENT_BYTES + 1))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    except CeremonyFault as error:
        raise UsageError(f"{path} is no public key file: {error}") from error
