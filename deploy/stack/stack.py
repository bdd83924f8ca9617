"""The real profile on one machine, natively: the servers, two of each of our processes, and nginx in front.

Order of a start: the folder is looked at and the two hosts' ports are tried before anything is made; the servers start;
the deployment is made if it is absent; our processes start together; nginx comes when they are ready; when the default
index is published, the addresses are printed. The end goes the other way. Source: architecture section 7.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from deploy.data_folder import DataFolder, Running
from deploy.errors import LaunchError
from deploy.ports import take_port
from deploy.stack import services
from deploy.stack.children import Child, http_answer
from deploy.stack.nginx import Ingress, NginxServer
from deploy.stack.ports import choose_ports
from deploy.stack.programs import Programs
from deploy.stack.servers import RealServers, make_servers
from deploy.stack.services import ServiceProcess
from deploy.stack.summary import Summary, render
from deploy.stack.supervision import keep_running
from deploy.supervisor import Stopped, StopRequest, first_cause

MARKER = "COUNTERMARK-STACK"
"""File that marks a data folder of the real profile; the embedded one's are not mixed up with it."""

_DEFAULT_INDEX = "root/stable"

_PUBLISHED = 30.0
"""Seconds until the default index must be readable."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Options:
    """What a start was asked for.

    Attributes:
        data: the data folder.
        api: port of the host for machines, 0 for any.
        ui: port of the host for people, 0 for any.
        settings: further settings: key -> value.
        programs: where the command-line programs are, for the lines to copy; empty, or ending with a slash.
    """

    data: Path
    api: int
    ui: int
    settings: Mapping[str, str]
    programs: str


@dataclass(frozen=True, slots=True)
class Stack:
    """All parts, not started: the servers, our processes by kind, and the ingress."""

    servers: RealServers
    processes: Mapping[str, list[ServiceProcess]]
    nginx: NginxServer
    api: str
    ui: str

    def children(self) -> dict[str, Child]:
        """Return all that runs: name -> child."""
        own = {process.name: process for kind in self.processes.values() for process in kind}
        return {
            "Postgres": self.servers.postgres,
            "Redis": self.servers.redis,
            "versitygw": self.servers.s3,
            **own,
            "nginx": self.nginx,
        }

    async def start_own(self) -> None:
        """Start our processes, all at once, then the ingress; returns when all answer.

        Raises:
            LaunchError: one does not start; says which and why.
        """
        own = [process for kind in self.processes.values() for process in kind]
        await _all(process.begin() for process in own)
        await _all(process.until_ready() for process in own if process not in self.processes["gateway"])
        # A gateway asks through the ingress whether the services are ready, so it is ready after that.
        await self.nginx.begin()
        await _all(process.until_ready() for process in self.processes["gateway"])
        await self.nginx.until_ready()

    async def stop(self) -> None:
        """End everything: who is asked from outside first, what all others need last."""
        for group in (
            self.processes["gateway"],
            [process for name in services.KINDS[1:] for process in self.processes[name]],
        ):
            await _all(process.stop() for process in group)
        await self.nginx.stop()
        await self.servers.stop()


async def up(options: Options, programs: Programs, say: Say) -> None:
    """Start everything, tell where it is, and run until told to stop.

    Raises:
        LaunchError: it cannot start.
    """
    began = time.monotonic()
    folder = DataFolder(options.data, MARKER)
    folder.check()
    for port, name in ((options.api, "API_PORT"), (options.ui, "UI_PORT")):
        # Tried, not held: nginx binds it itself.
        take_port("127.0.0.1", port, name).close()
    with folder.held():
        stack = make_stack(options, programs)
        async with StopRequest().listening() as stop, _ending(stack):
            with suppress(Stopped):
                owner_link = await stop.unless_asked(_start(stack, options))
                with folder.announced(_running(stack)):
                    summary = Summary(options.data, options.programs, stack.api, stack.ui, _DEFAULT_INDEX, owner_link)
                    say(render(summary, _places(stack), time.monotonic() - began))
                    await _watch(stack, stop, say)


def make_stack(options: Options, programs: Programs) -> Stack:
    """Return the parts, not started.

    Raises:
        LaunchError: no port is free, or the folder cannot be used.
    """
    data = options.data
    servers = make_servers(data / "servers", programs)
    ports = choose_ports(["api", "ui", *services.port_names()], data / "ports.json")
    api, ui = options.api or ports["api"], options.ui or ports["ui"]
    processes = services.make_processes(data, ports)
    internal = {name: ports[f"to-{name}"] for name in services.FACED}
    nginx = NginxServer(
        data / "nginx", programs.nginx, Ingress(api, ui, internal, services.upstreams(processes, ports))
    )
    return Stack(servers, processes, nginx, f"http://127.0.0.1:{api}", f"http://127.0.0.1:{ui}")


async def _start(stack: Stack, options: Options) -> str | None:
    """Start all parts in order; returns the owner link when the deployment was made now."""
    await stack.servers.start()
    internal = {f"upstreams.{name}": url for name, url in stack.nginx.internal.items()}
    addresses = {"outside_url": stack.api, "outside_ui_url": stack.ui, "listen.trusted_proxies": "127.0.0.1"}
    settings = services.OWN_SETTINGS | stack.servers.settings() | internal | addresses | dict(options.settings)
    services.write_settings(options.data, settings)
    owner_link = await services.initialise(options.data)
    await stack.start_own()
    await _until_published(stack)
    return owner_link


async def _until_published(stack: Stack) -> None:
    url = f"{stack.api}/{_DEFAULT_INDEX}/+tuf/metadata/timestamp.json"
    until = time.monotonic() + _PUBLISHED
    while (reason := await http_answer(url)) is not None:
        if time.monotonic() > until:
            logs = stack.processes["signing"][0].log
            raise LaunchError(f"{_DEFAULT_INDEX} was not published within {_PUBLISHED:.0f} s: {reason} (log: {logs})")
        await asyncio.sleep(0.05)


async def _watch(stack: Stack, stop: StopRequest, say: Say) -> None:
    """Keep all running until told to stop."""
    children = stack.children().items()
    keepers = asyncio.gather(*(keep_running(name, child, say) for name, child in children))
    with suppress(Stopped):
        await stop.unless_asked(keepers)
    say("\nending ...\n")


@asynccontextmanager
async def _ending(stack: Stack) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await stack.stop()


async def _all(work: Iterable[Awaitable[None]]) -> None:
    """Do several things at once; the first failure cancels the others and is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            for one in work:
                group.create_task(_awaited(one))
    except BaseExceptionGroup as errors:
        raise first_cause(errors) from errors


async def _awaited(work: Awaitable[None]) -> None:
    await work


def _running(stack: Stack) -> Running:
    return Running(os.getpid(), stack.servers.postgres.url, stack.servers.redis.url, stack.api, stack.ui)


def _places(stack: Stack) -> list[tuple[str, int, str, Path]]:
    """Return for each part its name, process id, address and log."""
    found: list[tuple[str, int, str, Path]] = []
    servers = stack.servers
    addresses = {
        "Postgres": (_host(servers.postgres.url), servers.postgres.log),
        "Redis": (_host(servers.redis.url), servers.redis.log),
        "versitygw": (servers.s3.url, servers.s3.log),
        "nginx": (f"{stack.api}, {stack.ui}", stack.nginx.access_log),
    }
    for name, child in stack.children().items():
        if isinstance(child, ServiceProcess):
            found.append((name, child.pid, f"http://127.0.0.1:{child.port}, {child.metrics}", child.log))
        else:
            found.append((name, child.pid, *addresses[name]))
    return found


def _host(url: str) -> str:
    return url.rpartition("@")[2]
