"""Files with provenance: the numbered chain, what it ends with, and proving it all again without the network."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from countermark.core.digest import Length, sha256_of
from countermark.core.pointer import Resource
from tests.support.builds import Pipeline
from tests.support.simulator import RepositorySimulator
from tests.unit.client.conftest import WHEEL, WHEEL_TARGET, Run
from tests.unit.client.loopback import Loopback
from tests.unit.client.shop import CHAIN, PLAIN, REAL, Shop, steps


@pytest.fixture
def shop(run: Run, server: Loopback, tmp_path: Path) -> Shop:
    """The index."""
    return Shop(run, server, tmp_path)


def test_the_chain_is_numbered_with_its_facts(shop: Shop) -> None:
    """Each of the 13 links is one object with number, name, result and facts; the last says who built it from what."""
    done = shop.get("widget==1.10", "--json")
    assert done.exit_code == 0, done.stderr
    links = [step for step in steps(done.stdout) if "number" in step]
    assert [(link["number"], link["step"], link["result"]) for link in links] == [
        (number, step, "passed") for number, step in enumerate(CHAIN, start=1)
    ]
    found = {link["step"]: link for link in links}
    assert found["identity"]["issuer"] == "https://token.actions.githubusercontent.com"
    assert found["statement"]["predicate"] == "https://slsa.dev/provenance/v1"
    policy = found["policy"]
    assert (policy["builder"], policy["level"], policy["ref"]) == ("release", 3, "refs/tags/v1.10")
    assert policy["commit"] == "5" * 40
    assert (policy["code"], policy["match"], policy["indexes"]) == ("policy.satisfied", "widget", [])


def test_people_see_the_chain_of_one_file(shop: Shop) -> None:
    """For one file the links are lines with their numbers; for several, and with -q, only the end is told."""
    one = shop.get("widget==1.10")
    assert [line[:2].strip() for line in one.stderr.splitlines()][:13] == [str(n) for n in range(1, 14)]
    assert "11 identity" in one.stderr
    assert "1 file(s) proven: metadata, pointer, digest, attestation and policy" in one.stderr
    several = shop.get("widget==1.10", "plain")
    assert several.exit_code == 0, several.stderr
    assert "identity" not in several.stderr
    assert "1 file(s) proven: metadata, pointer, length and digest" in several.stderr
    assert shop.get("widget==1.10", "-q").stderr == ""


def test_a_file_without_provenance_ends_62_where_the_policy_wants_it(shop: Shop) -> None:
    """What the policy demands and the pointer does not name ends 62, and nothing is placed."""
    shop.attest(None)
    shop.publish()
    done = shop.get("widget==1.10")
    assert (done.exit_code, done.stdout) == (62, "")
    assert "step 13 of 13 (policy) failed: policy: " in done.stderr
    assert not shop.dest.exists() or not any(shop.dest.iterdir())
    assert shop.get("gadget").exit_code == 62


def test_policy_none_ends_3_and_reads_no_evidence(shop: Shop) -> None:
    """--policy none stops after the digest: neither policy nor attestation is asked for."""
    done = shop.get("gadget", "--policy", "none")
    assert done.exit_code == 3
    assert not any("policy.yaml" in path or "sigstore" in path for path, _ in shop.server.seen)


@pytest.mark.parametrize(
    ("altered", "code", "link", "told"),
    [
        ("other file", 52, 9, "attestation.subject"),
        ("other workflow", 60, 11, "policy.workflow"),
        ("truncated", 51, 8, "attestation.structure"),
        ("old build", 62, 13, "policy.source-ref"),
        ("no time", 61, 12, "attestation.log"),
    ],
)
def test_the_first_failure_names_its_link(altered: str, code: int, link: int, told: str, shop: Shop) -> None:
    """A failure has the exit code of its link, says which in words and by a code, and the links before it hold."""
    pipeline = shop.pipeline
    bundle = {
        "other file": lambda: pipeline.bundle("widget-1.11-py3-none-any.whl", REAL),
        "other workflow": lambda: pipeline.bundle(WHEEL, REAL, claims=pipeline.claims("1.10", workflow="nightly.yml")),
        "truncated": lambda: pipeline.bundle(WHEEL, REAL)[:-20],
        "old build": lambda: pipeline.bundle(
            WHEEL, REAL, payload=pipeline.payload(WHEEL, REAL, "1.9"), claims=pipeline.claims("1.9")
        ),
        "no time": lambda: pipeline.bundle(WHEEL, REAL, log="v2", stamped=False),
    }[altered]()
    shop.attest(bundle)
    shop.publish()
    done = shop.get("widget==1.10", "--json")
    assert done.exit_code == code, done.stderr
    *held, failed = [step for step in steps(done.stdout) if "number" in step]
    # Without a time nobody can say whether the certificate held, so the link before is not looked at.
    assert [step["number"] for step in held] == list(range(1, link - (altered == "no time")))
    assert (failed["number"], failed["result"], failed["exit"]) == (link, "failed", code)
    assert failed["code"] == told
    assert ({"wanted", "found", "match", "indexes"} <= failed.keys()) is told.startswith("policy.")
    assert not any(shop.dest.iterdir())


def test_without_policy_and_roots_a_named_attestation_ends_60(
    run: Run, sim: RepositorySimulator, server: Loopback, tmp_path: Path
) -> None:
    """An attestation that is named is always checked; where trust signs no root, nothing can be its root."""
    sim.add_file(WHEEL, REAL, attestation=Pipeline().bundle(WHEEL, REAL))
    sim.publish()
    asked = ("--repository", server.serve_index(sim), "--dest", tmp_path, "--trust-on-first-use")
    done = run("download", "widget", *asked)
    assert (done.exit_code, "(identity) failed" in done.stderr) == (60, True), done.stderr
    assert "root" in done.stderr


@pytest.mark.parametrize(
    "policy", [b"not: a policy", b'schema: "policy/v2"\n', b'schema: "policy/v1"\n' + b"#" * 300_000]
)
def test_a_policy_that_cannot_be_read_ends_62(policy: bytes, shop: Shop) -> None:
    """Nothing is taken under a policy that cannot be read, with an attestation or without."""
    shop.sim.deployment.trust_targets["trust/policy.yaml"] = policy
    shop.sim.deployment.offline_version = 2
    again = RepositorySimulator("root/attested", shop.sim.deployment)
    again.add_file(WHEEL, REAL, attestation=shop.pipeline.bundle(WHEEL, REAL))
    again.add_file(PLAIN, b"plain\n")
    again.publish()
    again.sign_timestamp(version=5)
    shop.server.serve_index(again)
    for name in ("widget", "plain"):
        done = shop.get(name)
        assert (done.exit_code, "policy" in done.stderr) == (62, True), done.stderr
    assert not shop.dest.exists() or not any(shop.dest.iterdir())


def test_an_attestation_that_is_too_large_ends_50_unread(shop: Shop) -> None:
    """A pointer that names 10 MB as attestation is refused before anything of it is read."""
    pointer = shop.sim.pointers[WHEEL]
    named = Resource("/files/ab/cd/x.sigstore.json", sha256_of(b""), Length(10 << 20))
    large = type(pointer)(pointer.name, pointer.version, pointer.index, pointer.file, named)
    shop.sim.targets[WHEEL_TARGET] = large.to_bytes()
    shop.publish()
    assert shop.get("widget==1.10").exit_code == 50
    assert not any("sigstore.json" in path for path, _ in shop.server.seen)


def test_plain_files_do_not_wait_for_sigstore(shop: Shop) -> None:
    """A file without attestation is proven without the library for attestations being loaded, policy or not."""
    code = (
        "import sys; from countermark.cli import app\n"
        f"sys.argv = ['countermark', 'download', 'plain', '--repository', {shop.url!r}, '--dest', {str(shop.dest)!r},"
        f" '--root', {str(shop.dest.parent / 'root.json')!r}]\n"
        "try:\n    app()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "assert 'sigstore' not in sys.modules and 'pypi_attestations' not in sys.modules\n"
    )
    environment = {"COUNTERMARK_HOME": str(shop.dest.parent / "other")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("--evidence", "somewhere"),
        ("--offline", "--evidence", "nowhere"),
        ("--offline", "--trust-on-first-use"),
        ("other-1.0-py3-none-any.whl", "--attestation", "one"),
    ],
)
def test_what_cannot_be_meant_ends_2(arguments: tuple[str, ...], shop: Shop) -> None:
    """Evidence over the network, evidence that is none, first use without the network, one attestation for two."""
    assert shop.get("plain").exit_code == 0
    assert shop.check(shop.dest / PLAIN, *arguments).exit_code == 2


def test_many_files_are_verified_together(shop: Shop) -> None:
    """Several files share one refresh; what fails does not end the others, and is named with its link."""
    assert shop.get("widget==1.10", "plain").exit_code == 0
    (shop.dest / PLAIN).write_bytes(b"PLAIN\n")
    shop.server.seen.clear()
    (shop.dest / "absent-1-py3-none-any.whl").write_bytes(b"absent\n")
    done = shop.check(shop.dest / WHEEL, shop.dest / PLAIN, shop.dest / "absent-1-py3-none-any.whl")
    assert done.exit_code == 41
    assert done.stdout.splitlines() == [str(shop.dest / WHEEL)]
    assert "step 6 of 13 (digest) failed: artifact: " in done.stderr
    assert "1 file(s) proven, 2 failed [exit 41]" in done.stderr
    assert sum(path.endswith("timestamp.json") for path, _ in shop.server.seen) == 1


def test_what_is_not_there_is_said_at_once(shop: Shop, tmp_path: Path) -> None:
    """A file or attestation that does not exist is told as that, whatever the index has under its name."""
    for name in (WHEEL, "nothing-1.0.tar.gz"):
        done = shop.check(tmp_path / name)
        assert (done.exit_code, f"there is no file {tmp_path / name}" in done.stderr) == (70, True), done.stderr
    assert shop.get("widget==1.10").exit_code == 0
    done = shop.check(shop.dest / WHEEL, "--attestation", tmp_path / "nothing.json")
    assert (done.exit_code, "there is no attestation" in done.stderr) == (2, True), done.stderr
    done = shop.check(shop.dest / WHEEL, "--offline")
    assert (done.exit_code, "download --bundle" in done.stderr) == (10, True), done.stderr
