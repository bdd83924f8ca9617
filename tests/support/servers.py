"""Real servers for tests: Postgres and Valkey as the embedded profile starts them, in folders of their own."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

import asyncpg
from sqlalchemy.engine import URL, make_url

from shared.catalogue import migrate

TEMPLATE = "template_countermark"
"""Database with the catalogue's tables; each test gets a copy of it."""


class Server(Protocol):
    """A server of `deploy`."""

    async def start(self) -> None:
        """Start it; returns when it answers."""

    async def stop(self) -> None:
        """End it."""


S = TypeVar("S", bound=Server)


@contextmanager
def server_folder() -> Iterator[Path]:
    """Give a short folder: a unix socket's path has a narrow limit, which pytest's own folders exceed."""
    with tempfile.TemporaryDirectory(prefix="cm-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@contextmanager
def running(make: Callable[[Path], S]) -> Iterator[S]:
    """Run a server while the context is open, for fixtures that outlive a test's event loop."""
    with server_folder() as folder, asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        server = make(folder)
        runner.run(server.start())
        try:
            yield server
        finally:
            runner.run(server.stop())


async def make_template(admin_url: str) -> None:
    """Make the database that `copy_database` copies."""
    await execute(admin_url, f"CREATE DATABASE {TEMPLATE}")
    await migrate.upgrade(_with_database(admin_url, TEMPLATE).render_as_string(hide_password=False))


async def copy_database(admin_url: str, name: str, template: str = TEMPLATE) -> str:
    """Make a fresh database, as a rule with the catalogue's tables, and return its URL."""
    await execute(admin_url, f"CREATE DATABASE {name} TEMPLATE {template}")
    return _with_database(admin_url, name).render_as_string(hide_password=False)


async def drop_database(admin_url: str, name: str) -> None:
    """Remove a database; connections to it are cut."""
    await execute(admin_url, f"DROP DATABASE {name} WITH (FORCE)")


async def execute(url: str, statement: str) -> None:
    """Run one statement on a connection of its own."""
    dsn = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def _with_database(url: str, name: str) -> URL:
    return make_url(url).set(database=name)
