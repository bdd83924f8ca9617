"""What a deployment needs before anything can run: schema, trust root, owner, default index.

Apart from `deploy.assembly`, since only `init` and the embedded profile take these steps: a process of its own need not
load what makes keys and migrates tables.
"""

from __future__ import annotations

import asyncio
import importlib
from dataclasses import dataclass
from datetime import timedelta

from countermark.core.names import IndexName
from deploy.errors import LaunchError
from gateway.accounts import Accounts, DeploymentInfo, owner_link_url
from gateway.index_lives import Birth
from gateway.settings import addresses_of
from services.signing.ceremonies.trust_root import CeremonyNeeded, ensure_trust
from shared.auth.principal import Verb
from shared.catalogue import migrate
from shared.catalogue.engine import CATALOGUE_AWAY
from shared.catalogue.faults import catalogue_fault
from shared.catalogue.schema import SchemaMismatch
from shared.errors import ServiceError
from shared.reading.resolution import MIRROR
from shared.resources import Resources
from shared.settings import Settings

DEFAULT_INDEX = IndexName("root", "stable")
"""The index every deployment begins with: a public stage, not volatile. Source: architecture section 11.8."""

PUBLIC_MIRROR = IndexName("root", "pypi")
"""The mirror of the public index."""

MIRROR_OWNERS = frozenset([Verb.READ, Verb.REMOVE, Verb.CONFIGURE])
"""What the owner of a mirror may do: nobody uploads to one."""

_PUBLICATION_TIMEOUT = timedelta(seconds=30)
"""How long the first publication may take: keys, 256 empty bins of one byte string, a snapshot and a timestamp."""


@dataclass(frozen=True, slots=True)
class FirstSteps:
    """What a start found or made: the deployment, a one-time link for its owner when it was made now, and what is
    missing of its first ceremony, in words: until then nothing is published."""

    deployment: DeploymentInfo
    owner_link: str | None
    waits_for: tuple[str, ...] = ()


async def prepare_catalogue(settings: Settings) -> None:
    """Bring the catalogue's schema up to this version.

    Raises:
        LaunchError: the schema was made by a newer version, or the catalogue cannot be used.
    """
    try:
        await migrate.upgrade(_database(settings))
    except SchemaMismatch as error:
        raise LaunchError(str(error)) from error
    except CATALOGUE_AWAY as error:
        fault = catalogue_fault(error)
        if fault is None:
            raise
        raise LaunchError(fault.text) from error


async def take_first_steps(resources: Resources) -> FirstSteps:
    """Make what a deployment needs and does not have yet: trust root, owner, default index, owner link.

    Raises:
        LaunchError: the trust root needs people, or the catalogue belongs to a deployment of another default index.
    """
    accounts = Accounts(resources.engine, resources.clock, actor="launcher")
    try:
        # Keys first: an index that exists is published, and nothing can be signed without them.
        waits_for = await _trust(resources)
        mirror = None if await accounts.has_deployment() else await asyncio.to_thread(public_mirror)
        deployment = await accounts.init_deployment(DEFAULT_INDEX, mirror=mirror)
        link = None
        if deployment.created:
            secret = await accounts.create_owner_link(DEFAULT_INDEX.owner)
            link = owner_link_url(addresses_of(resources.settings).ui, secret)
    except CeremonyNeeded as error:
        raise LaunchError(str(error)) from error
    except ServiceError as error:
        raise LaunchError(error.detail) from error
    return FirstSteps(deployment, link, waits_for)


async def _trust(resources: Resources) -> tuple[str, ...]:
    """See to the trust root; returns what is missing of a first ceremony that was begun: it is done over the API.

    Raises:
        CeremonyNeeded: it was not begun.
    """
    try:
        await ensure_trust(resources)
    except CeremonyNeeded as error:
        if not error.waits_for:
            raise
        return error.waits_for
    return ()


def public_mirror() -> Birth:
    """Return the mirror of the public index, as devpi makes it. Blocking: the library takes a while to load.

    Source: contract devpi section 18.
    """
    # By name: only the first start needs it, and it brings an HTTP client and an HTML parser.
    url = str(importlib.import_module("pypi_simple").PYPI_SIMPLE_ENDPOINT)
    settings = {
        "title": "PyPI",
        "mirror_url": url,
        "mirror_web_url_fmt": url.removesuffix("simple/") + "project/{name}/",
    }
    return Birth(PUBLIC_MIRROR, type=MIRROR, volatile=False, settings=settings, owner_verbs=MIRROR_OWNERS)


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
