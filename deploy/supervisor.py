"""Runs what a process does until it is told to stop, and ends it in order."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

import structlog

from deploy.errors import LaunchError
from deploy.listeners import HttpServer

log = structlog.get_logger()

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

T = TypeVar("T")


class Stopped(Exception):
    """A signal asked the process to stop."""


class StopRequest:
    """Whether somebody asked this process to stop. Asked twice, it ends at once, and the kernel ends its children."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[StopRequest]:
        """Listen to Ctrl-C, SIGTERM and SIGHUP while the context lasts; where `nohup` is used, not to SIGHUP."""
        loop = asyncio.get_running_loop()
        ignored = {signal.SIGHUP} if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else set()
        heard = [number for number in _SIGNALS if number not in ignored]
        for number in heard:
            loop.add_signal_handler(number, self._ask)
        try:
            yield self
        finally:
            for number in heard:
                loop.remove_signal_handler(number)

    @property
    def asked(self) -> bool:
        """Whether the process was asked to stop."""
        return self._asked.is_set()

    async def wait(self) -> None:
        """Return when the process was asked to stop."""
        await self._asked.wait()

    async def unless_asked(self, work: Awaitable[T]) -> T:
        """Return what `work` returns.

        Raises:
            Stopped: the process was asked to stop; `work` was cancelled.
        """
        doing, asked = asyncio.ensure_future(work), asyncio.ensure_future(self._asked.wait())
        try:
            await asyncio.wait({doing, asked}, return_when=asyncio.FIRST_COMPLETED)
            if doing.done():
                return doing.result()
            raise Stopped
        finally:
            for task in (doing, asked):
                if not task.done():
                    task.cancel()
                    with suppress(asyncio.CancelledError):
                        await task

    def _ask(self) -> None:
        if self._asked.is_set():
            os._exit(130)
        self._asked.set()


class Supervised:
    """Background work and HTTP servers of a process; an error in any of them ends all."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group
        self._background: list[asyncio.Task[None]] = []
        self._serving: dict[HttpServer, asyncio.Task[None]] = {}

    def run(self, loops: Iterable[Callable[[], Awaitable[None]]]) -> None:
        """Run each loop until the end."""
        self._background += [self._group.create_task(_awaited(loop)) for loop in loops]

    def serve(self, *servers: HttpServer) -> None:
        """Serve until the end."""
        self._serving |= {server: self._group.create_task(server.run_until_stopped()) for server in servers}

    async def wind_down(self) -> None:
        """End what serves, requests under way first, then what runs beside it: uploads may wait for a publication."""
        for server in self._serving:
            server.stop()
        if self._serving:
            await asyncio.wait(self._serving.values())
        for task in self._background:
            task.cancel()


@asynccontextmanager
async def supervised() -> AsyncIterator[Supervised]:
    """Run background work and servers within the context; leaving it ends them in order.

    Raises:
        LaunchError: something of it ended by itself; the first cause is told.
    """
    try:
        async with asyncio.TaskGroup() as group:
            work = Supervised(group)
            yield work
            await work.wind_down()
    except BaseExceptionGroup as errors:
        raise first_cause(errors) from errors


def first_cause(error: BaseException) -> BaseException:
    """Return the error to tell people of: the first of ours in a group, else the first of all."""
    flat = list(_flattened(error))
    return next((one for one in flat if isinstance(one, LaunchError | Stopped)), flat[0])


def _flattened(error: BaseException) -> Iterable[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _flattened(inner)
    else:
        yield error


async def _awaited(loop: Callable[[], Awaitable[None]]) -> None:
    await loop()
