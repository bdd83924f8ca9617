"""Runs devpi-server from an environment of its own, which `requirements-bench.lock` pins."""

from __future__ import annotations

import fcntl
import hashlib
import json
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.errors import NotMeasured
from bench.registry import Registry
from bench.running import HOST, Command, free_port, running
from bench.wheels import Wheel

_LOCK = Path(__file__).resolve().parent.parent / "requirements-bench.lock"


def environment(cache: Path) -> Path:
    """Return the folder of programs of devpi-server's and pypiserver's environment, made at the first call and kept.

    Args:
        cache: folder outside the tree; the environment in it is named after the lock, so a new lock makes a new one.

    Raises:
        NotMeasured: it cannot be made.
    """
    digest = hashlib.sha256(_LOCK.read_bytes()).hexdigest()[:12]
    folder = cache / f"peers-{sys.version_info.major}.{sys.version_info.minor}-{digest}"
    stamp = folder / "complete"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        # Another run on this machine may be making it.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists():
            _say(f"making the environment of the peers in {folder} (once)")
            _run(sys.executable, "-m", "venv", "--clear", str(folder))
            _run(
                *(str(folder / "bin" / "python"), "-m", "pip", "--quiet", "--disable-pip-version-check", "install"),
                *("--require-hashes", "--only-binary", ":all:", "-r", str(_LOCK)),
            )
            stamp.touch()
    return folder / "bin"


@contextmanager
def devpi(programs: Path, folder: Path) -> Iterator[Registry]:
    """Run devpi-server on an empty folder, as it comes, with one stage index.

    Raises:
        NotMeasured: it does not start.
    """
    data, secret, port = folder / "devpi", secrets.token_hex(16), free_port()
    _run(str(programs / "devpi-init"), "--serverdir", str(data), "--no-root-pypi", "--root-passwd", secret)
    argv = (str(programs / "devpi-server"), "--serverdir", str(data), "--host", HOST, "--port", str(port))
    with running(Command("devpi-server", argv, folder / "devpi.log", port, "/+api")) as server:
        registry = Registry("devpi-server", server, "/root/bench", "root", secret)
        settings = json.dumps({"type": "stage", "bases": []}).encode()
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        answer = registry.request("PUT", registry.index, headers, settings)
        if answer.status >= 400:
            raise NotMeasured(f"devpi-server answers {answer.status} to the making of an index: {answer.body[:300]!r}")
        yield registry


@contextmanager
def devpi_filled(programs: Path, cache: Path, folder: Path, wheels: Sequence[Wheel]) -> Iterator[Registry]:
    """Run devpi-server with a stage index that holds wheels.

    They come in by uploads, which takes minutes: so what that makes is kept.

    Args:
        cache: where it is kept, named after the wheels and the lock.
        folder: where the data of the server that runs, a copy, are put.

    Raises:
        NotMeasured: they cannot be uploaded, or it does not start.
    """
    names = "\n".join((*(wheel.filename for wheel in wheels), _LOCK.read_text(encoding="utf-8")))
    kept = cache / f"devpi-files-{len(wheels)}-{hashlib.sha256(names.encode()).hexdigest()[:12]}"
    if not kept.exists():
        _say(f"uploading {len(wheels):,} wheels to devpi-server, kept in {kept} (once, some minutes)")
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as made:
            with devpi(programs, Path(made)) as registry:
                for wheel in wheels:
                    registry.upload(wheel)
            (Path(made) / "devpi").rename(kept)
    with _copy_of(kept, programs, folder) as registry:
        yield registry


@contextmanager
def devpi_with_projects(programs: Path, cache: Path, folder: Path, projects: Sequence[str]) -> Iterator[Registry]:
    """Run devpi-server with a stage index that holds projects of one release each, without files.

    They come in by `devpi-import`, its own fastest way, which still takes minutes: so what it makes is kept.

    Args:
        cache: where it is kept, named after the projects and the lock.
        folder: the data of the server that runs are a copy here.

    Raises:
        NotMeasured: they cannot be imported, or it does not start.
    """
    digest = hashlib.sha256("\n".join((*projects, _LOCK.read_text(encoding="utf-8"))).encode()).hexdigest()[:12]
    kept = cache / f"devpi-data-{len(projects)}-{digest}"
    if not kept.exists():
        _say(f"importing {len(projects):,} projects into devpi-server, kept in {kept} (once, some minutes)")
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as made:
            _import(programs, Path(made), projects)
            (Path(made) / "data").rename(kept)
    with _copy_of(kept, programs, folder) as registry:
        yield registry


@contextmanager
def _copy_of(kept: Path, programs: Path, folder: Path) -> Iterator[Registry]:
    """Run devpi-server on a copy of kept data; nobody is logged in."""
    data, port = folder / "devpi", free_port()
    shutil.copytree(kept, data)
    argv = (str(programs / "devpi-server"), "--serverdir", str(data), "--host", HOST, "--port", str(port))
    with running(Command("devpi-server", argv, folder / "devpi.log", port, "/+api")) as server:
        yield Registry("devpi-server", server, "/root/bench", "root", "")


def _import(programs: Path, folder: Path, projects: Sequence[str]) -> None:
    """Write what `devpi-export` would have written, and import it into `folder`/data."""
    (folder / "export").mkdir()
    index = {
        "indexconfig": {"type": "stage", "bases": [], "volatile": True, "acl_upload": ["root"]},
        "projects": {name: {"1.0": {"name": name, "version": "1.0"}} for name in projects},
        "files": [],
    }
    export = {
        "dumpversion": "2",
        "devpi_server": "6.20.3",
        "pythonversion": list(sys.version_info),
        "users": {"root": {"username": "root"}},
        "indexes": {"root/bench": index},
    }
    (folder / "export" / "dataindex.json").write_text(json.dumps(export), encoding="utf-8")
    options = ("--no-root-pypi", "--root-passwd", secrets.token_hex(16))
    _run(str(programs / "devpi-import"), "--serverdir", str(folder / "data"), *options, str(folder / "export"))


def _run(*command: str) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise NotMeasured(f"{Path(command[0]).name} for devpi-server failed: {' / '.join(lines[-3:])[-600:]}")


def _say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)
