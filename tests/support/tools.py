"""The tools of the client matrix, in an environment of their own that `requirements-e2e.lock` pins, unmodified.

So is devpi-server, by `requirements-devpi.lock`. The environments lie outside the tree, are made at the first call, and
are kept until their lock changes.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.processes import ROOT, program

CACHE = Path.home() / ".cache" / "countermark-e2e"
"""Where the environment is kept."""

_CLIENTS = ROOT / "requirements-e2e.lock"
_DEVPI_SERVER = ROOT / "requirements-devpi.lock"

_PASSED_ON = frozenset({"PATH", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT"})
"""What a tool sees of this process's environment: nothing that configures it."""

_QUIET = {
    "NO_COLOR": "1",
    "COLUMNS": "200",
    "NO_PROXY": "127.0.0.1",
    "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
    "PIP_CONFIG_FILE": os.devnull,
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_NO_INPUT": "1",
    "UV_NO_CONFIG": "1",
    "UV_PYTHON_DOWNLOADS": "never",
    "UV_LINK_MODE": "copy",
    "PDM_CHECK_UPDATE": "false",
    "POETRY_KEYRING_ENABLED": "false",
    "POETRY_VIRTUALENVS_IN_PROJECT": "true",
}
"""No colours, no questions, no look at anything but the index that is named."""


class NotReachable(Exception):
    """No package registry answers, so that the tools cannot be installed."""


@dataclass(frozen=True, slots=True)
class Tools:
    """The programs of the environment, run with a home folder of their own."""

    programs: Path
    home: Path
    settings: Mapping[str, str] = field(default_factory=dict)

    def with_settings(self, **settings: str) -> Tools:
        """Return the same tools with further environment variables."""
        return Tools(self.programs, self.home, {**self.settings, **settings})

    def run(
        self, name: str, *arguments: str | Path, folder: Path | None = None, answers: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run one tool to its end, its output and its errors in `stdout`, as a terminal shows them.

        Args:
            name: the program.
            arguments: its arguments.
            folder: the project it is called in; the home when left out.
            answers: what it reads where it asks; it has no terminal to ask at.
        """
        inherited = {key: value for key, value in os.environ.items() if key in _PASSED_ON}
        inherited["PATH"] = f"{self.programs}{os.pathsep}{inherited.get('PATH', os.defpath)}"
        return subprocess.run(
            [str(self.programs / name), *map(str, arguments)],
            cwd=folder or self.home,
            env=inherited | _QUIET | _homes(self.home) | dict(self.settings),
            input=answers,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            text=True,
            check=False,
            timeout=100,
        )

    def done(self, name: str, *arguments: str | Path, folder: Path | None = None, answers: str = "") -> str:
        """Run one tool, which has to succeed, and return what it said."""
        ended = self.run(name, *arguments, folder=folder, answers=answers)
        assert ended.returncode == 0, f"{name} {' '.join(map(str, arguments))}:\n{ended.stdout}"
        return ended.stdout

    def refused(self, name: str, *arguments: str | Path, folder: Path | None = None) -> str:
        """Run one tool, which has to fail, and return what it said, on one line however it was wrapped."""
        ended = self.run(name, *arguments, folder=folder)
        assert ended.returncode != 0, f"{name} {' '.join(map(str, arguments))}:\n{ended.stdout}"
        return " ".join(ended.stdout.split())


def _homes(home: Path) -> dict[str, str]:
    folders = {
        "HOME": home,
        "USERPROFILE": home,
        "XDG_CACHE_HOME": home / "cache",
        "XDG_CONFIG_HOME": home / "config",
        "XDG_DATA_HOME": home / "data",
        "XDG_STATE_HOME": home / "state",
    }
    return {name: str(folder) for name, folder in folders.items()}


def install_tools(cache: Path) -> Path:
    """Return the folder of programs of the environment with the tools.

    Args:
        cache: folder outside the tree; the environment in it is named after the lock, so a new lock makes a new one.

    Raises:
        NotReachable: it has to be made, and no package registry answers.
        RuntimeError: it cannot be made for another reason.
    """
    return _environment(cache, "tools", _CLIENTS, "--only-binary", ":all:")


def install_devpi_server(cache: Path) -> Path:
    """Return the folder of programs of an environment with devpi-server alone; arguments and errors as of the tools."""
    # Of this one there is no wheel.
    built = ("--only-binary", ":all:", "--no-binary", "pyramid-chameleon")
    return _environment(cache, "devpi-server", _DEVPI_SERVER, *built)


def _environment(cache: Path, name: str, pins: Path, *built: str) -> Path:
    digest = hashlib.sha256(pins.read_bytes()).hexdigest()[:12]
    folder = cache / f"{name}-{sys.version_info.major}.{sys.version_info.minor}-{digest}"
    stamp = folder / "complete"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        # Another run on this machine may be making it.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists():
            _install("venv", "--clear", "--python", sys.executable, str(folder))
            pinned = ("--require-hashes", *built, "-r", str(pins))
            _install("pip", "install", "--compile-bytecode", "--python", str(folder / "bin" / "python"), *pinned)
            stamp.touch()
    return folder / "bin"


def _install(*arguments: str) -> None:
    command = [program("uv"), "--quiet", *arguments]
    environment = {"UV_PYTHON_DOWNLOADS": "never", "UV_LINK_MODE": "copy", **os.environ}
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=600
    )
    if done.returncode != 0:
        said = " / ".join(done.stderr.strip().splitlines()[-4:])[-600:]
        raise NotReachable(said) if "error sending request" in done.stderr else RuntimeError(said)
