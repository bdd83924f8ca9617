"""Starts and ends the servers that the embedded profile keeps as children, and clears away those a killed run left."""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from deploy.errors import LaunchError

SOCKET_PATH_LIMIT = 104
"""Bytes a unix socket's path may have, with its closing zero; 108 on Linux, 104 on macOS."""

_LOG_LIMIT = 10 << 20
"""Bytes of a server's log kept from earlier runs."""

_PR_SET_PDEATHSIG = 1
"""Linux prctl(2): which signal to get when the parent ends."""

_CHILD = Path(__file__).with_name("child.py")


@dataclass(frozen=True, slots=True)
class ServerUser:
    """Whom a server runs as when we are root; `reach`: it must pass folders that are closed to it."""

    uid: int
    gid: int
    reach: bool


@dataclass(frozen=True, slots=True)
class ServerCommand:
    """How a server is started.

    Attributes:
        name: for people.
        argv: the program, and its arguments, which everybody on this machine can read.
        log: file for what it writes.
        death_signal: what it gets when we die.
        user: whom it runs as; None for ourselves.
        folder: its working folder; None for ours.
        environment: all of its environment; None for ours.
    """

    name: str
    argv: tuple[str, ...]
    log: Path
    death_signal: signal.Signals
    user: ServerUser | None = None
    folder: Path | None = None
    environment: Mapping[str, str] | None = None


class Server:
    """A running child. It has a session of its own, so that Ctrl-C reaches us alone and we end it in order."""

    def __init__(self, command: ServerCommand, process: asyncio.subprocess.Process) -> None:
        self._command = command
        self._process = process

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether it is no longer running."""
        return self._process.returncode is not None

    async def wait(self) -> int:
        """Return its exit code when it ends; minus a signal's number when that ended it."""
        return await self._process.wait()

    def end_remains(self) -> None:
        """Kill what an ended server left behind in its session: workers outlive a master that was killed."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    async def stop(self, *steps: tuple[signal.Signals, float]) -> None:
        """End it: each signal in turn, each with its seconds of patience, then SIGKILL."""
        for step, patience in steps:
            if self.ended:
                return
            self._process.send_signal(step)
            try:
                await asyncio.wait_for(self._process.wait(), patience)
            except TimeoutError:
                continue
        if not self.ended:
            self._process.kill()
            await self._process.wait()

    def failure(self) -> LaunchError:
        """Return the error for a server that ended by itself: by which signal, if by one, and its log's last line."""
        code, log = self._process.returncode, self._command.log
        killed = f"by {signal.Signals(-code).name}; it last said: " if code is not None and code < 0 else ""
        return LaunchError(f"{self._command.name} ended: {killed}{last_line(log)} (log: {log})")


class OwnServer:
    """A server that a deployment keeps for itself: however it is started, it is waited for and ended alike.

    Args:
        log: the file that it writes.
        ending: signals that end it in order, each with its seconds of patience.
    """

    def __init__(self, log: Path, *ending: tuple[signal.Signals, float]) -> None:
        self._log = log
        self._ending = ending
        self._server: Server | None = None

    @property
    def log(self) -> Path:
        """File with what it wrote."""
        return self._log

    @property
    def pid(self) -> int:
        """Process id of the running server."""
        return self._running().pid

    async def wait(self) -> None:
        """Return never, while the server runs.

        Raises:
            LaunchError: the server ended by itself.
        """
        server = self._running()
        await server.wait()
        raise server.failure()

    async def stop(self) -> None:
        """End the server in order; connections are cut. Nothing happens when it does not run."""
        if self._server is not None:
            await self._server.stop(*self._ending)
            self._server = None

    def _running(self) -> Server:
        assert self._server is not None, "start the server first"
        return self._server


