"""Makes names in folders durable: a file is there after a power cut only when its folder was synced after it was named.

Threads that want the same folder at the same time share one wait for the disk.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_MOST_KNOWN: Final = 10_000
"""Folders remembered as durable; beyond that, all are forgotten and synced again."""


@dataclass(slots=True, eq=False)
class _Syncing:
    """A folder that threads want synced: the first `synced` of the `asked` are served, `users` still look at this."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    asked: int = 0
    synced: int = 0
    users: int = 0


def sync_folder(folder: Path) -> None:
    """Write what a folder says to the disk. Blocking."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class DurableNames:
    """The names below one folder. Methods block and may be called by several threads."""

    def __init__(self, root: Path, sync: Callable[[Path], None] = sync_folder) -> None:
        """Args: root: the folder whose own name is durable. sync: writes one folder to the disk."""
        self._root = root
        self._sync_folder = sync
        self._durable: set[Path] = set()
        self._forgotten = 0
        self._lock = threading.Lock()
        self._wanted: dict[Path, _Syncing] = {}

    def settle(self, folder: Path) -> None:
        """Make names in `folder` durable, then its own and those above it, up to the first known to be durable.

        A folder that is gone went with what was named in it, which somebody has removed: nothing is left to do.

        Raises:
            OSError: a folder cannot be written to the disk, or the one that all are in is not there.
        """
        try:
            self._settle(folder)
        except FileNotFoundError:
            if not self._root.is_dir():
                raise

    def _settle(self, folder: Path) -> None:
        self._sync(folder)
        if len(self._durable) > _MOST_KNOWN:
            self._durable.clear()
        settled: list[Path] = []
        forgotten = self._forgotten
        while folder != self._root and folder not in self._durable:
            self._sync(folder.parent)
            settled.append(folder)
            folder = folder.parent
        # Only now: a folder is durable when those above it are, and who asks meanwhile is to wait for them too. One
        # that was removed meanwhile may be any of these: then they are synced again the next time.
        if forgotten == self._forgotten:
            self._durable.update(settled)

    def forget(self, folder: Path) -> None:
        """Take note that a folder is about to be removed: the next of its name is another one."""
        self._forgotten += 1
        self._durable.discard(folder)

    def _sync(self, folder: Path) -> None:
        with self._lock:
            wanted = self._wanted.setdefault(folder, _Syncing())
            wanted.users += 1
            wanted.asked += 1
            mine = wanted.asked
        try:
            with wanted.lock:
                if wanted.synced < mine:
                    # Whoever asked by now has named its file before: it is served by this one too.
                    served = wanted.asked
                    self._sync_folder(folder)
                    wanted.synced = served
        finally:
            with self._lock:
                wanted.users -= 1
                if not wanted.users:
                    del self._wanted[folder]
