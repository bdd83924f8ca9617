"""Starts the measured servers, waits until they answer, and ends them with all their descendants."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bench.errors import NotMeasured
from bench.machine import alive, tree

HOST = "127.0.0.1"

_START_PATIENCE = 120.0
"""Seconds a server gets to answer for the first time."""

_STOP_PATIENCE = 30.0
"""Seconds a server gets to end by itself."""

_POLL = 0.01
"""Seconds between two looks at whether a server answers; bounds the error of a measured start."""


@dataclass(frozen=True, slots=True)
class Command:
    """How a server is started: it is ready when `ready`, a path on its `port`, answers 200."""

    name: str
    argv: tuple[str, ...]
    log: Path
    port: int
    ready: str


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answers; `seconds_to_ready` counts from just before its process was made."""

    pid: int
    port: int
    seconds_to_ready: float

    def pids(self) -> list[int]:
        """Return its processes, descendants included."""
        return tree(self.pid)


@contextmanager
def running(command: Command) -> Iterator[Running]:
    """Run a server while the context is open.

    Raises:
        NotMeasured: it does not start, or leaves processes behind when it ends.
    """
    with command.log.open("ab") as log:
        begun = time.perf_counter()
        process = subprocess.Popen(
            command.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    try:
        seconds = _wait_ready(command, process, begun)
        yield Running(process.pid, command.port, seconds)
    finally:
        left = _stop(process)
    if left:
        raise NotMeasured(f"{command.name} left {left} processes running when it ended; they were killed")


def free_port() -> int:
    """Return a TCP port of the loopback interface that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _wait_ready(command: Command, process: subprocess.Popen[bytes], begun: float) -> float:
    while not _answers(command.port, command.ready):
        if process.poll() is not None:
            raise NotMeasured(f"{command.name} ended with {process.returncode}: {_tail(command.log)}")
        if time.perf_counter() - begun > _START_PATIENCE:
            raise NotMeasured(f"{command.name} did not answer within {_START_PATIENCE:.0f} s: {_tail(command.log)}")
        time.sleep(_POLL)
    return time.perf_counter() - begun


def _answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _stop(process: subprocess.Popen[bytes]) -> int:
    """End a server; returns how many of its processes had to be killed."""
    pids = tree(process.pid)
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_PATIENCE)
    # What is told to end by its parent's death may need a moment more.
    until = time.monotonic() + 2.0
    while (left := alive(pids)) and time.monotonic() < until:
        time.sleep(_POLL)
    for pid in left:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()
    return len(left)


def _tail(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return " / ".join(lines[-3:])[-600:] or "it printed nothing"
