"""TUF clients of other people, unmodified: python-tuf, tuf-js and go-tuf, each behind a few lines that call it.

The programs lie in `tests/e2e/clients`. Versions and digests are pinned by `requirements.lock`, `package-lock.json` and
`go.sum`. What has to be installed or built is kept outside the tree until one of those changes.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.support.processes import ROOT, clean_environment

_PROGRAMS = ROOT / "tests" / "e2e" / "clients"
_INSTALLING = 600.0  # seconds


class Unavailable(Exception):
    """A client cannot be installed here: its language is not, or no package registry answers."""


@dataclass(frozen=True, slots=True)
class TufClient:
    """One client, ready to run."""

    command: tuple[str, ...]

    def fetch(self, index_url: str, root: Path, folder: Path, target: str) -> subprocess.CompletedProcess[str]:
        """Fetch one target of an index, starting from a root; the path is all it prints.

        Args:
            index_url: of the index, without a slash at its end.
            root: the file it starts from.
            folder: where it keeps metadata and targets.
            target: the target's path.
        """
        urls = (f"{index_url}/+tuf/metadata", f"{index_url}/+tuf/targets")
        return subprocess.run(
            [*self.command, *urls, str(root), str(folder), target],
            env=clean_environment() | {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )


def python_tuf(_cache: Path) -> TufClient:
    """Return python-tuf, which this environment has."""
    return TufClient((sys.executable, str(_PROGRAMS / "python.py")))


def tuf_js(cache: Path) -> TufClient:
    """Return tuf-js, installed once.

    Raises:
        Unavailable: it cannot be installed.
    """
    sources = sorted((_PROGRAMS / "js").glob("*.js*"))

    def install(folder: Path) -> None:
        for source in sources:
            shutil.copy(source, folder)
        _run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", folder=folder)

    folder = _kept(cache, "tuf-js", sources, install)
    return TufClient((_found("node"), str(folder / "fetch.js")))


def go_tuf(cache: Path) -> TufClient:
    """Return go-tuf, built once.

    Raises:
        Unavailable: it cannot be built.
    """
    sources = sorted(path for path in (_PROGRAMS / "go").iterdir() if path.is_file())

    def build(folder: Path) -> None:
        flags = ("-mod=readonly", "-trimpath", "-buildvcs=false")
        _run("go", "build", *flags, "-o", str(folder / "tufclient"), ".", folder=_PROGRAMS / "go")

    return TufClient((str(_kept(cache, "go-tuf", sources, build) / "tufclient"),))


CLIENTS: dict[str, Callable[[Path], TufClient]] = {"python-tuf": python_tuf, "tuf-js": tuf_js, "go-tuf": go_tuf}


def _kept(cache: Path, name: str, sources: Iterable[Path], make: Callable[[Path], None]) -> Path:
    digest = hashlib.sha256(b"".join(path.name.encode() + path.read_bytes() for path in sources)).hexdigest()[:12]
    folder = cache / f"{name}-{digest}"
    stamp = folder / "complete"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        # Another run on this machine may be making it.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            stamp.touch()
    return folder


def _run(name: str, *arguments: str, folder: Path) -> None:
    environment = os.environ | {"GOTOOLCHAIN": "local", "GOFLAGS": "", "CGO_ENABLED": "0"}
    done = subprocess.run(
        [_found(name), *arguments],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=_INSTALLING,
    )
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()[-4:]
        raise Unavailable(f"{name} {arguments[0]} failed: {' / '.join(said)[-600:]}")


def _found(name: str) -> str:
    path = shutil.which(name) or shutil.which(name, path="/usr/local/go/bin")  # where Go's own installer puts it
    if path is None:
        raise Unavailable(f"{name} is not installed")
    return path
