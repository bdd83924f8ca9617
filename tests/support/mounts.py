"""Small file systems of their own, for what happens on a full or read-only disk. They need root; tests skip without."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True, slots=True)
class Mounted:
    """A mounted file system in memory."""

    folder: Path

    def make_read_only(self) -> None:
        """Refuse all writing from now on."""
        _run("mount", "-o", "remount,ro", str(self.folder))


@contextmanager
def tmpfs(folder: Path, size: str) -> Iterator[Mounted]:
    """Mount a file system in memory of `size` (as mount(8) reads it) on `folder` while the context is open."""
    folder.mkdir(parents=True, exist_ok=True)
    done = _run("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder), check=False)
    if done.returncode != 0:
        pytest.skip(f"a file system of a chosen size cannot be mounted here: {done.stderr.strip()}")
    try:
        yield Mounted(folder)
    finally:
        # Lazily: a thread that still closes a file must not fail the test.
        _run("umount", "--lazy", str(folder))


def _run(*argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, capture_output=True, text=True, check=check)
