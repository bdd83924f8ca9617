"""The cache of TUF metadata: one folder for each repository URL and trusted root, shared by processes, never by users.

What lies in it is checked again at each start, so a damaged file costs one download; its worth is rollback protection.
Reading and writing happen under an exclusive lock of the folder, since the TUF library replaces its root link in two
steps (trust contract section 1.3, hole (d)).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from countermark.core.digest import Sha256
from countermark.core.errors import LocalState
from countermark.credentials import Notify
from countermark.location import Location
from countermark.reading import Reading

if sys.platform == "win32":
    import msvcrt

    def _try_lock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _try_lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


_POLL = 0.02  # seconds between two looks at a lock that another process holds

PATIENCE = timedelta(seconds=120)
"""How long another process's lock is waited for."""


@dataclass(frozen=True, slots=True)
class Cache:
    """The cached metadata of this user.

    Args:
        folder: where it lies; made when missing, readable by its owner only.
        patience: how long to wait for another process that holds a repository's lock.
        reading: whether a run may read more than what lies there.
    """

    folder: Path
    patience: timedelta = PATIENCE
    reading: Reading = Reading.ONLINE

    @contextlib.contextmanager
    def opened(self, location: Location, root: Sha256, notify: Notify) -> Iterator[Path]:
        """Yield the metadata folder of a repository under a trusted root, locked for this process.

        On a repository that this machine serves to itself, folders of other roots are removed with a notice: a
        deployment made anew for development is an everyday event there.

        Args:
            location: the repository.
            root: the digest of the trusted root that verification starts from.
            notify: is told of a reset.

        Raises:
            LocalState: the folder cannot be made or locked, or belongs to another user.
        """
        repository = self.folder / repository_key(location.url)
        with _as_local_state(repository):
            repository.mkdir(mode=0o700, parents=True, exist_ok=True)
            _own(repository)
            with locked(repository, self.patience):
                if location.is_loopback:
                    _reset_others(repository, root, location, notify)
                folder = repository / root
                folder.mkdir(mode=0o700, exist_ok=True)
                yield folder

    def known(self, location: Location, root: Sha256) -> Path:
        """Return where the metadata of a repository under a trusted root lie, or would; nothing is made or locked."""
        return self.folder / repository_key(location.url) / root


@contextlib.contextmanager
def locked(folder: Path, patience: timedelta = PATIENCE) -> Iterator[None]:
    """Hold the lock of a folder of metadata while the block runs.

    Raises:
        LocalState: another process holds it for longer than `patience`.
        OSError: the folder cannot be written.
    """
    deadline = time.monotonic() + patience.total_seconds()
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        while True:
            try:
                _try_lock(descriptor)
                break
            except (BlockingIOError, PermissionError) as error:
                if time.monotonic() > deadline:
                    raise LocalState(
                        f"another process has held {folder / 'lock'} for {patience.total_seconds():.0f} s",
                        "Wait for it or end it, then run this again.",
                    ) from error
                time.sleep(_POLL)
        yield
    finally:
        os.close(descriptor)


def repository_key(url: str) -> str:
    """Return the folder name of a repository: readable in front, unique behind."""
    readable = re.sub(r"[^A-Za-z0-9.]+", "-", url.partition("://")[2]).strip("-.")[-40:].lstrip("-.")
    return f"{readable or 'root'}-{hashlib.sha256(url.encode()).hexdigest()[:16]}"


def _own(repository: Path) -> None:
    """Refuse a folder of another user: who can write the cache can take rollback protection away."""
    if sys.platform != "win32" and repository.stat().st_uid != os.getuid():
        raise LocalState(
            f"the cache folder {repository} belongs to another user",
            "Set COUNTERMARK_HOME to a folder of your own.",
        )


def _reset_others(repository: Path, root: Sha256, location: Location, notify: Notify) -> None:
    for other in repository.iterdir():
        if other.is_dir() and other.name != root:
            shutil.rmtree(other)
            notify(f"the trusted root of {location.url} on this machine changed: its cached metadata was reset")


@contextlib.contextmanager
def _as_local_state(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LocalState(
            f"the cache folder {folder} cannot be used: {error.strerror or error}",
            "Make it writable, or set COUNTERMARK_HOME to a folder that is.",
        ) from error
