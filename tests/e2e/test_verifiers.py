"""Two registries: what the policy of one has taken, the other takes by the first one's verification summary. ADR 0043.

The second knows neither the builders of the first nor its Sigstore root: its policy names the key of the first's bins.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from countermark.core.attestations.bundle import read_bundle
from countermark.core.digest import sha256_of
from tests.support.archives import make_wheel
from tests.support.builds import Forge, policy
from tests.support.processes import Deployment, program, run, start_deployment
from tests.support.trusting import POLICY, TRUSTED_ROOT, Holders
from tests.support.verifiers import verified

pytestmark = pytest.mark.embedded

WHEEL = "widget-1.0-py3-none-any.whl"


@dataclass(frozen=True, slots=True)
class Registry:
    """A deployment, the holders of its keys, and a client that pinned its root."""

    deployment: Deployment
    holders: Holders
    home: Path

    @property
    def url(self) -> str:
        """The address of its index."""
        return f"{self.deployment.api}/root/stable"

    def sign(self, **targets: bytes) -> None:
        """Have trust sign a `policy`, and a `root` of Sigstore."""
        paths = {}
        for name, content in targets.items():
            paths[{"policy": POLICY, "root": TRUSTED_ROOT}[name]] = self.home / name
            (self.home / name).write_bytes(content)
        self.holders.sign(paths)

    def countermark(self, *arguments: str | Path, code: int = 0) -> str:
        """Run the client, and return what it printed."""
        environment = {"COUNTERMARK_HOME": str(self.home / "client"), "COLUMNS": "1000"}
        environment["COUNTERMARK_TOKEN"] = self.deployment.token()
        done = run(program("countermark"), *map(str, arguments), environment=environment)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    @property
    def bins_key(self) -> str:
        """The public key of its bins, in PEM, as its signed metadata has it."""
        registry = max(self.deployment.tree.glob("indexes/root/stable/metadata/*.registry.json"))
        [key] = json.loads(registry.read_bytes())["signed"]["delegations"]["keys"].values()
        public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(key["keyval"]["public"]))
        return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@pytest.fixture(scope="module")
def registries() -> Iterator[tuple[Registry, Registry]]:
    """Two registries, neither of which has a policy yet."""
    with ExitStack() as stack:
        found = []
        for name in ("a", "b"):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cm-", ignore_cleanup_errors=True)))
            running = start_deployment(folder / "data")
            stack.callback(running.process.end)
            home = folder / name
            home.mkdir()
            found.append(Registry(running, Holders(running, home), home))
        yield found[0], found[1]


@pytest.mark.timeout(400)
def test_what_one_verified_the_other_takes(registries: tuple[Registry, Registry], tmp_path: Path) -> None:
    """From a build that the first knows to an install from the second, which knows the first; nothing else helps."""
    first, second = registries
    forge, folder = Forge(), tmp_path / "dist"
    folder.mkdir()
    first.sign(policy=policy(), root=forge.instance.trusted_root())
    wheel, beside = folder / WHEEL, folder / f"{WHEEL}.sigstore.json"
    wheel.write_bytes(make_wheel("widget", "1.0"))
    beside.write_text(json.dumps(forge.built(WHEEL, wheel.read_bytes())), encoding="utf-8")
    first.countermark("upload", wheel, "--index", first.url)
    [target] = first.deployment.tree.glob(f"indexes/root/stable/targets/pointers/widget/*.{WHEEL}.vsa.json")
    summary = target.read_bytes()
    assert json.loads(read_bundle(summary).payload)["predicate"]["verifiedLevels"] == ["SLSA_BUILD_LEVEL_2"]

    demands = verified(
        first.bins_key, verifier_id="countermark:signing", index="root/stable", more="    min_level: 2\n"
    )
    demands = demands.replace(b"a" * 64, sha256_of(policy()).encode())
    second.sign(policy=demands, root=Forge().instance.trusted_root())
    (folder / "policy.yaml").write_bytes(demands)
    beside.unlink()
    said = second.countermark("upload", wheel, "--index", second.url, code=1)
    assert "verification_summary" in said
    explain = ("policy", "explain", wheel, "--policy", folder / "policy.yaml", "--index", "root/stable")
    given = folder / f"{WHEEL}.vsa.json"
    given.write_bytes(summary)
    assert "verified by team-a" in second.countermark(*explain, "--attestation", given)
    beside.write_bytes(summary)
    second.countermark("upload", wheel, "--index", second.url)
    second.countermark("root", "pin", second.url, second.home / "1.root.json")
    said = second.countermark("download", "widget", "--repository", second.url, "--dest", tmp_path / "got", "--json")
    [policy_step] = [step for step in map(json.loads, said.splitlines()[:-1]) if step.get("step") == "policy"]
    assert (policy_step["verifier"], policy_step["level"]) == ("team-a", 2)
    assert (tmp_path / "got" / WHEEL).read_bytes() == wheel.read_bytes()
