"""Runs Countermark as its user does: the embedded profile by one command, and a token made beside it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.errors import NotMeasured
from bench.registry import Registry
from bench.running import Command, Running, free_port, running

_PROGRAM = Path(sys.executable).with_name("countermark-server")
_INDEX = "root/stable"


@contextmanager
def countermark(data: Path, *options: str) -> Iterator[Running]:
    """Run Countermark on a data folder, which it makes when there is none.

    Args:
        options: more of the command line.

    Raises:
        NotMeasured: it does not start, or leaves processes behind.
    """
    api, ui = free_port(), free_port()
    ports = ("--api-port", str(api), "--ui-port", str(ui))
    argv = (str(_PROGRAM), "up", "--end-with-parent", "--data", str(data), *ports, *options)
    with running(Command("Countermark", argv, data.with_name(f"{data.name}.log"), api, "/readyz")) as server:
        yield server


def registry_of(server: Running, data: Path) -> Registry:
    """Return the default index of a running Countermark, with a new token that may upload.

    Raises:
        NotMeasured: the token cannot be made.
    """
    return Registry("Countermark", server, f"/{_INDEX}", "__token__", token_of(data))


def token_of(data: Path, *options: str, index: str = _INDEX) -> str:
    """Return a new token for an index of the Countermark that runs on a data folder.

    Args:
        options: more of the command line.

    Raises:
        NotMeasured: it cannot be made.
    """
    named = ("--data", str(data), "--user", "root", "--index", index, "--json")
    argv = (str(_PROGRAM), "token", "create", *named, *options)
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NotMeasured(f"Countermark makes no token: {done.stderr.strip()[-600:]}")
    return str(json.loads(done.stdout)["token"])


def set_password(data: Path, account: str, password: str) -> None:
    """Give an account of the Countermark on a data folder a password.

    Raises:
        NotMeasured: the command fails.
    """
    argv = (str(_PROGRAM), "user", "passwd", account, "--password-file", "-", "--data", str(data))
    done = subprocess.run(argv, input=password, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NotMeasured(f"Countermark sets no password: {done.stderr.strip()[-600:]}")
