"""Files with provenance are proven again without the network, from the cache or from a folder of evidence."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from countermark.core.digest import sha256_of
from tests.support.simulator import soon
from tests.unit.client.conftest import WHEEL, WHEEL_TARGET, Cut, Run
from tests.unit.client.family import Family
from tests.unit.client.loopback import Loopback
from tests.unit.client.shop import CHAIN, DENIED, PLAIN, Shop, steps


@pytest.fixture
def shop(run: Run, server: Loopback, tmp_path: Path) -> Shop:
    """The index."""
    return Shop(run, server, tmp_path)


def test_from_the_cache(shop: Shop, cut: Cut) -> None:
    """A file that was downloaded once is proven again from the cache, its attestation beside it; nothing connects."""
    assert shop.get("widget==1.10", "--bundle").exit_code == 0
    file = shop.dest / WHEEL
    assert (shop.dest / f"{WHEEL}.sigstore.json").is_file()
    cut()
    done = shop.check(file, "--offline", "--json")
    assert done.exit_code == 0, done.stderr
    assert [step["step"] for step in steps(done.stdout) if "number" in step] == CHAIN
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
