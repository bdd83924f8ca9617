"""The embedded Postgres and Valkey: made, reused, ended, killed; and what stands in their way.

Source: infrastructure facts, "Embedded Postgres", "Valkey and arq".
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from redis.asyncio import Redis
from sqlalchemy.engine import make_url

from deploy.errors import LaunchError
from deploy.postgres import PostgresServer
from deploy.processes import ServerCommand, start_server
from deploy.valkey import ValkeyServer
from tests.support.processes import ROOT, until_gone
from tests.support.servers import server_folder

_HOLD = """
import asyncio, json, sys
from pathlib import Path
from deploy.postgres import PostgresServer
from deploy.valkey import ValkeyServer

async def main():
    servers = PostgresServer(Path(sys.argv[1]) / "postgres"), ValkeyServer(Path(sys.argv[1]) / "valkey")
    await asyncio.gather(*(server.start() for server in servers))
    print(json.dumps([server._server.pid for server in servers]), flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path, for sockets."""
    with server_folder() as path:
        yield path


async def ask(url: str, query: str) -> object:
    """Return one value from a Postgres."""
    connection = await asyncpg.connect(make_url(url).set(drivername="postgresql").render_as_string(hide_password=False))
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


def killed_holder(folder: Path) -> set[int]:
    """Start both servers in a process of its own, kill that process, and return the servers' process ids."""
    argv = [sys.executable, "-c", _HOLD, str(folder)]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        pids = set(json.loads(holder.stdout.readline()))
        holder.kill()
    return pids


async def test_postgres_is_made_once_and_reused(folder: Path) -> None:
    """What was written before a stop is there after the next start, under the same password."""
    server = PostgresServer(folder)
    await server.start()
    url = server.url
    await ask(url, "create table kept as select 42 as value")
    await server.stop()
    again = PostgresServer(folder)
    await again.start()
    try:
        assert again.url == url
        assert await ask(again.url, "select value from kept") == 42
    finally:
        await again.stop()


async def test_postgres_is_durable_and_the_application_is_no_superuser(folder: Path) -> None:
    """Commits are synced, text is UTF-8 with one collation everywhere, and the role owns its database alone."""
    server = PostgresServer(folder)
    await server.start()
    try:
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            assert await ask(server.url, f"show {setting}") == "on"
        assert await ask(server.url, "show server_encoding") == "UTF8"
        assert (
            await ask(server.url, "select datlocale from pg_database where datname = current_database()") == "C.UTF-8"
        )
        assert await ask(server.url, "select rolsuper from pg_roles where rolname = current_user") is False
        assert await ask(server.url, "show max_connections") == "60"
    finally:
        await server.stop()


async def test_postgres_wants_the_password_and_listens_on_no_port(folder: Path) -> None:
    """The socket lies in a closed folder and still asks for a password; there is no TCP."""
    server = PostgresServer(folder)
    await server.start()
    try:
        wrong = make_url(server.url).set(password="wrong").render_as_string(hide_password=False)
        with pytest.raises(asyncpg.InvalidPasswordError):
            await ask(wrong, "select 1")
        assert await ask(server.superuser_url, "show listen_addresses") == ""
        assert stat.S_IMODE((folder / "run").stat().st_mode) == 0o700
        for name in ("password", "superuser-password", "postgres.log"):
            assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
    finally:
        await server.stop()


async def test_a_path_too_long_for_a_socket_is_served_on_loopback(folder: Path) -> None:
    """Both servers fall back to a port of 127.0.0.1, with a password."""
    deep = folder / ("x" * 100)
    postgres, valkey = PostgresServer(deep / "p"), ValkeyServer(deep / "v")
    await asyncio.gather(postgres.start(), valkey.start())
    try:
        assert make_url(postgres.url).host == "127.0.0.1"
        assert await ask(postgres.url, "select 1") == 1
        assert valkey.url.startswith("redis://:")
        async with Redis.from_url(valkey.url) as redis:
            assert await redis.ping()
    finally:
        await asyncio.gather(postgres.stop(), valkey.stop())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root meets folders that are closed to the server's user")
async def test_root_runs_postgres_as_somebody_else_also_below_a_closed_folder(folder: Path) -> None:
    """Started by root, Postgres is not root, and reaches a data folder whose parents are closed to it."""
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    before = stat.S_IMODE(closed.stat().st_mode)
    server = PostgresServer(closed / "postgres")
    await server.start()
    try:
        assert await ask(server.url, "select 1") == 1
        assert (closed / "postgres" / "cluster").stat().st_uid != 0
        assert stat.S_IMODE(closed.stat().st_mode) == before
    finally:
        await server.stop()


async def test_a_killed_process_takes_its_servers_along(folder: Path) -> None:
    """kill -9 of the process that started them ends both servers."""
    assert until_gone(killed_holder(folder)) == set()


async def test_a_start_right_after_a_kill_finds_everything(folder: Path) -> None:
    """The next start waits for what still shuts down, and reads what it left."""
    killed_holder(folder)
    postgres, valkey = PostgresServer(folder / "postgres"), ValkeyServer(folder / "valkey")
    await asyncio.gather(postgres.start(), valkey.start())
    try:
        assert await ask(postgres.url, "select 1") == 1
    finally:
        await asyncio.gather(postgres.stop(), valkey.stop())


async def test_a_pid_file_of_a_process_of_somebody_else_is_no_obstacle(folder: Path) -> None:
    """Process ids are given out again: one that is not a server in this folder is left alone."""
    server = PostgresServer(folder)
    await server.start()
    await server.stop()
    bystander = await asyncio.create_subprocess_exec("sleep", "60")
    (folder / "cluster" / "postmaster.pid").write_text(f"{bystander.pid}\n")
    try:
        await server.start()
        assert await ask(server.url, "select 1") == 1
        assert bystander.returncode is None
    finally:
        await server.stop()
        bystander.kill()
        await bystander.wait()


async def test_a_start_that_was_killed_half_way_is_begun_again(folder: Path) -> None:
    """Files of a database that was not finished are no database."""
    (folder / "cluster.new").mkdir()
    (folder / "cluster.new" / "PG_VERSION").write_text("18\n")
    server = PostgresServer(folder)
    await server.start()
    try:
        assert await ask(server.url, "select 1") == 1
    finally:
        await server.stop()


async def test_a_database_of_another_version_is_refused(folder: Path) -> None:
    """A cluster of another major version is not touched, and the line says what to do."""
    server = PostgresServer(folder)
    await server.start()
    await server.stop()
    (folder / "cluster" / "PG_VERSION").write_text("16\n")
    with pytest.raises(LaunchError, match="was made by Postgres 16, this is Postgres 18: dump it with the version"):
        await server.start()


async def test_a_server_that_cannot_start_tells_its_last_line(folder: Path) -> None:
    """What the server logged is in the error."""
    server = PostgresServer(folder)
    await server.start()
    await server.stop()
    (folder / "cluster" / "postgresql.conf").write_text("nonsense = 1\n")
    with pytest.raises(LaunchError, match=r"Postgres ended: .*postgresql.conf.* \(log: "):
        await server.start()
    await server.stop()


async def test_a_server_that_ends_by_itself_is_noticed(folder: Path) -> None:
    """`wait` raises when a server ends that nobody stopped."""
    server = ValkeyServer(folder)
    await server.start()
    os.kill(int((folder / "pid").read_text()), signal.SIGKILL)
    with pytest.raises(LaunchError, match="Valkey ended"):
        await asyncio.wait_for(server.wait(), 10)
    await server.stop()


async def test_valkey_keeps_what_it_was_given_across_a_stop(folder: Path) -> None:
    """Its log of commands is read again at the next start."""
    for expected in (None, b"1"):
        server = ValkeyServer(folder)
        await server.start()
        try:
            async with Redis.from_url(server.url) as redis:
                assert await redis.get("kept") == expected
                await redis.set("kept", "1")
        finally:
            await server.stop()


async def test_a_watcher_ends_a_server_where_the_kernel_cannot_be_asked(folder: Path) -> None:
    """Without a parent-death signal, a watcher sends it when the parent's end of the pipe closes."""
    command = ServerCommand("sleep", ("/bin/sleep", "60"), folder / "log", signal.SIGTERM)
    server = await start_server(command, watch=True)
    assert server._process.stdin is not None
    server._process.stdin.close()
    await asyncio.wait_for(server.wait(), 10)
