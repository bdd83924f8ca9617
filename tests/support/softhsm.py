"""Real PKCS#11 tokens: SoftHSM 2 of Debian, in a folder of the test run's own, and OpenSC's spy, which counts calls."""

from __future__ import annotations

import functools
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from countermark.core.signing.access import KeyAccess
from deploy.errors import LaunchError
from deploy.stack.programs import install_packages
from tests.support.processes import ROOT, clean_environment

SOFTHSM = Path("/usr/lib/softhsm/libsofthsm2.so")
"""Where Debian puts the library."""

_PACKAGES = ("softhsm2", "opensc-pkcs11")


def spy() -> Path | None:
    """Return the library that passes calls on to another one and writes them down."""
    return next(Path("/usr/lib").glob("*/pkcs11/pkcs11-spy.so"), None)


@functools.cache
def install_softhsm() -> LaunchError | None:
    """Install it where that can be done; returns why it is not there."""
    if SOFTHSM.exists() and spy() is not None:
        return None
    try:
        install_packages(_PACKAGES, lambda text: print(text, file=sys.stderr))
    except LaunchError as error:
        return error
    return None


def softhsm_or_skip() -> None:
    """Without SoftHSM a test is skipped at home, and fails in CI."""
    fault = install_softhsm()
    if fault is not None and os.environ.get("CI"):
        raise fault
    if fault is not None:
        pytest.skip(str(fault))


@dataclass(frozen=True, slots=True)
class TokenShelf:
    """A folder of tokens, which every process finds by `SOFTHSM2_CONF`."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """What another process needs to use the tokens."""
        return {"SOFTHSM2_CONF": str(self.folder / "softhsm2.conf"), "PYKCS11LIB": str(SOFTHSM)}

    def lay(self) -> None:
        """Make the folder and its configuration."""
        tokens = self.folder / "tokens"
        tokens.mkdir(parents=True)
        words = f"directories.tokendir = {tokens}\nobjectstore.backend = file\nlog.level = ERROR\n"
        (self.folder / "softhsm2.conf").write_text(words)

    def new_token(self) -> MadeToken:
        """Initialise a token with a label and PINs of its own."""
        label, pin, officer = f"t-{secrets.token_hex(6)}", secrets.token_hex(4), secrets.token_hex(4)
        before = set((self.folder / "tokens").iterdir())
        command = ["softhsm2-util", "--init-token", "--free", "--label", label, "--pin", pin, "--so-pin", officer]
        environment = {**os.environ, **self.environment}
        subprocess.run(command, env=environment, check=True, capture_output=True, timeout=30)
        (made,) = set((self.folder / "tokens").iterdir()) - before
        return MadeToken(self, label, pin, made)


@dataclass(frozen=True, slots=True)
class MadeToken:
    """A token."""

    shelf: TokenShelf
    label: str
    pin: str
    folder: Path

    def uri(self, number: int | str = "") -> str:
        """Return the URI of a key on it."""
        return f"hsm:{number}?label={self.label}"

    def access(self, pin: str | None = None) -> KeyAccess:
        """Return the means to use it, with its PIN or another one."""
        told = self.pin if pin is None else pin
        return KeyAccess(secret=lambda wanted: told, module=str(SOFTHSM))

    def take_away(self) -> Path:
        """Remove it; `put_back` what is returned."""
        return self.folder.rename(self.shelf.folder / self.folder.name)

    def put_back(self) -> None:
        """Put it where it was."""
        (self.shelf.folder / self.folder.name).rename(self.folder)

    def run(self, lines: str, environment: Mapping[str, str] | None = None) -> object:
        """Run lines of Python in a process of its own that uses the token, and return what they leave in `result`."""
        program = f"import json\nresult = None\n{lines}\nprint(json.dumps(result))\n"
        ended = subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env=clean_environment() | self.shelf.environment | dict(environment or {}),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout)
