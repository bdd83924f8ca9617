"""What the embedded profile does once its children run: opens resources, wires all services, serves both hosts."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import structlog

from deploy import assembly, banner, first_steps
from deploy.data_folder import Running
from deploy.embedded import Start
from deploy.listeners import HttpServer
from deploy.open_resources import open_resources
from deploy.supervisor import supervised
from deploy.telling import metrics_listener
from gateway.app import create_app
from gateway.settings import addresses_of
from gateway.upstream import Mounted
from shared.catalogue.clock_watch import ClockWatch
from shared.clock import SystemClock
from shared.lasting import settle
from shared.leisure import ALONE
from shared.settings import Settings

log = structlog.get_logger()


async def run(start: Start) -> None:
    """Run all services until the process is asked to stop.

    Raises:
        LaunchError: it cannot start, or a part of it ended by itself.
        Stopped: the process was asked to stop before it was ready.
    """
    settings, stop = start.settings, start.stop
    if settings.is_open_devpi:
        log.warning("open_as_a_plain_devpi", compat=settings.compat, host=settings.listen.host)
    await stop.unless_asked(first_steps.prepare_catalogue(settings))
    async with open_resources(settings, SystemClock()) as resources:
        if start.children.own_catalogue:
            resources.leisure.longest = ALONE
        first = await stop.unless_asked(first_steps.take_first_steps(resources))
        watch = ClockWatch(resources.engine, resources.clock)
        with metrics_listener(resources, watch) as telling:
            async with supervised() as work:
                services = assembly.create_services(resources)
                apps = create_app(resources, {name: Mounted(service) for name, service in services.items()})
                work.run(start.children.watches())
                work.run([*assembly.background(resources, services.values(), watch, relay=True), *apps.loops])
                if first.waits_for:
                    await stop.unless_asked(resources.directory.refresh())
                else:
                    await stop.unless_asked(first_steps.until_published(resources, first.deployment))
                work.serve(HttpServer(apps.api, start.ports.api), HttpServer(apps.ui, start.ports.ui), *telling)
                settle()
                with start.folder.announced(_running(settings)):
                    start.say(banner.render(_facts(start, first)))
                    start.say(_waiting(first))
                    await stop.wait()


async def initialise(settings: Settings, say: Callable[[str], None]) -> None:
    """Make schema, trust root, owner and default index, where they are absent."""
    await first_steps.prepare_catalogue(settings)
    async with open_resources(settings, SystemClock()) as resources:
        first = await first_steps.take_first_steps(resources)
    say(f"{'made' if first.deployment.created else 'found'} the deployment {first.deployment.id}\n")
    if first.owner_link is not None:
        say(f"owner link (signs in once, within a day): {first.owner_link}\n")
    say(_waiting(first))


def _waiting(first: first_steps.FirstSteps) -> str:
    """Return what to say while the first ceremony is not done."""
    lines = [f"nothing is published before the first ceremony is done: {line}\n" for line in first.waits_for]
    return "".join(lines)


def _running(settings: Settings) -> Running:
    assert settings.database.url is not None, "the children have told it"
    assert settings.queue.url is not None, "the children have told it"
    addresses = addresses_of(settings)
    return Running(
        pid=os.getpid(),
        database=settings.database.url.get_secret_value(),
        queue=settings.queue.url.get_secret_value(),
        api=addresses.api,
        ui=addresses.ui,
    )


def _facts(start: Start, first: first_steps.FirstSteps) -> banner.Facts:
    addresses = addresses_of(start.settings)
    return banner.Facts(
        api=addresses.api,
        ui=addresses.ui,
        index=str(first.deployment.default_index),
        data=start.settings.data,
        programs=start.programs,
        owner_link=first.owner_link,
        seconds=time.monotonic() - start.began,
        open_devpi=start.settings.is_open_devpi,
        profile=start.settings.signing.profile,
    )
