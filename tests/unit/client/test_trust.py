"""`countermark trust show` and `check`: what is trusted, from when to when, read from the pinned root on."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from countermark.attesting.lasting import Kind, Part, RoleLife, SignedPolicy, SigstoreRoot, Trusted, faults
from countermark.attesting.trusted import read_root
from countermark.core.attestations.trust_root import public_root
from countermark.core.digest import sha256_of
from tests.support.sigstore.instance import Instance
from tests.support.simulator import RepositorySimulator
from tests.unit.client.conftest import Run

NOW = datetime(2026, 6, 1, tzinfo=UTC)
MONTH = timedelta(days=30)
POLICY = b"""
schema: "policy/v1"
roots: {private: "trust/private.trusted_root.json"}
test_roots: ["private"]
builders:
  release:
    root: "private"
    issuer: "https://ci.example"
    san: {uri: "https://ci.example/release"}
    builder_ids: ["https://ci.example/release"]
    build_types: ["https://ci.example/build"]
    level: 3
packages:
  - match: "widget"
    builders: ["release"]
  - match: "*"
    deny: "true"
"""


@pytest.fixture
def signed(run: Run, tmp_path: Path) -> Callable[..., Result]:
    """Runs a command of trust on an index whose trust role signs some targets."""

    def call(command: str, targets: dict[str, bytes], *arguments: str) -> Result:
        sim = RepositorySimulator()
        sim.add_file("widget-1.0-py3-none-any.whl")
        sim.deployment.trust_targets |= targets
        sim.deployment.offline_version = 2
        sim._offline = sim.deployment.offline_roles()
        sim.publish()
        folder = tmp_path / "site"
        folder.mkdir()
        (folder / "root.json").write_bytes(sim.deployment.roots[0])
        return run("trust", command, sim.write_tree(folder), "--root", folder / "root.json", *arguments)

    return call


def objects(result: Result) -> list[Any]:
    """Return the objects on the output stream."""
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_what_is_trusted_is_shown(signed: Callable[..., Result]) -> None:
    """Roles with threshold and end, the policy with its digest and rules, and each part of each root with its ids."""
    root = Instance().trusted_root()
    config = "signing_config.v0.2.json"
    targets = {"trust/policy.yaml": POLICY, "trust/private.trusted_root.json": root, config: b"{}"}
    done = signed("show", targets, "--json")
    assert done.exit_code == 0, done.stderr
    *roles, policy, shown, other = objects(done)
    assert other == {"target": config, "sha256": sha256_of(b"{}")}
    assert [one["role"] for one in roles] == ["root", "targets", "snapshot", "timestamp", "trust", "registry"]
    assert [one["threshold"] for one in roles] == [2, 2, 1, 1, 2, 2]
    assert all(len(one["keyids"]) == (3 if one["threshold"] == 2 else 1) for one in roles)
    assert (policy["sha256"], policy["rules"], policy["fault"]) == (sha256_of(POLICY), 2, None)
    assert (shown["root"], shown["sha256"]) == ("trust/private.trusted_root.json", sha256_of(root))
    assert (shown["names"], shown["test"], shown["fault"]) == (["private"], True, None)
    kinds = [part["kind"] for part in shown["parts"]]
    assert kinds == ["certificate authority", *["transparency log"] * 2, "CT log", "time stamp authority"]
    assert all(part["ids"] and part["start"] == "2020-01-01T00:00:00+00:00" for part in shown["parts"])


def test_people_read_a_table(signed: Callable[..., Result]) -> None:
    """Without JSON each role, the policy and each part is a line with its time."""
    done = signed("show", {"trusted_root.json": public_root()})
    assert done.exit_code == 0, done.stderr
    assert "no policy is signed" in done.stdout
    assert "https://rekor.sigstore.dev" in done.stdout
    assert "2 of 3 keys" in done.stdout
    assert "(ended)" in done.stdout


def test_all_is_well(signed: Callable[..., Result]) -> None:
    """A policy whose roots are there and last passes, online roles that last a day notwithstanding."""
    targets = {"trust/policy.yaml": POLICY, "trust/private.trusted_root.json": Instance().trusted_root()}
    done = signed("check", targets)
    assert done.exit_code == 0, done.stdout + done.stderr


def test_nothing_signed_is_said(signed: Callable[..., Result]) -> None:
    """Without policy and roots nothing is at fault, and it is said that nothing can be verified."""
    done = signed("check", {})
    assert done.exit_code == 0, done.stderr
    assert "no attestation can be verified" in done.stderr


def ending(**parts: int) -> bytes:
    """Return a trust root of which parts end in some days."""
    instance = Instance()
    for part, days in parts.items():
        holder = instance.log.key if part == "log" else instance.ct_log if part == "ct_log" else instance.authority
        holder.end = datetime.now(UTC) + timedelta(days=days)
    if "log" in parts:
        instance.log_v2.key.end = datetime.now(UTC) + timedelta(days=parts["log"] - 1)
    return instance.trusted_root()


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        ({"trusted_root.json": ending(ct_log=10)}, "the last CT log ends on"),
        ({"trusted_root.json": ending(authority=-1)}, "the last certificate authority ended on"),
        ({"trusted_root.json": ending(log=5)}, "the last transparency log ends on"),
        ({"trusted_root.json": b"{}"}, "trusted_root.json cannot be used"),
        ({"trusted_root.json": Instance().trusted_root()}, "test instance's"),
        ({"trust/policy.yaml": b"schema: [\n"}, "the policy cannot be read"),
        ({"trust/policy.yaml": POLICY}, "which the role trust does not sign"),
    ],
)
def test_what_ends_or_cannot_be_read_is_a_fault(
    signed: Callable[..., Result], targets: dict[str, bytes], words: str
) -> None:
    """Each way in which new files could not be verified any more ends with 1 and words that name it."""
    done = signed("check", targets)
    assert done.exit_code == 1
    assert words in done.stdout
    assert words in done.stderr


def test_longer_looks_see_more(signed: Callable[..., Result]) -> None:
    """Roles that key holders sign are due as well, when one looks far enough ahead."""
    done = signed("check", {}, "--within", "200d")
    assert done.exit_code == 1
    assert "the role targets, version 2, ends on" in done.stdout
    assert "the role timestamp" not in done.stdout


def part(kind: Kind, days: int | None) -> Part:
    """Return a part that ends in some days."""
    return Part(kind, "x", ("00",), None, None if days is None else NOW + timedelta(days=days))


@pytest.mark.parametrize(
    ("ends", "is_fault"),
    [([-400, None], False), ([-400, 400], False), ([-400, 10], True), ([-400], True), ([10, 29], True), ([30], True)],
)
def test_what_goes_on_makes_up_for_what_has_ended(ends: list[int | None], is_fault: bool) -> None:
    """A root keeps what has ended for what it signed; a kind is at fault when its last one ends."""
    root = SigstoreRoot("r", sha256_of(b""), tuple(part(Kind.LOG, days) for days in ends))
    assert bool(faults(Trusted((), None, (root,)), NOW, MONTH)) is is_fault


def test_online_roles_need_not_last() -> None:
    """The timestamp lasts a day by design: only when it has ended is it at fault; a role of key holders is before."""
    timestamp = RoleLife("timestamp", 1, NOW + timedelta(hours=5))
    assert faults(Trusted((timestamp,), None, ()), NOW, MONTH) == []
    [fault] = faults(Trusted((RoleLife("trust", 3, NOW + timedelta(days=20)),), None, ()), NOW, MONTH)
    assert fault == "the role trust, version 3, ends on 2026-06-21, in 20 days: its key holders are to sign it anew"
    policy = SignedPolicy(sha256_of(b""), 1, {"a": "trusted_root.json"})
    assert len(faults(Trusted((), policy, ()), NOW, MONTH)) == 1


def test_the_public_root_is_read() -> None:
    """The root that the installed library brings along: all four kinds, ended ones among them, and usable."""
    root = read_root("trusted_root.json", public_root())
    assert (root.fault, root.is_test) == (None, False)
    assert {one.kind for one in root.parts} == set(Kind)
    assert any(one.has_ended(NOW) for one in root.parts)
    assert not faults(Trusted((), None, (root,)), NOW, MONTH)
