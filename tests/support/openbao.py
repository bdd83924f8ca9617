"""A real OpenBao, which speaks Vault's API, with its Transit engine on; in memory, on this machine alone."""

from __future__ import annotations

import secrets
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import hvac

from deploy.processes import free_port


@dataclass(frozen=True, slots=True)
class OpenBao:
    """A running server.

    Attributes:
        url: its address.
        token: its root token.
    """

    url: str
    token: str

    @property
    def client(self) -> hvac.Client:
        """A client that may do everything."""
        return hvac.Client(self.url, token=self.token)

    def token_for(self, *rules: str) -> str:
        """Return a token that may do what the rules of a policy say."""
        name = f"policy-{secrets.token_hex(4)}"
        self.client.sys.create_or_update_policy(name, "\n".join(rules))
        return str(self.client.auth.token.create(policies=[name], ttl="10m")["auth"]["client_token"])


@contextmanager
def running_openbao(program: Path, home: Path) -> Iterator[OpenBao]:
    """Run one for the context.

    Args:
        program: its binary.
        home: a folder for what it keeps.
    """
    port, token = free_port(), secrets.token_hex(16)
    command = [
        *(str(program), "server", "-dev", "-dev-no-store-token"),
        *(f"-dev-listen-address=127.0.0.1:{port}", f"-dev-root-token-id={token}"),
    ]
    with (home / "openbao.log").open("wb") as log:
        process = subprocess.Popen(command, env={"HOME": str(home)}, stdout=log, stderr=subprocess.STDOUT)
        try:
            server = OpenBao(f"http://127.0.0.1:{port}", token)
            _until_up(server, process)
            server.client.sys.enable_secrets_engine("transit")
            yield server
        finally:
            process.terminate()
            process.wait(20)


def _until_up(server: OpenBao, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 30
    while time.monotonic() < until and process.poll() is None:
        try:
            if server.client.sys.is_initialized():
                return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("OpenBao does not come up; its words are in openbao.log")
