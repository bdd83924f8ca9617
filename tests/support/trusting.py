"""The ceremony by which policy and Sigstore roots are signed, in a deployment whose keys lie in its data folder."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import httpx2

from countermark.core.digest import sha256_of
from tests.support.builds import Forge, policy
from tests.support.processes import Deployment, program, run, start_deployment

POLICY, TRUSTED_ROOT = "trust/policy.yaml", "trusted_root.json"
"""Target paths that trust signs."""


class Administered(Protocol):
    """A running deployment, as far as its administrators need to know it."""

    @property
    def api(self) -> str:
        """URL of the host for machines, without a trailing slash."""

    @property
    def data(self) -> Path:
        """The data folder."""

    def token(self, *options: str, index: str) -> str:
        """Return a new token of `root`; `options` as of `countermark-server token create`."""


@dataclass(frozen=True, slots=True)
class Holders:
    """Who holds the keys of trust of a deployment of the development profile, and administers it.

    Attributes:
        home: of their `countermark`; empty at first.
    """

    deployment: Administered
    home: Path
    index: str = "root/stable"

    def sign(self, targets: Mapping[str, Path], *removed: str, reason: str = "what is trusted changed") -> None:
        """Have targets of trust signed by enough holders, and published.

        Args:
            targets: target path -> the file with its content.
            removed: target paths that are taken away.
        """
        token = self.deployment.token("--verbs", "read,upload,configure", index=self.index)
        options = [option for path, file in targets.items() for option in ("--target", f"{path}={file}")]
        options += [option for path in removed for option in ("--untarget", path)]
        event = self._done(token, "propose", "trust", *options, "--reason", reason).strip()
        sha256 = json.loads(self._done(token, "status", event, "--json"))["payload_sha256"]
        root = self._root()
        for number, key in enumerate(self.keys("trust")[:2]):
            signature = self.home / f"{event}-{number}.json"
            named = ("--key", f"file2:{key}", "--root", str(root), "--yes", "--sha256", sha256, "--out", str(signature))
            self._done(token, "sign", event, *named, "--submit")
        self._done(token, "finalise", event)
        self._until_published(targets, removed)

    def keys(self, role: str) -> list[Path]:
        """Return the files with the private keys of a role."""
        return sorted((self.deployment.data / "keys").glob(f"{role}-*.pem"))

    def _root(self) -> Path:
        path = self.home / "1.root.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self._get("1.root.json"))
        return path

    def _until_published(self, targets: Mapping[str, Path], removed: tuple[str, ...]) -> None:
        """Wait for the publication that follows: the newest trust file that the snapshot names lists the targets."""
        wanted = {path: {"sha256": sha256_of(file.read_bytes())} for path, file in targets.items()}
        until = time.monotonic() + 30
        while True:
            listed = self._listed()
            if wanted.items() <= listed.items() and not listed.keys() & set(removed):
                return
            assert time.monotonic() < until, f"trust lists {listed}"
            time.sleep(0.1)

    def _listed(self) -> dict[str, dict[str, str]]:
        """Return target path -> digests, of what trust signs."""

        def signed(name: str) -> Any:
            return json.loads(self._get(name))["signed"]

        snapshot = signed("timestamp.json")["meta"]["snapshot.json"]["version"]
        trust = signed(f"{snapshot}.snapshot.json")["meta"]["trust.json"]["version"]
        return {path: found["hashes"] for path, found in signed(f"{trust}.trust.json").get("targets", {}).items()}

    def _get(self, name: str) -> bytes:
        answer = httpx2.get(f"{self.deployment.api}/{self.index}/+tuf/metadata/{name}", timeout=20)
        return answer.raise_for_status().content

    def _done(self, token: str, *arguments: str) -> str:
        environment = {
            "COUNTERMARK_HOME": str(self.home),
            "COUNTERMARK_REPOSITORY": f"{self.deployment.api}/{self.index}",
            "COUNTERMARK_TOKEN": token,
        }
        done = run(program("countermark"), "ceremony", *arguments, environment=environment)
        assert done.returncode == 0, done.stderr
        return done.stdout


def trust_builds(deployment: Administered, forge: Forge, home: Path, demanded: bytes | None = None) -> None:
    """Have the root of a forge signed, and the policy that demands builds of it.

    Args:
        home: of the holders; a folder that exists.
        demanded: another policy.
    """
    signed = {POLICY: home / "policy.yaml", TRUSTED_ROOT: home / "root.json"}
    signed[POLICY].write_bytes(policy() if demanded is None else demanded)
    signed[TRUSTED_ROOT].write_bytes(forge.instance.trusted_root())
    Holders(deployment, home).sign(signed)


@contextmanager
def demanding_builds(demanded: bytes | None = None) -> Iterator[tuple[Deployment, Forge, Path]]:
    """Run a deployment that demands builds of a forge: it, the forge, and the home of the holders, below its folder.

    Args:
        demanded: another policy.
    """
    with tempfile.TemporaryDirectory(prefix="cm-", ignore_cleanup_errors=True) as folder:
        running = start_deployment(Path(folder) / "data")
        try:
            forge, home = Forge(), Path(folder) / "holders"
            home.mkdir()
            trust_builds(running, forge, home, demanded)
            yield running, forge, home
        finally:
            running.process.end()
