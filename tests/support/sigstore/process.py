"""The instance as a process, for tests that run other programs against it."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from tests.support.processes import Process
from tests.support.sigstore.documents import CLIENT_TRUST_CONFIG, TRUSTED_ROOT
from tests.support.sigstore.server import TUF_ROOT
from tests.support.sigstore.tokens import github


@dataclass(frozen=True, slots=True)
class SigstoreProcess:
    """The process.

    Attributes:
        url: without a slash at the end.
        folder: where its trust files are.
    """

    process: Process
    url: str
    folder: Path

    @property
    def trusted_root(self) -> Path:
        """The trust root's file."""
        return self.folder / TRUSTED_ROOT

    @property
    def client_trust_config(self) -> Path:
        """The file for `--trust-config`."""
        return self.folder / CLIENT_TRUST_CONFIG

    @property
    def tuf_root(self) -> Path:
        """The file for `sigstore trust-instance`."""
        return self.folder / TUF_ROOT

    def token(self, claims: Mapping[str, Any] | None = None) -> str:
        """Return a token with these claims, `iss` among them where it is not GitHub's."""
        return str(self._told("mint", claims)["token"])

    def job(self, claims: Mapping[str, Any] | None = None) -> dict[str, str]:
        """Return the variables by which a job of a workflow gets its tokens itself."""
        return {name: str(value) for name, value in self._told("jobs", claims).items()}

    def _told(self, what: str, claims: Mapping[str, Any] | None) -> dict[str, Any]:
        sent = dict(github() if claims is None else claims)
        answer = httpx2.post(f"{self.url}/oidc/{what}", json=sent, timeout=10).raise_for_status()
        found: dict[str, Any] = answer.json()
        return found


@contextmanager
def sigstore_process(folder: Path, *options: str) -> Iterator[SigstoreProcess]:
    """Run one until the block is left.

    Args:
        folder: where its trust files and its log go.
        options: of the program, beside those that it needs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    argv = (sys.executable, "-m", "tests.support.sigstore", "--i-am-a-test-double", "--port", "0")
    process = Process((*argv, "--folder", str(folder), *options), folder / "sigstore.log")
    process.start()
    try:
        process.until_written("listens at ")
        found = re.search(r"listens at (\S+)\n", process.output)
        assert found is not None, process.output
        yield SigstoreProcess(process, found[1], folder)
    finally:
        process.end()
