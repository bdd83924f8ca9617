"""The data folder: whose it is, who uses it at the moment, and how a command finds the servers that run on it."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from deploy.errors import LaunchError
from deploy.processes import write_private
from deploy.settings_source import FILE_NAME

LAYOUT = 1
"""Version of the folder's layout, which this code reads and writes."""

_MARKER = "COUNTERMARK"
_LOCK = "lock"
_RUNNING = "running.json"

_LOOKING = 0.2
"""Seconds to wait for those who only look whether the folder is held."""

_MAY_STAND_THERE_BEFORE = frozenset({FILE_NAME, "lost+found", ".DS_Store", ".gitkeep"})
"""What may lie in a folder that is to become ours: our settings file, and what file systems and editors leave."""


@dataclass(frozen=True, slots=True)
class Running:
    """What runs on a data folder: the addresses of its servers, with their passwords, and its two hosts."""

    pid: int
    database: str
    queue: str
    api: str
    ui: str


class DataFolder:
    """A folder that everything of a deployment on one machine lies in.

    Args:
        marker: name of the file that says whose folder it is; those of other profiles are refused.
    """

    def __init__(self, path: Path, marker: str = _MARKER) -> None:
        self.path = path
        self._marker = marker

    @property
    def postgres(self) -> Path:
        """Folder of the embedded Postgres."""
        return self.path / "postgres"

    @property
    def valkey(self) -> Path:
        """Folder of the embedded Valkey."""
        return self.path / "valkey"

    def check(self) -> None:
        """Return when the folder is ours, or can become ours. Changes nothing.

        Raises:
            LaunchError: it is somebody else's, of another version, in use, or cannot be used.
        """
        try:
            found = {entry.name for entry in self.path.iterdir()}
        except FileNotFoundError:
            return
        except OSError as error:
            raise LaunchError(f"{self.path} cannot be used as the data folder: {error.strerror}") from error
        if self._marker not in found:
            if found - _MAY_STAND_THERE_BEFORE:
                raise LaunchError(
                    f"{self.path} is not empty and not a Countermark data folder: choose another with DATA=..."
                )
            return
        self._check_layout()
        if self.is_running():
            raise LaunchError(
                f"Countermark already runs on {self.path}{self._told_where()}: stop it first, or choose DATA=..."
            )

    def is_running(self) -> bool:
        """Whether a process holds the folder at this moment."""
        try:
            descriptor = os.open(self.path / _LOCK, os.O_RDWR)
        except OSError:
            return False
        try:
            # Shared, so that those who only look do not see each other.
            return not _locked(descriptor, fcntl.LOCK_SH)
        finally:
            os.close(descriptor)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Make the folder when absent, mark it as ours, and hold it alone until the context is left.

        Raises:
            LaunchError: see `check`; or another process was faster.
        """
        self.check()
        try:
            # Others may pass through, not look inside: started by root, Postgres runs as another user.
            self.path.mkdir(mode=0o711, parents=True, exist_ok=True)
            descriptor = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise LaunchError(f"{self.path} cannot be used as the data folder: {error.strerror}") from error
        try:
            self._hold(descriptor)
            yield
        finally:
            # The lock goes with the descriptor, also when this process is killed.
            os.close(descriptor)

    def _hold(self, descriptor: int) -> None:
        until = time.monotonic() + _LOOKING
        while not _locked(descriptor, fcntl.LOCK_EX):
            if time.monotonic() > until:
                raise LaunchError(f"Countermark already runs on {self.path}: stop it first, or choose DATA=...")
            time.sleep(0.01)
        marker = self.path / self._marker
        if not marker.exists():
            write_private(marker, f"Data folder of Countermark, layout {LAYOUT}\n")
        (self.path / _RUNNING).unlink(missing_ok=True)

    @contextmanager
    def announced(self, running: Running) -> Iterator[None]:
        """Tell commands on this machine where the servers are, while the context lasts; for the owner's eyes alone."""
        write_private(self.path / _RUNNING, json.dumps(asdict(running)))
        try:
            yield
        finally:
            (self.path / _RUNNING).unlink(missing_ok=True)

    def running(self) -> Running:
        """Return where the servers are that run on this folder.

        Raises:
            LaunchError: nothing runs there, or it runs and is not ready, or it is another user's.
        """
        if not self.is_running():
            if (self.path / self._marker).exists() and not os.access(self.path / _LOCK, os.R_OK | os.W_OK):
                raise LaunchError(f"{self.path} belongs to another user: run this command as that user")
            raise LaunchError(
                f"nothing runs on {self.path}: start it with 'countermark-server up --data {self.path}' (or make run), "
                "then try again"
            )
        found = self._read_running()
        if found is None:
            raise LaunchError(f"Countermark is still starting on {self.path}: try again in a moment")
        return found

    def _read_running(self) -> Running | None:
        try:
            return Running(**json.loads((self.path / _RUNNING).read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            raise LaunchError(f"{self.path / _RUNNING} cannot be read: {error}") from error

    def _check_layout(self) -> None:
        try:
            text = (self.path / self._marker).read_text(encoding="utf-8")
        except OSError as error:
            raise LaunchError(f"{self.path} belongs to another user ({error.strerror}): choose DATA=...") from error
        if text.split()[-1:] != [str(LAYOUT)]:
            raise LaunchError(
                f"{self.path} was made by another version of Countermark, whose layout is not {LAYOUT}: "
                "use that version, or choose another folder with DATA=..."
            )

    def _told_where(self) -> str:
        with suppress(LaunchError):
            running = self._read_running()
            if running is not None:
                return f" ({running.api}, process {running.pid})"
        return ""


def _locked(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
