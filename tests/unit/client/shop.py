"""A served index whose files have provenance, for the tests of evidence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.builds import Pipeline
from tests.support.simulator import Deployment, RepositorySimulator
from tests.unit.client.conftest import WHEEL, Run
from tests.unit.client.loopback import Loopback

REAL = b"the real wheel\n"
PLAIN, DENIED = "plain-1.0-py3-none-any.whl", "gadget-1.0-py3-none-any.whl"

CHAIN = [
    "root", "timestamp", "snapshot", "target", "pointer", "artifact", "attestation", "statement", "subject",
    "signature", "identity", "log", "policy",
]  # fmt: skip
"""The links of a file with provenance."""


class Shop:
    """A served index with a wheel whose provenance the policy takes, one that needs none, and one that is denied."""

    def __init__(self, run: Run, server: Loopback, folder: Path) -> None:
        self.run, self.server, self.dest = run, server, folder / "dest"
        self.evidence = folder / "evidence"
        self.pipeline = Pipeline()
        deployment = Deployment()
        unattested = '  - match: "plain"\n    attested: false\n'
        deployment.trust_targets |= self.pipeline.trusted(self.pipeline.policy(more=unattested))
        self.sim = RepositorySimulator("root/attested", deployment)
        self.attest(self.pipeline.bundle(WHEEL, REAL))
        self.sim.add_file(PLAIN, b"plain\n")
        self.sim.add_file(DENIED, b"gadget\n")
        self.publish()
        root = folder / "root.json"
        root.write_bytes(deployment.roots[0])
        assert run("root", "pin", self.url, root).exit_code == 0

    @property
    def url(self) -> str:
        """The index."""
        return f"{self.server.url}/{self.sim.index}"

    def attest(self, bundle: bytes | None) -> None:
        """Have the wheel's pointer name a bundle."""
        self.sim.add_file(WHEEL, REAL, attestation=bundle)

    def publish(self) -> None:
        """Publish and serve."""
        self.sim.publish()
        self.server.serve_index(self.sim)

    def get(self, *arguments: str | Path) -> Any:
        """Download."""
        return self.run("download", *arguments, "--repository", self.url, "--dest", self.dest)

    def check(self, *arguments: str | Path) -> Any:
        """Verify."""
        return self.run("verify", *arguments, "--repository", self.url)


def steps(output: str) -> list[dict[str, Any]]:
    """Return what `--json` printed."""
    return [json.loads(line) for line in output.splitlines()]
