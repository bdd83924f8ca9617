"""Puts services together: all of them for the embedded profile, or one for a process of its own.

Services are loaded by name: a process loads those it runs and no others, which saves each of them tens of megabytes.
"""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable, Iterable, Mapping

from deploy.telling import CatalogueLook
from shared.catalogue import outbox
from shared.catalogue.clock_watch import ClockWatch
from shared.jobs.consumer import Consumer
from shared.jobs.messages import Message
from shared.jobs.relay import Relay
from shared.resources import Resources
from shared.service import JobHandler, Service

SERVICES: Mapping[str, str] = {
    "upload": "services.upload.app",
    "signing": "services.signing.app",
    "index": "services.index.app",
    "download": "services.download.app",
}
"""Name of a service -> the module whose `create_service` wires it."""

SIGNING_QUEUE = "signing"
"""The queue whose jobs sign: they are not done while the clock is wrong."""

Loop = Callable[[], Awaitable[None]]
"""Something that runs until it is cancelled."""


def create_service(name: str, resources: Resources) -> Service:
    """Return one service, loading it."""
    service = importlib.import_module(SERVICES[name]).create_service(resources)
    assert isinstance(service, Service), "that is what it makes"
    return service


def create_services(resources: Resources) -> dict[str, Service]:
    """Return all services, by name."""
    return {name: create_service(name, resources) for name in SERVICES}


def background(resources: Resources, services: Iterable[Service], watch: ClockWatch, *, relay: bool) -> list[Loop]:
    """Return what has to run beside the applications: the listener, loops of services, their jobs, the relay.

    Args:
        watch: without it being satisfied with the clock, nothing is signed.
        relay: whether this process sends what the outbox holds.
    """
    loops: list[Loop] = [resources.directory.last_use.run, watch.run]
    handlers: dict[type[Message], JobHandler] = {}
    for service in services:
        loops += service.loops
        handlers |= {
            message: watch.guarded(handler) if message.queue == SIGNING_QUEUE else handler
            for message, handler in service.handlers.items()
        }
    if relay:
        sender = Relay(resources.engine, resources.queue)
        resources.listener.subscribe(outbox.CHANNEL, sender.wake)
        loops.append(sender.run)
        if resources.settings.listen.metrics_port:
            loops.append(CatalogueLook(resources).run)
    if handlers:
        consumer = Consumer(resources.engine, handlers, metrics=resources.metrics)
        loops.append(lambda: consumer.run(resources.queue))
    # Last, since subscriptions are to be made before it runs.
    return [*loops, resources.listener.run]
