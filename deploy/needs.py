"""What each process needs, how it is asked for, and what a start does until it is there.

A reader (index, download) goes on with what it has in memory and store when everything else is down: architecture
section 5.7. So its readiness names only what another replica would do better: its clock, and that it is not stopping.
What all replicas share is reported, and takes none of them out of the ingress.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import structlog
from redis.exceptions import RedisError
from sqlalchemy import text

from deploy.errors import LaunchError
from deploy.supervisor import StopRequest
from shared.catalogue import schema
from shared.catalogue.clock_watch import ClockWatch, ClockWrong
from shared.catalogue.engine import CATALOGUE_AWAY
from shared.catalogue.faults import catalogue_fault
from shared.http import CHECK_TIMEOUT, Check, NotReady
from shared.jobs.queue import QueueUnavailable
from shared.jobs.redis_faults import redis_fault
from shared.objects.interface import Key, ObjectNotFound, ObjectStore, ObjectStoreError
from shared.resources import Resources
from shared.service import Service

log = structlog.get_logger()

READERS = ("index", "download")
"""Processes that answer reads: ready while they have anything to answer from."""

_PROBE = Key("staging/ping")
"""A key that is looked for to see whether a store can be read; it need not be there."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0
"""Seconds between two tries of a start."""


@dataclass(frozen=True, slots=True)
class Needs:
    """Name of a need -> its check: what a start waits for in this order, what `/readyz` refuses by, what it reports."""

    start: Mapping[str, Check]
    required: Mapping[str, Check]
    reported: Mapping[str, Check] = field(default_factory=dict)


def needs_of(service: Service, resources: Resources, watch: ClockWatch, stop: StopRequest) -> Needs:
    """Return what the process of a service needs; `worker` and `gateway` count as services here."""
    asked = _Asked(resources, watch, stop)
    reader = service.name in READERS
    catalogue = {"catalogue": asked.catalogue_read if reader else asked.catalogue_written}
    start: dict[str, Check] = {**catalogue, "schema": asked.schema, "clock": asked.clock_now}
    more: dict[str, Check] = {}
    if reader:
        more |= {"objects": asked.read(public=True), "private objects": asked.read(public=False)}
    elif service.name == "gateway":
        more |= {"redis": asked.redis}
    else:
        # The one job of upload is to hold a file that is not served anyway: uploads go on without the queue.
        if service.handlers and service.name != "upload":
            more |= {"queue": asked.queue}
        more |= {"objects": asked.written(public=True), "private objects": asked.written(public=False)}
    more |= service.checks
    running: dict[str, Check] = {"process": asked.process, "clock": asked.clock}
    if reader:
        return Needs(start | more, running, catalogue | more)
    return Needs(start | more, running | catalogue | more)


async def until_there(checks: Mapping[str, Check], patience: float) -> None:
    """Return when everything can be used; what may come up by itself is waited for.

    One line is logged for each different fault, not for each try.

    Args:
        patience: seconds for all of them together.

    Raises:
        LaunchError: something stays away, or is wrong in a way that waiting does not mend.
    """
    loop = asyncio.get_running_loop()
    until, said = loop.time() + patience, ""
    for name, check in checks.items():
        pause = _FIRST_PAUSE
        while (fault := await _fault(name, check)) is not None:
            if not fault.passing:
                raise LaunchError(str(fault))
            if loop.time() >= until:
                raise LaunchError(f"{fault} (waited {patience:g} seconds; starting.patience sets how long)")
            if str(fault) != said:
                log.warning("start_waits", resource=name, error=str(fault), seconds=round(until - loop.time(), 1))
                said = str(fault)
            await asyncio.sleep(min(pause, max(0.0, until - loop.time())))
            pause = min(pause * 2, _LONGEST_PAUSE)


async def _fault(name: str, check: Check) -> NotReady | None:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT):
            await check()
    except NotReady as fault:
        return fault
    except CATALOGUE_AWAY as error:
        if not isinstance(error, TimeoutError):
            return _of_catalogue(error)
        return NotReady(f"{name} does not answer within {CHECK_TIMEOUT:g} seconds: start it, or correct its settings")
    else:
        return None


@dataclass(frozen=True, slots=True)
class _Asked:
    """The checks; each raises `NotReady`."""

    resources: Resources
    watch: ClockWatch
    stop: StopRequest

    async def process(self) -> None:
        """Refuse when the process is about to end."""
        if self.stop.asked:
            raise NotReady("this process is stopping")

    async def catalogue_read(self) -> None:
        """Ask the catalogue anything."""
        await self._query("select 1")

    async def catalogue_written(self) -> None:
        """Ask the catalogue whether it takes changes."""
        if await self._query("select current_setting('transaction_read_only')") == "on":
            raise NotReady("Postgres is read-only (a standby?): let database.url name the primary server")

    async def schema(self) -> None:
        """Compare the schema with this version."""
        try:
            async with self.resources.engine.connect() as connection:
                await schema.check(connection)
        except schema.SchemaMismatch as error:
            raise NotReady(str(error), passing=False) from error
        except CATALOGUE_AWAY as error:
            raise _of_catalogue(error) from error

    async def clock_now(self) -> None:
        """Compare the clocks now."""
        try:
            await self.watch.look()
        except CATALOGUE_AWAY as error:
            raise _of_catalogue(error) from error
        try:
            await self.watch.check()
        except ClockWrong as error:
            raise NotReady(str(error), passing=False) from error

    async def clock(self) -> None:
        """Say what the last look at the clocks found."""
        try:
            await self.watch.check()
        except ClockWrong as error:
            raise NotReady(str(error)) from error

    async def queue(self) -> None:
        """Ping the queue."""
        try:
            await self.resources.queue.ping()
        except QueueUnavailable as error:
            raise NotReady(str(error), passing=error.passing) from error

    async def redis(self) -> None:
        """Ping Redis, where sessions and counters of limits are."""
        try:
            await self.resources.redis.ping()
        except (RedisError, OSError) as error:
            text, passing = redis_fault(error)
            raise NotReady(text, passing=passing) from error

    def written(self, *, public: bool) -> Check:
        """Return the check that a side of the store takes objects."""
        return self._telling(self.resources.objects.side(public=public).ping)

    def read(self, *, public: bool) -> Check:
        """Return the check that a side of the store can be read, without the right to write."""
        store = self.resources.objects.side(public=public)

        async def read() -> None:
            await _look_into(store)

        return self._telling(read)

    async def _query(self, statement: str) -> object:
        try:
            async with self.resources.engine.connect() as connection:
                return await connection.scalar(text(statement))
        except CATALOGUE_AWAY as error:
            raise _of_catalogue(error) from error

    @staticmethod
    def _telling(check: Check) -> Check:
        async def telling() -> None:
            try:
                await check()
            except ObjectStoreError as error:
                raise NotReady(str(error)) from error

        return telling


async def _look_into(store: ObjectStore) -> None:
    with suppress(ObjectNotFound):
        async with store.open(_PROBE):
            pass


def _of_catalogue(error: BaseException) -> NotReady:
    fault = catalogue_fault(error)
    if fault is None:
        return NotReady(f"the catalogue cannot be used ({type(error).__name__}): see the log of Postgres")
    return NotReady(fault.text, passing=fault.passing)