def end_with_parent() -> None:
    """Ask the kernel for SIGTERM when the process that started this one ends; elsewhere than on Linux do nothing."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)


async def start_server(command: ServerCommand, *, watch: bool = sys.platform != "linux") -> Server:
    """Start a server as a child that ends with us. To be called on the main thread: the kernel watches for its end.

    Args:
        watch: leave a watcher process instead of asking the kernel; for systems whose kernel cannot be asked.
    """
    user = command.user
    order = {
        "parent": os.getpid(),
        "signal": int(command.death_signal),
        "argv": command.argv,
        "watch": watch,
        "user": None if user is None else [user.uid, user.gid, user.reach],
    }
    with _open_log(command.log) as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-I", "-S", str(_CHILD), json.dumps(order)),
            stdin=subprocess.PIPE if watch else subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd=command.folder,
            env=command.environment,
        )
    return Server(command, process)


def last_line(log: Path) -> str:
    """Return the last line of a server's log, for an error message."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 4096))
            lines = file.read().decode(errors="replace").split("\n")
    except OSError:
        return "it left no log"
    return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "it logged nothing")


def server_user(folder: Path, owned: Path) -> ServerUser | None:
    """Return whom a server that refuses to run as root runs as: None for ourselves when we are not root.

    Args:
        folder: what the server must be able to reach.
        owned: what belongs to the server, if it exists already: its owner is then kept.

    Raises:
        LaunchError: `owned` belongs to somebody else, or there is no unprivileged user.
    """
    owner = owned.stat().st_uid if owned.exists() else None
    if os.geteuid() != 0:
        if owner not in (None, os.geteuid()):
            raise LaunchError(f"{owned} belongs to another user; run as that user or choose another data folder")
        return None
    try:
        account = pwd.getpwuid(owner) if owner else pwd.getpwnam("nobody")
    except KeyError:
        raise LaunchError("Postgres does not run as root and there is no user 'nobody'; run as another user") from None
    return ServerUser(account.pw_uid, account.pw_gid, not reachable(folder))


def reachable(folder: Path) -> bool:
    """Return whether any user may pass through all of a path's folders."""
    path = folder.resolve()
    return all(part.stat().st_mode & stat.S_IXOTH for part in (path, *path.parents))


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def free_port() -> int:
    """Return a TCP port of the loopback interface that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def end_orphan(pid_file: Path, folder: Path, *steps: tuple[signal.Signals, float]) -> None:
    """End a server that a killed run left behind, and remove its pid file.

    A pid file alone proves nothing, since ids are given out again: only a process that runs in `folder` is touched.

    Raises:
        LaunchError: it does not end.
    """
    pid = _first_number(pid_file)
    if pid is None:
        return
    for step, patience in (*steps, (signal.SIGKILL, 5.0)):
        # It may be ending already, by the signal it got when its parent died: it is given its time before each signal.
        if await _gone(pid, folder, 0.0 if step is signal.SIGKILL else 1.0):
            break
        os.kill(pid, step)
        if await _gone(pid, folder, patience):
            break
    else:
        raise LaunchError(f"process {pid} of an earlier run in {folder} does not end; end it by hand")
    await asyncio.to_thread(pid_file.unlink, missing_ok=True)


async def _gone(pid: int, folder: Path, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while _runs_in(pid, folder):
        if time.monotonic() >= until:
            return False
        await asyncio.sleep(0.02)
    return True


def _runs_in(pid: int, folder: Path) -> bool:
    """Whether the process exists and has `folder` as its working folder (Linux) or on its command line (elsewhere)."""
    if Path("/proc/self/cwd").exists():
        try:
            # readlink, since following the link would need the right to pass the folder.
            return Path(f"/proc/{pid}/cwd").readlink() == folder.resolve()
        except OSError:
            return False
    listing = shutil.which("ps") or "/bin/ps"
    found = subprocess.run([listing, "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False)  # noqa: S603
    return str(folder) in found.stdout


def _first_number(pid_file: Path) -> int | None:
    try:
        return int(pid_file.read_text(encoding="ascii").split("\n", 1)[0])
    except (OSError, ValueError):
        return None


def _open_log(path: Path) -> BinaryIO:
    """Open a log for its owner's eyes; what a statement held may stand in it."""
    fresh = not path.exists() or path.stat().st_size >= _LOG_LIMIT
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | (os.O_TRUNC if fresh else 0)
    return os.fdopen(os.open(path, flags, 0o600), "wb")
