"""`countermark conformance` as a suite drives it: what is asked, what is kept, and 0 or 1.

Source: trust contract sections 1.1, 1.2 and 3.4; TUF specification 1.0.34 section 5.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Snapshot

from tests.support.simulator import RepositorySimulator, signed_bytes, signers, soon
from tests.unit.client.conftest import WHEEL_TARGET, Run
from tests.unit.client.loopback import Loopback

LATEST, PAGE = "pointers/widget/_latest.pointer", "pointers/widget/_simple.json"


@dataclass
class Suite:
    """What a suite sees of the client: exit codes, requests, and the two folders."""

    run: Run
    server: Loopback
    sim: RepositorySimulator
    folder: Path

    @property
    def targets(self) -> Path:
        """Where targets are placed."""
        return self.folder.parent / "targets"

    def init(self) -> int:
        """Initialise with the first root."""
        root = self.folder.parent / "initial.json"
        root.write_bytes(self.sim.deployment.roots[0])
        return int(self.run("conformance", "--metadata-dir", self.folder, "init", root).exit_code)

    def refresh(self) -> int:
        """Serve what is published now, and refresh."""
        url = self._served()
        return int(self.run("conformance", "--metadata-url", url, "--metadata-dir", self.folder, "refresh").exit_code)

    def download(self, *paths: str) -> int:
        """Serve what is published now, and download targets in one call."""
        url, named = self._served(), [each for path in paths for each in ("--target-name", path)]
        into = ("--target-dir", self.targets, "--target-base-url", url.replace("/metadata", "/targets"))
        where = ("--metadata-url", url, "--metadata-dir", self.folder)
        return int(self.run("conformance", *where, *named, *into, "download").exit_code)

    def _served(self) -> str:
        self.server.paths.clear()
        self.server.seen.clear()
        return f"{self.server.serve_tree(self.sim)}/metadata"

    @property
    def asked(self) -> list[str]:
        """The files that the last call asked for, without their folders."""
        return [path.rpartition("/")[2] for path, _ in self.server.seen]

    def trusted(self) -> dict[str, int]:
        """Return the versions that the client trusts, by the names of its files."""
        files = sorted(self.folder.glob("*.json"))
        return {path.name: json.loads(path.read_bytes())["signed"]["version"] for path in files}

    def placed(self) -> list[bytes]:
        """Return the targets that were placed, the latest last."""
        return [path.read_bytes() for path in sorted(self.targets.iterdir(), key=lambda path: path.stat().st_mtime_ns)]


@pytest.fixture
def suite(run: Run, server: Loopback, sim: RepositorySimulator, tmp_path: Path) -> Suite:
    """A client that was initialised with the first root."""
    made = Suite(run, server, sim, tmp_path / "metadata")
    made.folder.mkdir()
    assert made.init() == 0
    return made


def test_init_copies_and_asks_nothing(suite: Suite) -> None:
    """A root is copied as it is, under its plain name, without a request and without a look at it."""
    assert suite.server.seen == []
    assert (suite.folder / "root.json").read_bytes() == suite.sim.deployment.roots[0]
    root = suite.folder.parent / "nonsense.json"
    root.write_bytes(b"no root")
    assert suite.run("conformance", "--metadata-dir", suite.folder.parent / "other", "init", root).exit_code == 0


def test_the_requests_of_a_run_are_those_of_the_workflow(suite: Suite) -> None:
    """Cold: the chain of roots, timestamp, snapshot, targets, in this order. Warm: next root and timestamp alone."""
    assert suite.refresh() == 0
    assert suite.asked == ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"]
    assert suite.trusted() == {"root.json": 1, "snapshot.json": 1, "targets.json": 1, "timestamp.json": 1}
    assert suite.refresh() == 0
    assert suite.asked == ["2.root.json", "timestamp.json"]


def test_targets_are_found_by_their_hash_and_fetched_once(suite: Suite) -> None:
    """Two targets cost one refresh and one bin each; with matching bytes here, only the metadata are asked again."""
    sim = suite.sim
    assert suite.download(WHEEL_TARGET, LATEST) == 0
    bins = list(dict.fromkeys(sim.bin_key(path).rpartition("/")[2] for path in (WHEEL_TARGET, LATEST)))
    names = [sim.target_key(path).rpartition("/")[2] for path in (WHEEL_TARGET, LATEST)]
    expected = ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json", "1.registry.json"]
    assert sorted(suite.asked) == sorted([*expected, *bins, *names])
    assert suite.asked[:5] == expected
    assert f"/{sim.key('targets')}/pointers/widget/{names[0]}" in [path for path, _ in suite.server.seen]
    assert suite.placed() == [sim.targets[WHEEL_TARGET], sim.targets[LATEST]]
    assert suite.download(WHEEL_TARGET, LATEST) == 0
    assert suite.asked == ["2.root.json", "timestamp.json"]
    sim.add_file("widget-1.11-py3-none-any.whl")
    sim.publish()
    assert suite.download(WHEEL_TARGET, LATEST) == 0
    assert names[0] not in suite.asked
    assert suite.placed() == [sim.targets[WHEEL_TARGET], sim.targets[LATEST]]


def test_the_first_target_that_fails_ends_the_run(suite: Suite) -> None:
    """What stands before it is placed, what stands behind it is not asked for."""
    altered = suite.sim.target_key(PAGE)
    suite.sim.objects[altered] = suite.sim.objects[altered].replace(b"widget", b"gadget")
    for bad in ("pointers/widget/nothing.pointer", PAGE):
        assert suite.download(WHEEL_TARGET, bad, LATEST) == 1
        assert suite.placed() == [suite.sim.targets[WHEEL_TARGET]]


def test_a_chain_of_roots_is_walked_link_by_link(suite: Suite) -> None:
    """Roots whose keys are replaced one after the other are followed when old and new keys signed each."""
    deployment = suite.sim.deployment
    for _ in range(3):
        before, deployment.keys["root"] = deployment.keys["root"], signers("root")
        deployment.sign_root(extra=before)
    suite.sim.publish()
    assert suite.refresh() == 0
    assert suite.asked[:5] == ["2.root.json", "3.root.json", "4.root.json", "5.root.json", "timestamp.json"]
    assert suite.trusted()["root.json"] == 4
    assert suite.refresh() == 0
    assert suite.asked == ["5.root.json", "timestamp.json"]


def _by_new_keys_alone(old: list[CryptoSigner], new: list[CryptoSigner]) -> list[CryptoSigner]:
    return new


def _by_old_keys_alone(old: list[CryptoSigner], new: list[CryptoSigner]) -> list[CryptoSigner]:
    return old


def _by_one_key_twice(old: list[CryptoSigner], new: list[CryptoSigner]) -> list[CryptoSigner]:
    return [old[0], *new]


@pytest.mark.parametrize("signed_by", [_by_new_keys_alone, _by_old_keys_alone, _by_one_key_twice])
def test_a_broken_link_ends_the_walk_before_it(
    signed_by: Callable[[list[CryptoSigner], list[CryptoSigner]], list[CryptoSigner]], suite: Suite
) -> None:
    """A root that lacks a threshold of the old or of its own keys ends 1; the good ones before it are kept."""
    deployment = suite.sim.deployment
    deployment.sign_root()
    before, deployment.keys["root"] = deployment.keys["root"], signers("root")
    deployment.sign_root(keys=signed_by(before, deployment.keys["root"]))
    suite.sim.publish()
    assert suite.refresh() == 1
    assert suite.trusted() == {"root.json": 2}
    assert "timestamp.json" not in suite.asked


def test_an_expired_root_counts_once_it_is_the_newest(suite: Suite) -> None:
    """Expired roots on the way are walked over; the newest one must not be expired."""
    deployment = suite.sim.deployment
    deployment.root_expires = soon(hours=-1)
    deployment.sign_root()
    suite.sim.publish()
    assert suite.refresh() == 1
    assert suite.trusted() == {"root.json": 2}
    deployment.root_expires = soon(days=1)
    deployment.sign_root()
    suite.sim.publish()
    assert suite.refresh() == 0
    assert suite.trusted()["root.json"] == 3


@pytest.mark.parametrize(("role", "kept"), [("timestamp", {}), ("snapshot", {"timestamp.json": 2})])
def test_expired_metadata_end_1(role: str, kept: dict[str, int], suite: Suite) -> None:
    """What is expired is not kept, what was checked before it is."""
    suite.sim.expires[role] = soon(hours=-1)
    suite.sim.publish()
    assert suite.refresh() == 1
    assert suite.trusted() == {"root.json": 1, **kept}


def test_a_timestamp_of_the_same_version_is_not_taken(suite: Suite) -> None:
    """Other content under the version that is trusted is passed over in silence, and nothing more is asked."""
    assert suite.refresh() == 0
    before = (suite.folder / "timestamp.json").read_bytes()
    suite.sim.add_file("gadget-1-py3-none-any.whl")
    suite.sim.publish()
    suite.sim.sign_timestamp(version=1)
    assert suite.refresh() == 0
    assert (suite.folder / "timestamp.json").read_bytes() == before
    assert suite.asked == ["2.root.json", "timestamp.json"]


def test_a_role_must_not_vanish_from_the_snapshot(suite: Suite) -> None:
    """A snapshot that no longer lists a role ends 1 and is not kept."""
    assert suite.refresh() == 0
    sim = suite.sim
    sim.sign_snapshot()
    key = sim.key(f"metadata/{sim.snapshot_version}.snapshot.json")
    snapshot = Metadata[Snapshot].from_bytes(sim.objects[key]).signed
    del snapshot.meta["registry.json"]
    sim.objects[key] = signed_bytes(snapshot, sim.deployment.keys["snapshot"])
    sim.sign_timestamp()
    assert suite.refresh() == 1
    assert suite.trusted()["snapshot.json"] == 1
    sim.publish()
    assert suite.refresh() == 0


@pytest.mark.parametrize("role", ["timestamp", "snapshot"])
def test_versions_restart_with_a_rotated_key(role: str, suite: Suite) -> None:
    """After a fast forward a lower version ends 1; once the root lists new keys, versions may begin anew."""
    sim = suite.sim
    (sim.sign_timestamp if role == "timestamp" else _forward_snapshot(sim))(version=2**31)
    assert suite.refresh() == 0
    sim.snapshot_version, sim.timestamp_version = 1, 1 if role == "timestamp" else 9
    sim.publish()
    assert suite.refresh() == 1
    sim.deployment.rotate("timestamp", "snapshot")
    sim.snapshot_version = sim.timestamp_version = 0
    sim.publish()
    assert suite.refresh() == 0
    assert suite.trusted() == {"root.json": 2, "snapshot.json": 1, "targets.json": 1, "timestamp.json": 1}


def _forward_snapshot(sim: RepositorySimulator) -> Callable[..., None]:
    def forward(version: int) -> None:
        sim.snapshot_version = version - 1
        sim.sign_snapshot()
        sim.sign_timestamp()

    return forward


def test_one_key_does_not_sign_twice(suite: Suite) -> None:
    """Metadata with two signatures under one key id end 1."""
    key = suite.sim.key("metadata/timestamp.json")
    document = json.loads(suite.sim.objects[key])
    document["signatures"] *= 2
    suite.sim.objects[key] = json.dumps(document).encode()
    assert suite.refresh() == 1
    assert suite.trusted() == {"root.json": 1}


@pytest.mark.parametrize(
    "arguments",
    [
        ("refresh",),
        ("--metadata-dir", "{folder}", "refresh"),
        ("--metadata-dir", "{folder}", "init"),
        ("--metadata-dir", "{folder}", "init", "/missing"),
        ("--metadata-url", "http://127.0.0.1:9", "--metadata-dir", "{folder}", "download"),
        ("--metadata-url", "http://127.0.0.1:9", "--metadata-dir", "{folder}", "refresh"),
        ("--metadata-url", "http://127.0.0.1:9", "--metadata-dir", "{folder}/none", "refresh"),
        ("--metadata-url", "nonsense", "--metadata-dir", "{folder}", "refresh"),
        ("--nonsense", "refresh"),
        ("publish",),
        (),
    ],
)
def test_every_other_end_is_1(arguments: tuple[str, ...], suite: Suite) -> None:
    """Calls that make no sense and repositories that do not answer end 1, with words and without a traceback."""
    ended = suite.run("conformance", *(part.format(folder=suite.folder) for part in arguments))
    assert ended.exit_code == 1
    assert ended.stderr
    assert ended.stdout == ""
