"""Countermark as its user runs it: the program, its output, its children; for end-to-end tests."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from deploy.stack.servers import PUBLIC_BUCKET

ROOT = Path(__file__).parents[2]
"""The checkout."""

START_TIMEOUT = 60.0
"""Seconds a start may take on a busy machine; how fast it has to be is for the benchmark."""

LAST_LINE = "for every index here."
"""The end of the banner where this machine has all keys."""

STACK_TIMEOUT = 110.0
"""The same for the real profile, whose twelve processes load at once."""


STACK_END = 120.0
"""Seconds in which the real profile ends, whose processes each let jobs and requests under way finish."""


def program(name: str) -> str:
    """Return the path of a program of this environment."""
    return str(Path(sys.executable).with_name(name))


def run(
    *argv: str, environment: dict[str, str] | None = None, timeout: float = START_TIMEOUT
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, with the variables of this process that are not ours, and `environment`."""
    return subprocess.run(
        argv,
        env=clean_environment() | (environment or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )


def server_command(
    *arguments: str, environment: dict[str, str] | None = None, timeout: float = START_TIMEOUT
) -> subprocess.CompletedProcess[str]:
    """Run `countermark-server` to its end."""
    return run(program("countermark-server"), *arguments, environment=environment, timeout=timeout)


def clean_environment() -> dict[str, str]:
    """Return the environment without settings of Countermark."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COUNTERMARK_")}


@dataclass(slots=True)
class Process:
    """A program that keeps running; what it writes goes to `log`.

    Attributes:
        patience: seconds that `end` gives it before it is killed.
    """

    argv: tuple[str, ...]
    log: Path
    environment: dict[str, str] = field(default_factory=dict)
    patience: float = 20.0
    _running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, in a process group of its own as a shell does."""
        with self.log.open("wb") as log:
            self._running = subprocess.Popen(
                self.argv,
                env=clean_environment() | self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._started.pid

    @property
    def runs(self) -> bool:
        """Whether it was started and has not ended."""
        return self._running is not None and self._running.poll() is None

    @property
    def output(self) -> str:
        """What it wrote so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def until_written(self, text: str, seconds: float = START_TIMEOUT) -> None:
        """Return when it wrote `text`; fails when it ended before."""
        until = time.monotonic() + seconds
        while text not in self.output:
            assert self._started.poll() is None, f"{self.argv} ended:\n{self.output}"
            assert time.monotonic() < until, f"{self.argv} did not write {text!r}:\n{self.output}"
            time.sleep(0.02)

    def press_ctrl_c(self) -> None:
        """Send SIGINT to the whole process group, as a terminal does."""
        os.killpg(self.pid, signal.SIGINT)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process alone."""
        self._started.send_signal(number)

    def wait(self, seconds: float = 20.0) -> int:
        """Return the exit code once it ended."""
        return self._started.wait(seconds)

    def family(self) -> set[int]:
        """Return the ids of the process and all its descendants."""
        found = {self.pid}
        children = _children()
        while more := {child for parent in found for child in children.get(parent, ())} - found:
            found |= more
        return found

    def end(self) -> None:
        """End it if it still runs."""
        if self._running is not None and self.runs:
            self._running.terminate()
            try:
                self._running.wait(self.patience)
            except subprocess.TimeoutExpired:
                self._running.kill()
                self._running.wait()

    @property
    def _started(self) -> subprocess.Popen[bytes]:
        assert self._running is not None, "start it first"
        return self._running


@dataclass(frozen=True, slots=True)
class Deployment:
    """A running deployment.

    Attributes:
        process: what started it and ends it.
        data: its data folder.
        tree: folder that the public side of its object store is.
    """

    process: Process
    data: Path
    tree: Path

    @property
    def api(self) -> str:
        """URL of the host for machines, without a trailing slash."""
        return self._printed(r"packages\s+(http://\S+?)/root/stable/")

    @property
    def ui(self) -> str:
        """URL of the host for people, without a trailing slash."""
        return self._printed(r"people\s+(http://\S+?)/\n")

    @property
    def owner_link(self) -> str | None:
        """The one-time link, if one was printed."""
        found = re.search(r"owner\s+(http://\S+)", self.process.output)
        return None if found is None else found[1]

    def command(self, *arguments: str, timeout: float = START_TIMEOUT) -> subprocess.CompletedProcess[str]:
        """Run a command of `countermark-server` beside it."""
        return server_command(*arguments, "--data", str(self.data), timeout=timeout)

    def token(self, *options: str, index: str = "root/stable") -> str:
        """Return a new token of `root`, which may upload to and read one index unless `options` say otherwise."""
        return str(self.token_document(*options, index=index)["token"])

    def token_document(self, *options: str, index: str = "root/stable") -> dict[str, Any]:
        """Return what `token create --json` prints."""
        done = self.command("token", "create", "--user", "root", "--index", index, "--json", *options)
        assert done.returncode == 0, done.stderr
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    def get(self, path: str) -> httpx2.Response:
        """GET a path of the API host."""
        return httpx2.get(f"{self.api}{path}", timeout=20)

    def _printed(self, pattern: str) -> str:
        found = re.search(pattern, self.process.output)
        assert found is not None, self.process.output
        return found[1]


def start_deployment(
    data: Path,
    *options: str,
    log: Path | None = None,
    command: tuple[str, ...] | None = None,
    environment: dict[str, str] | None = None,
    last_line: str = LAST_LINE,
) -> Deployment:
    """Start `countermark-server up` on free ports and return when it says that it is ready.

    Args:
        command: what to run in place of `countermark-server`.
        environment: variables beside those of this process that are not ours.
        last_line: what its banner ends with.
    """
    ports = ("--api-port", "0", "--ui-port", "0")
    argv = (*(command or (program("countermark-server"),)), "up", "--data", str(data), *ports, *options)
    process = Process(argv, log or data.with_name(f"{data.name}.log"), environment or {})
    return _ready(Deployment(process, data, data / "objects" / "public"), START_TIMEOUT, last_line)


def start_stack(data: Path, *options: str) -> Deployment:
    """Start the real profile on free ports and return when it says that it is ready."""
    argv = (sys.executable, "-m", "deploy.stack", "--data", str(data), "--api-port", "0", "--ui-port", "0", *options)
    process = Process(argv, data.with_name(f"{data.name}.log"), patience=STACK_END)
    return _ready(Deployment(process, data, public_tree(data / "servers")), STACK_TIMEOUT)


def places(deployment: Deployment) -> dict[str, tuple[int, str]]:
    """Return what the start of the real profile printed: part -> process id and address."""
    lines = re.findall(r"^  (\S+) +(\d+)  (\S+?),?(?: |$)", deployment.process.output, re.MULTILINE)
    return {name: (int(pid), address) for name, pid, address in lines}


def public_tree(servers: Path) -> Path:
    """Return the folder that the public bucket is: versitygw keeps each bucket as a folder, each object as a file.

    Args:
        servers: folder of the real profile's servers.
    """
    return servers / "s3" / "data" / PUBLIC_BUCKET


def _ready(deployment: Deployment, seconds: float, last_line: str = LAST_LINE) -> Deployment:
    process = deployment.process
    process.start()
    try:
        process.until_written("Ctrl-C stops it", seconds)
        process.until_written(last_line)
    except BaseException:
        process.end()
        raise
    return deployment


def until_gone(pids: set[int], seconds: float = 10.0) -> set[int]:
    """Wait until none of these processes runs; returns those that still do."""
    until = time.monotonic() + seconds
    while (left := {pid for pid in pids if _runs(pid)}) and time.monotonic() < until:
        time.sleep(0.02)
    return left


def _children() -> dict[int, list[int]]:
    children: dict[int, list[int]] = {}
    for pid, (parent, _) in _processes().items():
        children.setdefault(parent, []).append(pid)
    return children


def _runs(pid: int) -> bool:
    """Whether a process exists and is more than an exit code that nobody has read yet."""
    _, state = _processes().get(pid, (0, "Z"))
    return not state.startswith("Z")


def _processes() -> dict[int, tuple[int, str]]:
    """Return all processes: id -> parent's id and state."""
    proc = Path("/proc")
    if not (proc / "self" / "stat").exists():
        argv = ["ps", "-A", "-o", "pid=,ppid=,stat="]
        listing = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
        lines = [line.split() for line in listing.splitlines()]
        return {int(pid): (int(parent), state) for pid, parent, state in lines}
    found = {}
    for folder in proc.glob("[0-9]*"):
        with suppress(OSError):
            # The name, in parentheses, may hold anything.
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            found[int(folder.name)] = int(parent), state
    return found
