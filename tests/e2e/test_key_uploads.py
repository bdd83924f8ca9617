"""A builder with nothing but a key: built, attested and uploaded to an index that demands build provenance.

Source: trust contract section 5.2; ADR 0037; docs/attesting.md.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from countermark.core.digest import sha256_of
from tests.support.processes import Deployment, program, run, start_deployment
from tests.support.sigstore.keys import new_key
from tests.support.trusting import POLICY, Holders
from tests.unit.attestations.test_bundle_roots import pem

pytestmark = pytest.mark.embedded

SETTINGS = """schema: "policy/v1"
keys:
  machine: |
{key}builders:
  machine:
    key: "machine"
    builder_ids: ["urn:countermark:builder:local"]
    build_types: ["urn:countermark:build:local:v1"]
    level: 1
packages:
  - {{match: "*", builders: ["machine"], log: {{rekor: ["none"]}}}}
"""


@dataclass(frozen=True, slots=True)
class Site:
    """A deployment whose policy takes nothing but what the key signed; no Sigstore root is signed."""

    deployment: Deployment
    key: Path
    token: str

    def run(self, *arguments: str | Path) -> CompletedProcess[str]:
        """Run the client."""
        environment = {
            "COUNTERMARK_REPOSITORY": f"{self.deployment.api}/root/stable",
            "COUNTERMARK_TOKEN": self.token,
            "COUNTERMARK_HOME": str(self.key.parent / "home"),
            "GITHUB_ACTIONS": "",
            "GITLAB_CI": "",
        }
        return run(program("countermark"), *map(str, arguments), environment=environment)

    def attest(self, key: Path, *files: Path) -> None:
        """Attest files with a key, in place of what was attested before."""
        done = self.run("attest", "--key", f"file2:{key}", "--force", *files)
        assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """The deployment, after the ceremony in which its holders signed the policy."""
    with tempfile.TemporaryDirectory(prefix="cm-", ignore_cleanup_errors=True) as folder:
        running = start_deployment(Path(folder) / "data")
        try:
            home, key = Path(folder) / "holders", new_key()
            home.mkdir()
            public = "".join(f"    {line}\n" for line in pem(key).decode().splitlines())
            (home / "policy.yaml").write_text(SETTINGS.format(key=public))
            Holders(running, home).sign({POLICY: home / "policy.yaml"})
            made = Site(running, written(key, home / "machine.pem"), running.token())
            pinned = made.run("root", "pin", f"{running.api}/root/stable", home / "1.root.json")
            assert pinned.returncode == 0, pinned.stderr
            yield made
        finally:
            running.process.end()


def written(key: EllipticCurvePrivateKey, path: Path) -> Path:
    """Write a private key."""
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return path


@pytest.fixture
def built(site: Site, tmp_path: Path) -> list[Path]:
    """A wheel and a source archive, with their unsigned statements."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "firmware.py").write_text("")
    (project / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
        '[project]\nname = "firmware"\nversion = "1.0"\n[tool.hatch.build.targets.wheel]\ninclude = ["firmware.py"]\n'
    )
    done = site.run("build", project, "--no-isolation")
    assert done.returncode == 0, done.stderr
    return [Path(line) for line in done.stdout.split()]


def test_a_key_is_enough_for_an_index_that_demands_provenance(site: Site, built: list[Path], tmp_path: Path) -> None:
    """Refused without and with another's key; with the key that the policy names both are in, named, and proven."""
    without = site.run("upload", *built)
    assert without.returncode == 1
    assert without.stderr.count("demands an attestation") == 2
    site.attest(written(new_key(), tmp_path / "other.pem"), *built)
    foreign = site.run("upload", *built)
    assert foreign.returncode == 1
    assert foreign.stderr.count("fails the check signature") == 2
    site.attest(site.key, *built)
    for _ in range(2):
        done = site.run("upload", *built)
        assert done.returncode == 0, done.stderr
    for file in built:
        path = f"/api/v1/indexes/root/stable/files/{sha256_of(file.read_bytes())}/{file.name}/attestations"
        [item] = site.deployment.get(path).json()["items"]
        bundle = file.with_name(f"{file.name}.sigstore.json").read_bytes()
        assert (item["sha256"], item["origin"], item["named"]) == (sha256_of(bundle), "bundle", True)
        assert (item["log"], item["added_by"]) == ("none", "root")
    dest = tmp_path / "dest"
    proven = site.run("download", "firmware", "--dest", dest, "--json")
    assert proven.returncode == 0, proven.stderr
    links = [json.loads(line) for line in proven.stdout.splitlines() if line.startswith("{")]
    assert [link["builder"] for link in links if link.get("number") == 13] == ["machine"]
