"""Files with provenance: the numbered chain, what it ends with, and proving it all again without the network."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from countermark.core.digest import Length, sha256_of
from countermark.core.pointer import Resource
from tests.support.builds import Pipeline
from tests.support.simulator import RepositorySimulator, soon
from tests.unit.client.conftest import WHEEL, WHEEL_TARGET, Run
from tests.unit.client.family import Family
from tests.unit.client.loopback import Loopback
from tests.unit.client.shop import DENIED, PLAIN, REAL, Shop

Cut = Callable[[], None]
"""Takes the network away."""
CHAIN = [
    "root", "timestamp", "snapshot", "target", "pointer", "artifact", "attestation", "statement", "subject",
    "signature", "identity", "log", "policy",
]  # fmt: skip


@pytest.fixture
def shop(run: Run, server: Loopback, tmp_path: Path) -> Shop:
    """The index."""
    return Shop(run, server, tmp_path)


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> Cut:
    """Let no socket connect any more: what tries to is a failure of the test, not of the network."""

    def refuse(*_arguments: object) -> None:
        pytest.fail("a connection was opened")

    return lambda: monkeypatch.setattr(socket.socket, "connect", refuse)


def _steps(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def test_the_chain_is_numbered_with_its_facts(shop: Shop) -> None:
    """Each of the 13 links is one object with number, name, result and facts; the last says who built it from what."""
    done = shop.get("widget==1.10", "--json")
    assert done.exit_code == 0, done.stderr
    links = [step for step in _steps(done.stdout) if "number" in step]
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
    *held, failed = [step for step in _steps(done.stdout) if "number" in step]
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


# Offline
def test_from_the_cache(shop: Shop, cut: Cut) -> None:
    """A file that was downloaded once is proven again from the cache, its attestation beside it; nothing connects."""
    assert shop.get("widget==1.10", "--bundle").exit_code == 0
    file = shop.dest / WHEEL
    assert (shop.dest / f"{WHEEL}.sigstore.json").is_file()
    cut()
    done = shop.check(file, "--offline", "--json")
    assert done.exit_code == 0, done.stderr
    assert [step["step"] for step in _steps(done.stdout) if "number" in step] == CHAIN
    moved = file.with_name("elsewhere.json")
    (shop.dest / f"{WHEEL}.sigstore.json").rename(moved)
    assert shop.check(file, "--offline").exit_code == 10
    assert shop.check(file, "--offline", "--attestation", moved).exit_code == 0
    moved.write_bytes(moved.read_bytes()[:-1] + b" ")
    assert shop.check(file, "--offline", "--attestation", moved).exit_code == 50
    file.write_bytes(b"the evil wheel\n")
    assert shop.check(file, "--offline").exit_code == 41


def test_from_evidence(shop: Shop, cut: Cut, tmp_path: Path) -> None:
    """A folder of evidence proves the files on a machine that has nothing but it, the files and a pinned root."""
    done = shop.get("widget==1.10", "plain", "--evidence", shop.evidence)
    assert done.exit_code == 0, done.stderr
    assert shop.get("plain", "--evidence", shop.evidence).exit_code == 2, "what two runs saw does not fit together"
    cut()
    files = [shop.dest / WHEEL, shop.dest / PLAIN]
    other = {"COUNTERMARK_HOME": str(tmp_path / "other")}
    asked = ("verify", *files, "--offline", "--evidence", shop.evidence)
    assert shop.run(*asked, **other).exit_code == 2, "no root is pinned there"
    done = shop.run(*asked, "--root", tmp_path / "root.json", **other)
    assert done.exit_code == 0, done.stderr
    assert done.stdout.splitlines() == list(map(str, files))
    assert f"the evidence says it is of {shop.url}" in done.stderr
    assert not (tmp_path / "other" / "cache").exists(), "nothing of it is remembered"
    denied = tmp_path / DENIED
    denied.write_bytes(b"gadget\n")
    done = shop.run("verify", denied, *asked[3:], "--root", tmp_path / "root.json", **other)
    assert (done.exit_code, "offline: " in done.stderr) == (10, True), "its pointer was not read when it was written"


def test_where_there_is_no_network_at_all(shop: Shop, tmp_path: Path) -> None:
    """As a process in a network namespace of its own, without even a loopback: cache and evidence both suffice."""
    alone = ("unshare", "--map-root-user", "--net")
    if shutil.which("unshare") is None or subprocess.run((*alone, "true"), check=False).returncode:
        pytest.skip("this machine gives no namespaces without a network")
    assert shop.get("widget==1.10", "--bundle", "--evidence", shop.evidence).exit_code == 0
    argv = (*alone, sys.executable, "-m", "countermark", "verify", str(shop.dest / WHEEL), "--repository", shop.url)
    environment = {"COUNTERMARK_HOME": str(tmp_path / "home"), "PATH": os.environ["PATH"]}
    for options, code in ((("--offline",), 0), (("--offline", "--evidence", str(shop.evidence)), 0), ((), 10)):
        done = subprocess.run(
            (*argv, *options), env=environment, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == code, done.stderr


def test_evidence_is_not_written_over(shop: Shop) -> None:
    """Verifying reads evidence and leaves it as it was, byte for byte."""
    assert shop.get("widget==1.10", "--evidence", shop.evidence).exit_code == 0
    before = {path: path.read_bytes() for path in shop.evidence.rglob("*") if path.is_file()}
    assert shop.check(shop.dest / WHEEL, "--offline", "--evidence", shop.evidence).exit_code == 0
    assert {path: path.read_bytes() for path in shop.evidence.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("longer", [b"\n", b" " * (2 << 20)], ids=["by one", "than the limit"])
def test_another_attestation_of_this_machine_is_told_as_that(shop: Shop, longer: bytes) -> None:
    """What lies here and is not what the pointer names ends 50, and says where the right one comes from."""
    assert shop.get("widget==1.10", "--bundle").exit_code == 0
    beside = shop.dest / f"{WHEEL}.sigstore.json"
    beside.write_bytes(beside.read_bytes() + longer)
    for options in (("--offline",), ("--attestation", beside)):
        done = shop.check(shop.dest / WHEEL, *options)
        assert (done.exit_code, f"{beside} is longer" in done.stderr) == (50, True), done.stderr
        assert "--bundle" in done.stderr
        assert "mirror" not in done.stderr


def _damage(shop: Shop, kind: str) -> None:
    """Flip the last bit of a file of the evidence, or drop it."""
    index = shop.evidence / "indexes" / "root" / "attested"
    policy = sha256_of(b"trust/policy.yaml")
    pointer = sha256_of(WHEEL_TARGET.encode())
    path = {
        "timestamp": index / "timestamp.json",
        "snapshot": index / "snapshot.json",
        "bin": next(path for path in sorted(index.glob("b2-*.json")) if WHEEL.encode() in path.read_bytes()),
        "pointer": index / "targets" / pointer,
        "policy": index / "targets" / policy,
        "trust": index / "trust.json",
        "attestation": next((shop.evidence / "attestations").iterdir()),
    }[kind.removesuffix(" gone")]
    data = path.read_bytes()
    if kind.endswith(" gone"):
        path.unlink()
    elif path.suffix == ".json" and kind != "attestation":
        path.write_bytes(data.replace(b'"version":', b'"version":1', 1))
    else:
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


@pytest.mark.parametrize(
    ("damaged", "codes"),
    [
        ("timestamp", {20, 23}), ("snapshot", {20, 23}), ("bin", {20, 23}), ("trust", {20, 23}), ("pointer", {23}),
        ("policy", {23}), ("attestation", {50}), ("timestamp gone", {10}), ("snapshot gone", {10}), ("bin gone", {10}),
        ("trust gone", {10}), ("pointer gone", {10}), ("policy gone", {10}), ("attestation gone", {10}),
    ],
)  # fmt: skip
def test_altered_evidence_fails_closed(damaged: str, codes: set[int], shop: Shop, cut: Cut) -> None:
    """Whatever of the evidence is altered or missing, the file is not proven: as if the registry had sent it so."""
    assert shop.get("widget==1.10", "--evidence", shop.evidence).exit_code == 0
    shutil.rmtree(shop.dest.parent / "home" / "cache")
    _damage(shop, damaged)
    cut()
    done = shop.check(shop.dest / WHEEL, "--offline", "--evidence", shop.evidence)
    assert done.exit_code in codes, done.stderr


def test_any_damage_to_evidence(shop: Shop, cut: Cut) -> None:
    """A bit flipped in the middle of any file of the evidence does not let the file pass, but in what nothing needs."""
    assert shop.get("widget==1.10", "--evidence", shop.evidence).exit_code == 0
    cut()
    asked = (shop.dest / WHEEL, "--offline", "--evidence", shop.evidence)
    passed = set()
    files = [path for path in sorted(shop.evidence.rglob("*")) if path.is_file()]
    assert len(files) >= 12
    for path in files:
        data = path.read_bytes()
        middle = len(data) // 2
        path.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
        code = shop.check(*asked).exit_code
        assert code in {0, 10, 20, 21, 22, 23, 50, 70}, path
        # The bin of the page is there because the download chose a file by it.
        if code == 0 and not (path.name.startswith("b2-") and WHEEL.encode() not in data):
            passed.add(path.name)
        path.write_bytes(data)
    # The root is the pinned one whatever lies there, and who it says it is of is said by --repository.
    assert passed <= {"1.root.json", "evidence.json"}
    assert shop.check(*asked).exit_code == 0


def test_expired_evidence_ends_21(shop: Shop, cut: Cut) -> None:
    """Evidence is good until the first of its metadata expires, by the clock of the machine that verifies."""
    end = shop.sim.expires["timestamp"] = soon(seconds=8)
    shop.publish()
    assert shop.get("widget==1.10", "--evidence", shop.evidence).exit_code == 0
    cut()
    asked = (shop.dest / WHEEL, "--offline", "--evidence", shop.evidence)
    assert shop.check(*asked).exit_code == 0
    time.sleep(max(0.0, end.timestamp() - time.time()) + 0.1)
    assert shop.check(*asked).exit_code == 21


def test_evidence_of_files_of_a_base(family: Family, tmp_path: Path, cut: Cut) -> None:
    """Evidence holds the pages and metadata of each index that was asked: a file of a base is proven by them."""
    evidence = tmp_path / "evidence"
    code, _, errors = family.call("download", "widget", "--dest", str(family.dest), "--evidence", str(evidence))
    assert code == 0, errors
    cut()
    done = family.run(
        "verify", family.dest / WHEEL, "--offline", "--evidence", evidence, "--repository",
        f"{family.server.url}/alice/dev",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert "is root/stable's" in done.stderr


def test_files_of_a_base_from_the_cache(family: Family, cut: Cut) -> None:
    """The cache too has the pages that prove which index a file is of."""
    assert family.get("widget")[0] == 0
    cut()
    asked = ("verify", family.dest / WHEEL, "--offline", "--repository", f"{family.server.url}/alice/dev")
    done = family.run(*asked)
    assert done.exit_code == 0, done.stderr
    assert "is root/stable's" in done.stderr


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
