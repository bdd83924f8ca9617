"""The embedded profile: everything in one process, with Postgres and Valkey as its children.

Order of a start: the folder is looked at and the ports are taken before anything is made; Postgres and Valkey start
while the services are imported; the schema is brought up to date; trust root, owner and default index are made if
absent; what works in the background runs; when the default index is published, the two listeners answer and the
addresses are printed. The end goes the other way. Source: architecture section 7; infrastructure facts.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr

from deploy.data_folder import DataFolder
from deploy.ports import Ports
from deploy.postgres import PostgresServer
from deploy.supervisor import Stopped, StopRequest, first_cause
from deploy.valkey import ValkeyServer
from shared.lasting import load
from shared.settings import Settings

_EVERYTHING = "deploy.everything"
"""Loaded by name while the servers start: importing all services takes as long as starting those."""

Say = Callable[[str], None]
"""Tells the person at the terminal something."""


class Children:
    """Postgres and Valkey, each where the settings name no server of somebody else's."""

    def __init__(self, settings: Settings) -> None:
        folder = DataFolder(settings.data)
        self._postgres = PostgresServer(folder.postgres) if settings.database.url is None else None
        self._valkey = ValkeyServer(folder.valkey) if settings.queue.url is None else None
        self._present = [server for server in (self._postgres, self._valkey) if server is not None]

    @property
    def own_catalogue(self) -> bool:
        """Whether no other server has this one's catalogue."""
        return self._postgres is not None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run them within the context: both at once at the start, one after the other at the end."""
        try:
            await self._start()
            yield
        finally:
            for server in reversed(self._present):
                await server.stop()

    def told(self, settings: Settings) -> Settings:
        """Return the settings with the addresses of the children that run."""
        update: dict[str, Any] = {}
        if self._postgres is not None:
            update["database"] = settings.database.model_copy(update={"url": SecretStr(self._postgres.url)})
        if self._valkey is not None:
            update["queue"] = settings.queue.model_copy(update={"url": SecretStr(self._valkey.url)})
        return settings.model_copy(update=update)

    def watches(self) -> list[Callable[[], Awaitable[None]]]:
        """Return what raises when a child ends by itself."""
        return [server.wait for server in self._present]

    async def _start(self) -> None:
        try:
            async with asyncio.TaskGroup() as starting:
                for server in self._present:
                    starting.create_task(server.start())
        except BaseExceptionGroup as errors:
            raise first_cause(errors) from errors


@dataclass(frozen=True, slots=True)
class Start:
    """What a start has at hand when the children run. `began` is its monotonic time, `programs` see `up`."""

    settings: Settings
    folder: DataFolder
    ports: Ports
    children: Children
    stop: StopRequest
    say: Say
    programs: str
    began: float


async def up(settings: Settings, say: Say, *, programs: str) -> None:
    """Start everything, tell where it is, and run until told to stop.

    Args:
        programs: where the command-line programs are, for the lines to copy; empty, or ending with a slash.

    Raises:
        LaunchError: it cannot start, or a part of it ended by itself.
    """
    began = time.monotonic()
    folder = DataFolder(settings.data)
    folder.check()
    children = Children(settings)
    with Ports.taken(settings.listen) as ports, folder.held():
        async with StopRequest().listening() as stop:
            with suppress(Stopped):
                # In a thread, so that the children are looked after meanwhile. They start on this one and end with it.
                loading = asyncio.create_task(asyncio.to_thread(load, _EVERYTHING))
                async with children.running():
                    everything = await stop.unless_asked(loading)
                    told = children.told(ports.told(settings))
                    await everything.run(Start(told, folder, ports, children, stop, say, programs, began))


async def init(settings: Settings, say: Say) -> None:
    """Make what a deployment needs, where it is absent, and end: schema, trust root, owner, default index.

    Raises:
        LaunchError: it cannot be made.
    """
    everything = await asyncio.to_thread(load, _EVERYTHING)
    if settings.database.url is not None and settings.queue.url is not None:
        await everything.initialise(settings, say)
        return
    folder, children = DataFolder(settings.data), Children(settings)
    with folder.held():
        async with children.running():
            await everything.initialise(children.told(settings), say)
