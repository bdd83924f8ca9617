"""Attestations that others really published, signed by the public Sigstore instance: data of a package's tests.

They lie in the source distribution of pypi-attestations 0.0.30, below `test/assets`, each beside the file that it is
about: publications of GitHub, GitLab, CircleCI and Google's builders, and build provenance. It is fetched once, by its
digest, and kept outside the tree.
"""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from tests.support.processes import clean_environment

_NAME, _VERSION = "pypi-attestations", "0.0.30"
_SHA256 = "14ff13c76bbef02a483c2b77532da02bfd746b5141b881f355e06b9807434423"


class NotPublished(Exception):
    """The source distribution cannot be had: no package registry answers, or it has another digest."""


def published(cache: Path) -> Path:
    """Return the folder with the attestations.

    Args:
        cache: folder outside the tree, where they are kept.

    Raises:
        NotPublished: they are not there yet, and cannot be had.
    """
    folder = cache / f"published-{_SHA256[:12]}"
    assets = folder / f"pypi_attestations-{_VERSION}" / "test" / "assets"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        # Another run on this machine may be fetching it.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            _fetch(folder)
            (folder / "complete").touch()
    return assets


def _fetch(folder: Path) -> None:
    """Have pip download it: pip asks the source distribution for its metadata, in an environment of its own."""
    pins = folder / "pins.txt"
    pins.write_text(f"{_NAME}=={_VERSION} --hash=sha256:{_SHA256}\n")
    how = ("--no-deps", "--no-binary", ":all:", "--only-binary", "flit-core", "--require-hashes", "-r", str(pins))
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(folder), *how]
    done = subprocess.run(
        command,
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    if done.returncode != 0:
        raise NotPublished(" / ".join(done.stderr.strip().splitlines()[-3:])[-600:])
    [archive] = folder.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        opened.extractall(folder, filter="data")
