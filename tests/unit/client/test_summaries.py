"""Verification summaries that clients take: what an index signs of a file, and what is at hand. ADR 0043."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

import pytest

from countermark.core.names import parse_file_name, parse_project_name, summary_target
from tests.support.builds import Pipeline
from tests.support.sigstore.instance import Instance
from tests.support.verifiers import VERIFIER, Verifier
from tests.unit.client.conftest import WHEEL, Run
from tests.unit.client.loopback import Loopback
from tests.unit.client.test_further import REAL, Shop, steps

TARGET = summary_target(parse_project_name("widget"), parse_file_name(WHEEL))


class Team(Shop):
    """A served index whose policy takes a wheel by its build, or by what another team verified."""

    def __init__(self, run: Run, server: Loopback, folder: Path) -> None:
        self.verifier = Verifier(Instance())
        rule = '    verifiers: ["team-a"]\n    log: {rekor: ["v1", "v2", "none"]}\n'
        named = {
            "verifier_id": VERIFIER,
            "key": "team-a",
            "level": 3,
            "policies": ["a" * 64],
            "resource_uris": ["countermark:team-a/prod/{project}/{version}/{file}"],
        }
        text = Pipeline().policy(more=rule).replace(b"    min_level: 3\n", b"    min_level: 2\n").decode()
        text += f"keys:\n  team-a: |\n{textwrap.indent(self.verifier.pem, '    ')}"
        text += f"verifiers:\n  team-a: {json.dumps(named)}\n"
        super().__init__(run, server, folder, text.encode())

    def summary(self, **changes: Any) -> bytes:
        """Return a summary of the wheel."""
        return json.dumps(self.verifier.summary(WHEEL, REAL, **changes)).encode()

    def sign(self, **changes: Any) -> None:
        """Let the index sign a summary of the wheel."""
        self.sim.targets[TARGET] = self.summary(**changes)
        self.publish()


@pytest.fixture
def team(run: Run, server: Loopback, tmp_path: Path) -> Team:
    """The index."""
    return Team(run, server, tmp_path)


def test_the_signed_summary_satisfies_the_policy(team: Team) -> None:
    """It lies beside the pointer, and is looked for where the rule names verifiers; nothing else is asked for then."""
    assert team.get().exit_code == 62
    team.sign()
    before = len(team.asked())
    done = team.get("--json")
    assert done.exit_code == 0, done.output
    found = steps(done.stdout)
    assert (found["policy"]["verifier"], found["policy"]["builder"], found["policy"]["level"]) == ("team-a", None, 2)
    assert found["statement"]["predicate"] == "https://slsa.dev/verification_summary/v1"
    assert (found["further"]["found"], found["further"]["verified"]) == (1, 1)
    assert len(team.asked()) == before


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"verificationResult": "FAILED"}, 62),
        ({"verifiedLevels": ["SLSA_BUILD_LEVEL_1"]}, 62),
        ({"resourceUri": f"countermark:team-a/prod/widget/1.9/{WHEEL}"}, 62),
        ({"policy": {"uri": "x", "digest": {"sha256": "b" * 64}}}, 62),
        ({"verifier": {"id": "https://verify.example/eve"}}, 60),
        ({"subject": [{"name": WHEEL, "digest": {"sha256": "c" * 64}}]}, 62),
    ],
)
def test_a_forged_one_does_not(team: Team, changes: dict[str, Any], code: int) -> None:
    """Whoever has the online keys of the index can list what he likes, and signs for no verifier."""
    team.sign(**changes)
    assert team.get().exit_code == code
    assert not (team.dest / WHEEL).exists()


def test_another_key_does_not(team: Team) -> None:
    """A summary by a key that the policy does not name is no evidence, nor is a statement that nobody signed."""
    team.sim.targets[TARGET] = json.dumps(Verifier(team.pipeline.instance).summary(WHEEL, REAL)).encode()
    team.publish()
    assert team.get().exit_code == 62
    team.sim.targets[TARGET] = b'{"_type": "https://in-toto.io/Statement/v1"}'
    team.publish()
    assert team.get().exit_code == 62


def test_provenance_that_the_pointer_names_comes_first(team: Team) -> None:
    """A summary that fails beside it changes nothing."""
    team.sim.add_file(WHEEL, REAL, attestation=team.pipeline.bundle(WHEEL, REAL))
    team.sign(verificationResult="FAILED")
    done = team.get("--json")
    assert done.exit_code == 0, done.output
    assert (steps(done.stdout)["policy"]["builder"], "further" in steps(done.stdout)) == ("release", False)


def test_a_summary_that_is_withheld_is_told(team: Team) -> None:
    """What is signed and cannot be had satisfies nothing, and the refusal says so."""
    team.sign()
    for path in [path for path in team.server.paths if path.endswith(".vsa.json")]:
        del team.server.paths[path]
    done = team.get()
    assert (done.exit_code, ".vsa.json" in done.output) == (62, True)


def test_one_at_hand(team: Team, run: Run) -> None:
    """`verify` and `policy explain` take a summary by `--attestation`, also where the pointer names a build."""
    file, summary = team.folder / WHEEL, team.folder / f"{WHEEL}.vsa.json"
    file.write_bytes(REAL)
    summary.write_bytes(team.summary())
    asked = ("verify", file, "--repository", team.url)
    assert run(*asked).exit_code == 62
    assert run(*asked, "--attestation", summary).exit_code == 0
    assert run(*asked, "--attestation", summary, "--offline").exit_code == 0
    explained = run("policy", "explain", file, "--repository", team.url, "--attestation", summary, "--json")
    assert explained.exit_code == 0, explained.output
    assert json.loads(explained.stdout)["judgement"]["verdict"]["verifier"] == "team-a"
    foreign = team.pipeline.bundle(WHEEL, REAL, claims=team.pipeline.claims("1.10", repository="eve/widget"))
    team.sim.add_file(WHEEL, REAL, attestation=foreign)
    team.publish()
    assert run(*asked).exit_code == 60
    assert run(*asked, "--attestation", summary).exit_code == 0
    summary.write_bytes(team.summary(verificationResult="FAILED"))
    assert run(*asked, "--attestation", summary).exit_code == 62


def test_without_the_network(team: Team, run: Run) -> None:
    """Evidence holds the signed summary."""
    team.sign()
    evidence = team.folder / "evidence"
    assert team.get("--evidence", evidence).exit_code == 0
    team.server.paths.clear()
    offline = ("verify", team.dest / WHEEL, "--offline", "--repository", team.url, "--evidence", evidence)
    done = run(*offline)
    assert done.exit_code == 0, done.output
