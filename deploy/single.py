"""One process of its own: a service, the gateway, or the worker, on the database, queue and objects of the settings."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace

from sqlalchemy import text
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp

from deploy import assembly
from deploy.listeners import HttpServer
from deploy.open_resources import open_resources
from deploy.ports import Ports, port_of, take_port
from deploy.supervisor import Stopped, StopRequest, supervised
from gateway.app import create_app
from gateway.upstream import Proxied
from shared.clock import SystemClock
from shared.http import Check, health_routes, machine_stack
from shared.resources import Resources
from shared.service import HotPath, Service
from shared.settings import Settings

Say = Callable[[str], None]


async def serve_service(name: str, settings: Settings, say: Say) -> None:
    """Run one service until told to stop. The signing service also does its jobs; the index service's are the worker's.

    Args:
        name: one of `assembly.CREATORS`.

    Raises:
        LaunchError: it cannot start, or a part of it ended by itself.
    """
    async with _opened(settings) as (stop, resources):
        service = assembly.CREATORS[name](resources)
        jobs = service if name == "signing" else replace(service, handlers={})
        await _run(stop, resources, (service, jobs), say)


async def serve_worker(settings: Settings, say: Say) -> None:
    """Run the worker: the relay, and the jobs of the index service.

    Raises:
        LaunchError: it cannot start, or a part of it ended by itself.
    """
    async with _opened(settings) as (stop, resources):
        index = assembly.CREATORS["index"](resources)
        worker = Service(name="worker", app=Starlette(), handlers=index.handlers)
        await _run(stop, resources, (worker, worker), say)


async def serve_gateway(settings: Settings, say: Say) -> None:
    """Run the gateway with its two listeners, in front of services in processes of their own.

    Raises:
        LaunchError: it cannot start, or a part of it ended by itself.
    """
    with Ports.taken(settings.listen) as ports:
        told = ports.told(settings)
        async with _opened(told) as (stop, resources), AsyncExitStack() as stack:
            urls: dict[str, str] = told.upstreams.model_dump()
            upstreams = {name: await stack.enter_async_context(Proxied(name, url)) for name, url in urls.items()}
            apps = create_app(resources, upstreams)
            async with supervised() as work:
                work.run([*assembly.background(resources, (), relay=False), *apps.loops])
                work.serve(HttpServer(apps.api, ports.api), HttpServer(apps.ui, ports.ui))
                say(f"gateway: API on port {port_of(ports.api)}, UI on port {port_of(ports.ui)}\n")
                await stop.wait()


def checks(resources: Resources) -> Mapping[str, Check]:
    """Return what `/readyz` of a service asks: name of a resource -> its ping."""

    async def catalogue() -> None:
        async with resources.engine.connect() as connection:
            await connection.execute(text("select 1"))

    return {
        "catalogue": catalogue,
        "queue": resources.queue.ping,
        "objects": resources.objects.public.ping,
        "private objects": resources.objects.private.ping,
    }


def service_app(service: Service, resources: Resources) -> ASGIApp:
    """Return a service's application for a listener of its own: hot reads, the machines' stack, health, its routes."""
    routed = Starlette(routes=[*health_routes(checks(resources)), Mount("/", service.app)])
    return HotPath(service.hot, machine_stack(routed, listener=service.name))


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[tuple[StopRequest, Resources]]:
    async with open_resources(settings, SystemClock()) as resources, StopRequest().listening() as stop:
        with suppress(Stopped):
            await stop.unless_asked(assembly.check_catalogue(settings))
            # Before anything listens: an index that is not in memory would be answered 404, and uv would go on to the
            # next.
            await stop.unless_asked(resources.directory.refresh())
            await stop.unless_asked(resources.heads.wake(""))
            yield stop, resources


async def _run(stop: StopRequest, resources: Resources, parts: tuple[Service, Service], say: Say) -> None:
    """Serve the first part's application, and do the second part's jobs and loops."""
    service, jobs = parts
    listen = resources.settings.listen
    with take_port(listen.host, listen.service_port, "COUNTERMARK_LISTEN__SERVICE_PORT") as listening:
        async with supervised() as work:
            work.run(assembly.background(resources, (jobs,), relay=service.name == "worker"))
            work.serve(HttpServer(service_app(service, resources), listening))
            say(f"{service.name}: port {port_of(listening)}\n")
            await stop.wait()
