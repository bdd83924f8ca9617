"""`countermark policy`: check, explain and schema, with bundles that a test instance really signed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.builds import Pipeline
from tests.support.policies import POLICY, edited
from tests.support.sigstore.instance import SLSA, Instance, statement
from tests.support.sigstore.tokens import GITHUB, github
from tests.support.simulator import Deployment, RepositorySimulator
from tests.unit.client.conftest import Run
from tests.unit.client.loopback import Loopback

NAME, CONTENT = "thing-1.0-py3-none-any.whl", b"a wheel"
REPOSITORY = "https://github.com/acme/thing"
WORKFLOW = f"{REPOSITORY}/.github/workflows/release.yml"
TAG = "refs/tags/v1.0"
SIGNED = f"""
schema: "policy/v1"
roots: {{test: "trusted_root.json"}}
test_roots: ["test"]
builders:
  thing-release:
    root: "test"
    issuer: "{GITHUB}"
    san: {{workflow: "{WORKFLOW}", refs: ["refs/tags/v*"]}}
    builder_ids: ["{WORKFLOW}@{TAG}"]
    build_types: ["https://actions.github.io/buildtypes/workflow/v1"]
    level: 2
packages:
  - match: "thing"
    builders: ["thing-release"]
    source: "{REPOSITORY}"
    source_refs: ["refs/tags/v{{version}}"]
    min_level: 2
"""


def predicate(**changes: str) -> dict[str, Any]:
    """Return what a run of the workflow writes."""
    workflow = {"repository": REPOSITORY, "ref": TAG, "path": ".github/workflows/release.yml"} | changes
    return {
        "buildDefinition": {
            "buildType": "https://actions.github.io/buildtypes/workflow/v1",
            "externalParameters": {"workflow": workflow},
            "resolvedDependencies": [
                {"uri": f"git+{workflow['repository']}@{workflow['ref']}", "digest": {"gitCommit": "5" * 40}}
            ],
        },
        "runDetails": {"builder": {"id": f"{WORKFLOW}@{TAG}"}},
    }


@pytest.fixture(scope="module")
def instance() -> Instance:
    """An instance whose parts no test replaces."""
    return Instance()


@pytest.fixture
def folder(tmp_path: Path, instance: Instance) -> Path:
    """A folder with a wheel, the policy, the root and a good bundle."""
    (tmp_path / NAME).write_bytes(CONTENT)
    (tmp_path / "policy.yaml").write_text(SIGNED)
    (tmp_path / "root.json").write_bytes(instance.trusted_root())
    _sign(tmp_path, instance, ref=TAG)
    return tmp_path


def _sign(
    folder: Path, instance: Instance, *, ref: str, content: bytes = CONTENT, repository: str = REPOSITORY
) -> None:
    payload = statement(NAME, content, SLSA, predicate=predicate(ref=ref, repository=repository))
    (folder / "bundle.json").write_text(json.dumps(instance.sign(payload, github(ref=ref), log="v2")))


def judged(run: Run, folder: Path, *more: str) -> Any:
    """Ask about the wheel with its bundle."""
    given = ["--policy", folder / "policy.yaml", "--trusted-root", folder / "root.json"]
    return run("policy", "explain", folder / NAME, *given, "--attestation", folder / "bundle.json", *more)


def test_check_says_what_is_demanded(run: Run, folder: Path) -> None:
    """A policy is told in words on the output stream, notes on the other; both in one object with --json."""
    found = run("policy", "check", folder / "policy.yaml")
    assert found.exit_code == 0
    assert f"built from {REPOSITORY} at refs/tags/v{{version}}" in found.stdout
    assert "root test may be a test instance's" in found.stderr
    document = json.loads(run("policy", "check", folder / "policy.yaml", "--json").stdout)
    assert (document["rules"], len(document["notes"])) == (1, 1)
    assert run("policy", "check", folder / "policy.yaml", "--strict").exit_code == 1


def test_check_refuses_what_is_none(run: Run, tmp_path: Path) -> None:
    """What is no policy ends with 1 and names the place; what cannot be read with 2."""
    bad = tmp_path / "policy.yaml"
    bad.write_text(edited({'match: "widget"': 'match: "Wid_get"'}, POLICY))
    found = run("policy", "check", bad)
    assert found.exit_code == 1
    assert "packages[0].match: 'Wid_get' would match nothing; names are compared as 'wid-get'" in found.stderr
    assert run("policy", "check", tmp_path / "none.yaml").exit_code == 2
    bad.write_bytes(b"#" * 300_000)
    assert run("policy", "check", bad).exit_code == 2


def test_schema(run: Run) -> None:
    """The schema is printed as it is in the package."""
    assert json.loads(run("policy", "schema").stdout)["title"] == "Countermark policy/v1"


def test_explain_without_bundles(run: Run, folder: Path) -> None:
    """A file and a release are told the rule that is about them, with their version in it; nothing is judged."""
    asked = ("policy", "explain", "--policy", folder / "policy.yaml")
    found = run(*asked, folder / NAME, "Thing==2.0", "other==1")
    assert found.exit_code == 0
    assert "thing 1.0 in any index: the rule about thing" in found.stdout
    assert f"built from {REPOSITORY} at refs/tags/v2.0" in found.stdout
    assert "other 1 in any index: no rule is about it\n  refused" in found.stdout


def test_explain_with_a_bundle(run: Run, folder: Path) -> None:
    """A good bundle gets a verdict with every check, and ends with 0."""
    found = judged(run, folder)
    assert found.exit_code == 0, found.output
    assert f"ok  certificate source: {REPOSITORY} (wanted: {REPOSITORY})" in found.stdout
    assert f"{NAME} is attested by builder thing-release" in found.stdout
    document = json.loads(judged(run, folder, "--json").stdout)
    assert (document["exit"], document["judgement"]["verdict"]["builder"]) == (0, "thing-release")


@pytest.mark.parametrize(
    ("ref", "repository", "code", "words"),
    [
        ("refs/tags/v0.9", REPOSITORY, 62, "NO  source ref: refs/tags/v0.9 (wanted: refs/tags/v1.0)"),
        ("refs/heads/main", REPOSITORY, 60, "NO  workflow ref: refs/heads/main"),
        (TAG, "https://github.com/eve/thing", 60, "NO  predicate source"),
    ],
)
def test_explain_with_a_bad_bundle(
    run: Run, folder: Path, instance: Instance, ref: str, repository: str, code: int, words: str
) -> None:
    """A bundle that the policy does not take ends with the code of the chain, and the check that failed is named."""
    _sign(folder, instance, ref=ref, repository=repository)
    found = judged(run, folder)
    assert found.exit_code == code, found.output
    assert words in found.stdout


def test_explain_with_a_bundle_of_another_file(run: Run, folder: Path, instance: Instance) -> None:
    """A bundle about other bytes ends with 52; one that is none with 51."""
    _sign(folder, instance, ref=TAG, content=b"another wheel")
    assert judged(run, folder).exit_code == 52
    (folder / "bundle.json").write_text("{}")
    assert judged(run, folder).exit_code == 51


def test_explain_with_another_root(run: Run, folder: Path) -> None:
    """Under another root of the same shape the time is nobody's: 61; without a root there is no authority: 60."""
    (folder / "root.json").write_bytes(Instance().trusted_root())
    assert judged(run, folder).exit_code == 61
    given = ("--policy", folder / "policy.yaml", "--attestation", folder / "bundle.json")
    assert run("policy", "explain", folder / NAME, *given).exit_code == 60


