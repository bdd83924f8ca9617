"""Puts services together: all of them for the embedded profile, or one for a process of its own.

The one module that imports every service; that takes a second, so the launcher loads it while the servers start.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from countermark.core.names import IndexName
from deploy.errors import LaunchError
from gateway.accounts import Accounts, DeploymentInfo, owner_link_url
from gateway.settings import addresses_of
from services.download.app import create_service as create_download
from services.index.app import create_service as create_index
from services.signing.app import create_service as create_signing
from services.signing.ceremony import CeremonyNeeded, ensure_trust
from services.upload.app import create_service as create_upload
from shared.catalogue import migrate, outbox
from shared.errors import ServiceError
from shared.jobs.consumer import Consumer
from shared.jobs.messages import Message
from shared.jobs.relay import Relay
from shared.resources import Resources
from shared.service import JobHandler, Service
from shared.settings import Settings

DEFAULT_INDEX = IndexName("root", "stable")
"""The index every deployment begins with: a public stage, not volatile. Source: architecture section 11.8."""

CREATORS: Mapping[str, Callable[[Resources], Service]] = {
    "upload": create_upload,
    "signing": create_signing,
    "index": create_index,
    "download": create_download,
}
"""Name of a service -> what wires it."""

_PUBLICATION_TIMEOUT = timedelta(seconds=30)
"""How long the first publication may take: keys, 256 empty bins of one byte string, a snapshot and a timestamp."""

Loop = Callable[[], Awaitable[None]]
"""Something that runs until it is cancelled."""


@dataclass(frozen=True, slots=True)
class FirstSteps:
    """What a start found or made: the deployment, and a one-time link for its owner when it was made now."""

    deployment: DeploymentInfo
    owner_link: str | None


def create_services(resources: Resources) -> dict[str, Service]:
    """Return all services, by name."""
    return {name: create(resources) for name, create in CREATORS.items()}


def background(resources: Resources, services: Iterable[Service], *, relay: bool) -> list[Loop]:
    """Return what has to run beside the applications: the listener, loops of services, their jobs, the relay.

    Args:
        relay: whether this process sends what the outbox holds.
    """
    loops: list[Loop] = [resources.directory.last_use.run]
    handlers: dict[type[Message], JobHandler] = {}
    for service in services:
        loops += service.loops
        handlers |= service.handlers
    if relay:
        sender = Relay(resources.engine, resources.queue)
        resources.listener.subscribe(outbox.CHANNEL, sender.wake)
        loops.append(sender.run)
    if handlers:
        consumer = Consumer(resources.engine, handlers)
        loops.append(lambda: consumer.run(resources.queue))
    # Last, since subscriptions are to be made before it runs.
    return [*loops, resources.listener.run]


async def prepare_catalogue(settings: Settings) -> None:
    """Bring the catalogue's schema up to this version.

    Raises:
        LaunchError: the schema was made by a newer version.
    """
    try:
        await migrate.upgrade(_database(settings))
    except migrate.SchemaMismatch as error:
        raise LaunchError(str(error)) from error


async def check_catalogue(settings: Settings) -> None:
    """Return when the catalogue can be used by this version.

    Raises:
        LaunchError: the schema is another version's, or there is none.
    """
    try:
        await migrate.check(_database(settings))
    except migrate.SchemaMismatch as error:
        raise LaunchError(str(error)) from error


async def take_first_steps(resources: Resources) -> FirstSteps:
    """Make what a deployment needs and does not have yet: trust root, owner, default index, owner link.

    Raises:
        LaunchError: the trust root needs people, or the catalogue belongs to a deployment of another default index.
    """
    accounts = Accounts(resources.engine, resources.clock, actor="launcher")
    try:
        # Keys first: an index that exists is published, and nothing can be signed without them.
        await ensure_trust(resources)
        deployment = await accounts.init_deployment(DEFAULT_INDEX)
        link = None
        if deployment.created:
            secret = await accounts.create_owner_link(DEFAULT_INDEX.owner)
            link = owner_link_url(addresses_of(resources.settings).ui, secret)
    except CeremonyNeeded as error:
        raise LaunchError(str(error)) from error
    except ServiceError as error:
        raise LaunchError(error.detail) from error
    return FirstSteps(deployment, link)


async def until_published(resources: Resources, deployment: DeploymentInfo) -> None:
    """Return when the default index has a head here, so that the first reader finds it signed.

    Raises:
        LaunchError: it was not published in time.
    """
    await resources.directory.refresh()
    until = asyncio.get_running_loop().time() + _PUBLICATION_TIMEOUT.total_seconds()
    while resources.heads.get(deployment.default_index_id) is None:
        if asyncio.get_running_loop().time() > until:
            raise LaunchError(
                f"{deployment.default_index} was not published within "
                f"{_PUBLICATION_TIMEOUT.total_seconds():.0f} seconds; the lines above say why"
            )
        await asyncio.sleep(0.01)


def _database(settings: Settings) -> str:
    assert settings.database.url is not None, "the embedded profile or open_resources has seen to it"
    return settings.database.url.get_secret_value()
