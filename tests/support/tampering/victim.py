"""The real client with a home of its own: its command in this process, or as a process with another clock."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from typer.testing import CliRunner

from countermark.cli import app
from countermark.location import parse_location
from countermark.roots import Pin, PinOrigin, PinStore, read_root
from tests.support.processes import clean_environment, program

_LINK = re.compile(r"[ 1]\d [A-Za-z]")
"""How the line of a link of the chain begins."""

_MEASURED = str(Path(__file__).with_name("measured.py"))


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended.

    Attributes:
        code: its exit code.
        words: what it said to the person, without notes and the links of the chain that held.
        placed: names of what lies at the destination after it.
        peak: the most memory it held, in bytes; 0 when it was not measured.
    """

    code: int
    words: str
    placed: tuple[str, ...]
    peak: int = 0


@dataclass(slots=True)
class Victim:
    """A person's `countermark`, which keeps its cache and pinned root from run to run.

    Attributes:
        repository: the URL or folder that is asked.
        deadline: seconds that it may take over metadata; None for the client's own.
    """

    home: Path
    repository: str
    deadline: int | None = None
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def dest(self) -> Path:
        """Where files are placed."""
        return self.home / "dest"

    def pin(self, root: bytes) -> None:
        """Pin a root, as the people who run the registry handed it over."""
        deployment = parse_location(self.repository).deployment
        PinStore(self.home / "roots").keep(Pin(deployment, PinOrigin.PINNED, read_root(root)))

    def get(self, *arguments: str) -> Ended:
        """Download, by the command's entry in this process."""
        done = CliRunner().invoke(app, self._argv(arguments), env=self._variables())
        assert not isinstance(done.exception, Exception), done.exception
        return self._ended(done.exit_code, done.stderr)

    def run(self, *arguments: str, clock: str | None = None, timeout: float = 60) -> Ended:
        """Download, as a process of its own.

        Args:
            clock: how its clock is set, as `faketime -f` reads it: `+25h`.
        """
        faked = () if clock is None else (faketime(), "-f", clock)
        done = _run((*faked, program("countermark"), *self._argv(arguments)), self._variables(), timeout)
        return self._ended(done.returncode, done.stderr)

    def run_measured(self, *arguments: str) -> Ended:
        """Download, as a process of its own whose memory is measured."""
        done = _run((sys.executable, _MEASURED, *self._argv(arguments)), self._variables(), 60)
        words, _, peak = done.stderr.rpartition("peak ")
        return self._ended(done.returncode, words, int(peak))

    def left_behind(self) -> tuple[str, ...]:
        """Return the names of what lies at the destination, temporary files too."""
        return tuple(sorted(path.name for path in self.dest.iterdir())) if self.dest.exists() else ()

    def cache_folder(self) -> Path:
        """Return the folder of its cached metadata."""
        (repository,) = (self.home / "cache").iterdir()
        return next(path for path in repository.iterdir() if path.is_dir())

    def _argv(self, arguments: tuple[str, ...]) -> list[str]:
        return ["download", *arguments, "--repository", self.repository, "--dest", str(self.dest)]

    def _variables(self) -> dict[str, str]:
        deadline = {} if self.deadline is None else {"COUNTERMARK_DEADLINE": str(self.deadline)}
        return {"COUNTERMARK_HOME": str(self.home), "COLUMNS": "1000", **deadline, **self.environment}

    def _ended(self, code: int, stderr: str, peak: int = 0) -> Ended:
        told = (line for line in stderr.splitlines() if line and not line.startswith("note: "))
        lines = [line for line in told if not _LINK.match(line)]
        return Ended(code, " ".join(lines), self.left_behind(), peak)


def faketime() -> str:
    """Return the program that gives another one another clock; without it tests are skipped at home, not in CI."""
    found = shutil.which("faketime")
    if found is None:
        assert not os.environ.get("CI"), "faketime is not installed"
        pytest.skip("faketime is not installed")
    return found


def _run(argv: tuple[str, ...], variables: Mapping[str, str], timeout: float) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv,
        env=clean_environment() | dict(variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )
