"""Follows Postgres notifications on a connection of its own; a notification that was missed is made good by a tick."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import asyncpg
import structlog
from sqlalchemy.engine import make_url

log = structlog.get_logger()

Wake = Callable[[str], Awaitable[None]]
"""Called with a notification's payload, or with "" on a tick (something may have been missed). Must be quick and not
raise."""


class Listener:
    """Calls subscribers when a channel is notified, and all of them every `tick`."""

    def __init__(self, database_url: str, *, tick: timedelta) -> None:
        url = make_url(database_url)
        self._dsn = url.set(drivername="postgresql").render_as_string(hide_password=False)
        self._tick = tick.total_seconds()
        self._subscribers: dict[str, list[Wake]] = {}
        self.compared_at = time.monotonic()
        """When all subscribers last looked at the catalogue, on the monotonic clock."""

    def subscribe(self, channel: str, wake: Wake) -> None:
        """Register `wake` for a channel; to be called before `run`. Order of registration is order of calls."""
        self._subscribers.setdefault(channel, []).append(wake)

    async def run(self) -> None:
        """Listen until cancelled; reconnects with a pause when the server goes away."""
        while True:
            try:
                await self._listen()
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                log.warning("listener_reconnects", error=str(error))
                await asyncio.sleep(min(1.0, self._tick))

    async def _listen(self) -> None:
        arrived: asyncio.Queue[tuple[str, str]] = asyncio.Queue(maxsize=10_000)
        lost = asyncio.Event()

        def notified(_connection: Any, _pid: int, channel: str, payload: object) -> None:
            # A full queue loses only wake-ups; the next tick makes them good.
            if not arrived.full():
                arrived.put_nowait((channel, str(payload)))

        connection = await asyncpg.connect(self._dsn, timeout=10)
        try:
            connection.add_termination_listener(lambda _connection: lost.set())
            for channel in self._subscribers:
                await connection.add_listener(channel, notified)
            await self._wake_all()
            loop = asyncio.get_running_loop()
            next_tick = loop.time() + self._tick
            while not lost.is_set():
                try:
                    # Not `asyncio.wait_for`: on Python 3.11 it loses a cancellation that arrives with a notification.
                    async with asyncio.timeout(max(0.0, next_tick - loop.time())):
                        channel, payload = await arrived.get()
                except TimeoutError:
                    next_tick = loop.time() + self._tick
                    await self._wake_all()
                    continue
                for wake in self._subscribers[channel]:
                    await wake(payload)
        finally:
            connection.terminate()

    async def _wake_all(self) -> None:
        for wakes in self._subscribers.values():
            for wake in wakes:
                await wake("")
        self.compared_at = time.monotonic()
