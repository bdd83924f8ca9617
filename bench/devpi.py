"""Runs devpi-server from an environment of its own, which `requirements-bench.lock` pins."""

from __future__ import annotations

import hashlib
import json
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.errors import NotMeasured
from bench.registry import Registry
from bench.running import HOST, Command, free_port, running

_LOCK = Path(__file__).resolve().parent.parent / "requirements-bench.lock"


def environment(cache: Path) -> Path:
    """Return the folder of programs of an environment with devpi-server, made at the first call and kept.

    Args:
        cache: folder outside the tree; the environment in it is named after the lock, so a new lock makes a new one.

    Raises:
        NotMeasured: it cannot be made.
    """
    digest = hashlib.sha256(_LOCK.read_bytes()).hexdigest()[:12]
    folder = cache / f"devpi-{sys.version_info.major}.{sys.version_info.minor}-{digest}"
    stamp = folder / "complete"
    if not stamp.exists():
        _say(f"making the environment of devpi-server in {folder} (once)")
        folder.parent.mkdir(parents=True, exist_ok=True)
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
    data, secret, port = folder / "devpi", secrets.token_urlsafe(16), free_port()
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


def _run(*command: str) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise NotMeasured(f"{Path(command[0]).name} for devpi-server failed: {' / '.join(lines[-3:])[-600:]}")


def _say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)
