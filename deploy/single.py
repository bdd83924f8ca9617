"""One process of its own: a service, the gateway, or the worker, on the database, queue and objects of the settings.

A start waits for what the process needs (`deploy.needs`), reads who and what there is, and only then listens. The end
goes the other way: `/readyz` says so while requests are still taken, then no more are, those under way end, then jobs.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta

import structlog
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp

from deploy import assembly
from deploy.errors import LaunchError, UsageError
from deploy.listeners import HttpServer
from deploy.needs import Needs, needs_of, until_there
from deploy.open_resources import open_resources
from deploy.ports import Ports, port_of, take_port
from deploy.supervisor import Stopped, StopRequest, Supervised, supervised
from deploy.telling import metrics_listener
from gateway.proxies import seen_behind
from shared.catalogue.clock_watch import ClockWatch
from shared.catalogue.engine import CATALOGUE_AWAY
from shared.catalogue.faults import catalogue_fault
from shared.clock import Clock, SystemClock
from shared.http import health_routes, machine_stack
from shared.lasting import settle
from shared.objects.interface import ObjectStoreError
from shared.resources import Resources
from shared.service import HotPath, Service
from shared.settings import Settings

log = structlog.get_logger()

Say = Callable[[str], None]

_GATEWAY = "gateway.app"
_UPSTREAM = "gateway.upstream"
_INDEX_JOBS = "services.index.jobs"
"""Loaded by name: each process loads what it runs and no more."""

_DO_THEIR_JOBS = ("signing", "upload")
"""Services whose jobs are done where their requests are answered."""


@dataclass(frozen=True, slots=True)
class Alone:
    """A process of its own, before it listens: told to stop by `stop`, satisfied with the clock by `watch`."""

    resources: Resources
    stop: StopRequest
    watch: ClockWatch

    def needs(self, service: Service) -> Needs:
        """Return what the process of a service needs."""
        return needs_of(service, self.resources, self.watch, self.stop)

    async def begin(self, needs: Needs) -> None:
        """Return when the process may listen: what it needs is there, and it knows who and what there is.

        Raises:
            LaunchError: it cannot run.
            Stopped: it was told to stop meanwhile.
        """
        await self.stop.unless_asked(until_there(needs.start, self.resources.settings.starting.patience))
        try:
            # Before anything listens: an index that is not in memory would be answered 404, and uv would go on to the
            # next.
            await self.stop.unless_asked(self.resources.directory.refresh())
            await self.stop.unless_asked(self.resources.heads.wake(""))
        except CATALOGUE_AWAY as error:
            fault = catalogue_fault(error)
            raise LaunchError(str(error) if fault is None else fault.text) from error

    async def until_stopped(self) -> None:
        """Return when the process is to take no more requests: told to stop, and the ingress had time to see it."""
        await self.stop.wait()
        stopping = self.resources.settings.stopping
        log.info("stopping", delay=stopping.delay, grace=stopping.grace)
        await asyncio.sleep(stopping.delay)


async def serve_service(name: str, settings: Settings, say: Say, *, clock: Clock | None = None) -> None:
    """Run one service until told to stop. Signing and upload also do their jobs; the index service's are the worker's.

    Args:
        name: one of `assembly.SERVICES`.

    Raises:
        LaunchError: it cannot start, or a part of it ended by itself.
    """
    async with _alone(settings, clock) as alone:
        service = assembly.create_service(name, alone.resources)
        await _run(alone, service if name in _DO_THEIR_JOBS else replace(service, handlers={}), say)


async def serve_worker(settings: Settings, say: Say) -> None:
    """Run the worker: the relay, and the jobs of the index service.

    Raises:
        LaunchError: it cannot start, or a part of it ended by itself.
    """
    async with _alone(settings, None) as alone:
        handlers = importlib.import_module(_INDEX_JOBS).job_handlers(alone.resources)
        await _run(alone, Service(name="worker", app=Starlette(), handlers=handlers), say)


async def serve_gateway(settings: Settings, say: Say) -> None:
    """Run the gateway with its two listeners, in front of services in processes of their own.

    Raises:
        LaunchError: it cannot start, or a part of it ended by itself.
    """
    with Ports.taken(settings.listen) as ports:
        told = ports.told(settings)
        async with _alone(told, None, store=False) as alone, AsyncExitStack() as stack:
            needs = alone.needs(Service(name="gateway", app=Starlette()))
            await alone.begin(needs)
            proxied = importlib.import_module(_UPSTREAM).Proxied
            urls: dict[str, str] = told.upstreams.model_dump()
            upstreams = {name: await stack.enter_async_context(proxied(name, url)) for name, url in urls.items()}
            apps = importlib.import_module(_GATEWAY).create_app(alone.resources, upstreams, checks=needs.required)
            telling = stack.enter_context(metrics_listener(alone.resources, alone.watch))
            async with supervised() as work:
                _begin(work, alone, None)
                work.run(apps.loops)
                grace = told.stopping.grace
                work.serve(HttpServer(apps.api, ports.api, grace=grace), HttpServer(apps.ui, ports.ui, grace=grace))
                work.serve(*telling)
                settle()
                say(f"gateway: API on port {port_of(ports.api)}, UI on port {port_of(ports.ui)}\n")
                await alone.until_stopped()


def service_app(service: Service, needs: Needs, resources: Resources, proxies: tuple[str, ...]) -> ASGIApp:
    """Return a service's application for a listener of its own: hot reads, the machines' stack, health, its routes."""
    routed = Starlette(routes=[*health_routes(needs.required, needs.reported), Mount("/", service.app)])
    stack = seen_behind(proxies, machine_stack(routed, listener=service.name, metrics=resources.metrics))
    return HotPath(service.hot, stack, resources.metrics.tally(service.name), resources.turnstile)


@asynccontextmanager
async def _alone(settings: Settings, clock: Clock | None, *, store: bool = True) -> AsyncIterator[Alone]:
    if settings.is_open_devpi:
        raise UsageError("compat: devpi-open is for countermark-server up (make run) alone: unset COUNTERMARK_COMPAT")
    async with AsyncExitStack() as stack:
        patience = timedelta(seconds=settings.stopping.grace)
        try:
            resources = await stack.enter_async_context(
                open_resources(settings, clock or SystemClock(), job_patience=patience, store=store)
            )
        except ObjectStoreError as error:
            raise LaunchError(str(error)) from error
        stop = await stack.enter_async_context(StopRequest().listening())
        with suppress(Stopped):
            yield Alone(resources, stop, ClockWatch(resources.engine, resources.clock))


async def _run(alone: Alone, service: Service, say: Say) -> None:
    """Serve a service's application and do its jobs and loops, until told to stop."""
    settings = alone.resources.settings
    listen = settings.listen
    needs = alone.needs(service)
    await alone.begin(needs)
    with (
        take_port(listen.host, listen.service_port, "COUNTERMARK_LISTEN__SERVICE_PORT") as listening,
        metrics_listener(alone.resources, alone.watch) as telling,
    ):
        async with supervised() as work:
            _begin(work, alone, service)
            app = service_app(service, needs, alone.resources, listen.proxies)
            work.serve(HttpServer(app, listening, grace=settings.stopping.grace), *telling)
            settle()
            say(f"{service.name}: port {port_of(listening)}\n")
            await alone.until_stopped()


def _begin(work: Supervised, alone: Alone, service: Service | None) -> None:
    """Begin what runs beside the listeners."""
    services = () if service is None else (service,)
    relay = service is not None and service.name == "worker"
    work.run(assembly.background(alone.resources, services, alone.watch, relay=relay))
