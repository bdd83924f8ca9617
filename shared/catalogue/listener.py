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

from shared.catalogue.engine import CATALOGUE_AWAY

log = structlog.get_logger()

Wake = Callable[[str], Awaitable[None]]
"""Called with a notification's payload, or with "" on a tick (something may have been missed). Must be quick; raises
only what means that the catalogue is away."""


_PAUSE = 0.2
"""Seconds before it listens again after its connection was cut."""

_CUT = ("", "")
"""What is put among the notifications when the connection is lost; no channel has this name."""


class Listener:
    """Calls subscribers when a channel is notified, and all of them every `tick`."""

    def __init__(self, database_url: str, *, tick: timedelta) -> None:
        url = make_url(database_url)
        self._dsn = url.set(drivername="postgresql").render_as_string(hide_password=False)
        self._tick = tick.total_seconds()
        self._subscribers: dict[str, list[Wake]] = {}
        self._away = False
        self.compared_at = time.monotonic()
        """When all subscribers last looked at the catalogue, on the monotonic clock."""

    def subscribe(self, channel: str, wake: Wake) -> None:
        """Register `wake` for a channel; to be called before `run`. Order of registration is order of calls."""
        self._subscribers.setdefault(channel, []).append(wake)

    async def run(self) -> None:
        """Listen until cancelled; reconnects with a pause when the server goes away, and looks at once when it is
        back. One line is logged for each time that it goes."""
        while True:
            try:
                await self._listen()
                log.warning("listener_reconnects", error="the connection was cut")
                # What cuts connections as soon as they are made must not be asked again without a pause.
                await asyncio.sleep(min(_PAUSE, self._tick))
            except CATALOGUE_AWAY as error:
                if not self._away:
                    log.warning("listener_waits_for_catalogue", error=str(error)[:300])
                self._away = True
                await asyncio.sleep(min(1.0, self._tick))

    async def _listen(self) -> None:
        arrived: asyncio.Queue[tuple[str, str]] = asyncio.Queue(maxsize=10_000)
        lost = asyncio.Event()

        def notified(_connection: Any, _pid: int, channel: str, payload: object) -> None:
            # A full queue loses only wake-ups; the next tick makes them good.
            if not arrived.full():
                arrived.put_nowait((channel, str(payload)))

        def cut(_connection: Any) -> None:
            # Whoever waits for a notification is to learn of it now, not at the next tick.
            lost.set()
            if not arrived.full():
                arrived.put_nowait(_CUT)

        connection = await asyncpg.connect(self._dsn, timeout=10)
        try:
            connection.add_termination_listener(cut)
            for channel in self._subscribers:
                await connection.add_listener(channel, notified)
            await self._wake_all()
            if self._away:
                log.info("listener_is_back")
                self._away = False
            loop = asyncio.get_running_loop()
            next_tick = loop.time() + self._tick
            while not lost.is_set():
                try:
                    # Not `asyncio.wait_for`: on Python 3.11 it loses a cancellation that arrives with a notification.
                    async with asyncio.timeout(max(0.0, next_tick - loop.time())):
                        some = [await arrived.get()]
                except TimeoutError:
                    next_tick = loop.time() + self._tick
                    await self._wake_all()
                    continue
                # They come together, as what is done together commits.
                some += [arrived.get_nowait() for _ in range(arrived.qsize())]
                for channel, payload in some:
                    for wake in self._subscribers.get(channel, ()):
                        await wake(payload)
        finally:
            connection.terminate()

    async def _wake_all(self) -> None:
        for wakes in self._subscribers.values():
            for wake in wakes:
                await wake("")
        self.compared_at = time.monotonic()