def test_explain_the_signed_policy(run: Run, server: Loopback, tmp_path: Path) -> None:
    """Without --policy it is the one that the index's trust role signs, with its roots; unsigned ones are not asked."""
    pipeline, deployment = Pipeline(), Deployment()
    deployment.trust_targets |= pipeline.trusted()
    sim = RepositorySimulator("root/attested", deployment)
    sim.publish()
    server.serve_index(sim)
    (tmp_path / "root.json").write_bytes(deployment.roots[0])
    wheel, bundle = tmp_path / "widget-1.10-py3-none-any.whl", tmp_path / "bundle.json"
    wheel.write_bytes(CONTENT)
    bundle.write_bytes(pipeline.bundle(wheel.name, CONTENT))
    where = ("--repository", f"{server.url}/root/attested", "--root", tmp_path / "root.json")
    found = run("policy", "explain", wheel, "other==1", *where)
    assert found.exit_code == 0, found.output
    assert "widget 1.10 in root/attested: the rule about widget\n" in found.stdout
    assert "other 1 in root/attested: the rule about every project\n  refused" in found.stdout
    judged = run("policy", "explain", wheel, *where, "--attestation", bundle, "--json")
    assert (judged.exit_code, json.loads(judged.stdout)["judgement"]["verdict"]["builder"]) == (0, "release")
    bundle.write_bytes(pipeline.bundle(wheel.name, CONTENT, "1.9"))
    assert run("policy", "explain", wheel, *where, "--attestation", bundle).exit_code == 62
    assert run("policy", "explain", wheel, *where, "--trusted-root", tmp_path / "root.json").exit_code == 2


def test_explain_where_no_policy_is_signed(run: Run, tree: Path, sim: RepositorySimulator, tmp_path: Path) -> None:
    """Then it says that nothing is demanded."""
    root = tmp_path / "root.json"
    root.write_bytes(sim.deployment.roots[0])
    found = run("policy", "explain", "widget==1.10", "--repository", tree, "--root", root)
    assert found.exit_code == 0, found.output
    assert "no policy is signed\n  nothing is demanded" in found.stdout


def test_explain_is_used_wrongly(run: Run, folder: Path) -> None:
    """What is neither file nor release, a root without a name, and rules about indexes without --index end with 2."""
    policy = folder / "policy.yaml"
    assert run("policy", "explain", "--policy", policy, "thing").exit_code == 2
    assert run("policy", "explain", "--policy", policy, folder / "root.json").exit_code == 2
    bundle = ("--attestation", folder / "bundle.json")
    assert run("policy", "explain", "--policy", policy, "thing==1.0", *bundle).exit_code == 2
    root = ("--trusted-root", f"other={folder / 'root.json'}")
    assert "the policy has: test" in run("policy", "explain", "--policy", policy, "thing==1", *root).stderr
    policy.write_text(SIGNED.replace('match: "thing"', 'match: "thing"\n    indexes: ["root/stable"]'))
    assert "--index" in run("policy", "explain", "--policy", policy, "thing==1").stderr
    found = run("policy", "explain", "--policy", policy, "thing==1", "--index", "root/stable")
    assert found.exit_code == 0
    assert "thing 1 in root/stable: the rule about thing in root/stable" in found.stdout
