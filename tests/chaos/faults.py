"""What is broken, how, and which reads must not notice."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import redis
from sqlalchemy.engine import make_url

from deploy.data_folder import DataFolder
from deploy.stack.services import KINDS
from deploy.stack.stack import MARKER

READS = ("page", "file", "metadata")

_HELD = 6.0
"""Seconds for which a server stands still."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to break something.

    Attributes:
        name: what is done, for the table.
        do: does it; returns when it is over, for what lasts.
        unnoticed: the readers that must be answered right all the time.
    """

    name: str
    do: Callable[[Site], None]
    unnoticed: tuple[str, ...] = READS


@dataclass(frozen=True, slots=True)
class Site:
    """The data folder of a running real profile."""

    data: Path

    def process(self, name: str) -> int:
        """Return the id of a process of ours: `upload-1`."""
        return int((self.data / "run" / name / "pid").read_text(encoding="ascii"))

    def server(self, name: str) -> int:
        """Return the id of a server: `postgres`, `redis` or `s3`."""
        path = {"postgres": "postgres/cluster/postmaster.pid", "redis": "redis/pid", "s3": "s3/data/pid"}[name]
        return int((self.data / "servers" / path).read_text(encoding="ascii").split("\n", 1)[0])

    def redis(self) -> redis.Redis:
        """Return a client of the queue."""
        return redis.Redis.from_url(DataFolder(self.data, MARKER).running().queue)

    def execute(self, statement: str) -> None:
        """Run a statement in the catalogue."""
        url = make_url(DataFolder(self.data, MARKER).running().database).set(drivername="postgresql")

        async def run() -> None:
            connection = await asyncpg.connect(url.render_as_string(hide_password=False))
            try:
                await connection.execute(statement)
            finally:
                await connection.close()

        asyncio.run(run())


def _kill(*names: str) -> Callable[[Site], None]:
    def do(site: Site) -> None:
        for pid in [site.process(name) for name in names]:
            os.kill(pid, signal.SIGKILL)

    return do


def _kill_server(name: str, number: signal.Signals = signal.SIGKILL) -> Callable[[Site], None]:
    return lambda site: os.kill(site.server(name), number)


def _hold_server(name: str) -> Callable[[Site], None]:
    def do(site: Site) -> None:
        pid = site.server(name)
        os.kill(pid, signal.SIGSTOP)
        try:
            time.sleep(_HELD)
        finally:
            os.kill(pid, signal.SIGCONT)

    return do


def _empty_redis(site: Site) -> None:
    site.redis().flushall()


_CUT = "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and datname is not null"

_EVERYTHING = [f"{kind}-{number}" for kind in KINDS for number in (1, 2)]

FAULTS = (
    *(Fault(f"{kind}: one of two killed", _kill(f"{kind}-1")) for kind in KINDS),
    Fault("signing: both killed", _kill("signing-1", "signing-2")),
    Fault("worker: both killed", _kill("worker-1", "worker-2")),
    Fault("Redis: emptied", _empty_redis),
    Fault("Redis: killed", _kill_server("redis")),
    Fault(f"Redis: stands still {_HELD:.0f} s", _hold_server("redis")),
    Fault("Postgres: all connections cut", lambda site: site.execute(_CUT)),
    Fault("Postgres: restarted", _kill_server("postgres", signal.SIGINT)),
    Fault("Postgres: crashed", _kill_server("postgres", signal.SIGQUIT)),
    Fault("S3: killed", _kill_server("s3")),
    Fault(f"S3: stands still {_HELD:.0f} s", _hold_server("s3")),
    Fault("all of our processes killed", _kill(*_EVERYTHING), unnoticed=()),
)
"""In the order in which they are done, one after the other under the same load."""
