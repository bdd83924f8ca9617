"""The chain of an index's metadata, checked from the files that are served. TUF specification section 5."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from securesystemslib.signer import CryptoSigner

from countermark.core.digest import sha256_of
from countermark.core.names import FileName, NormalizedName, parse_index_name, pointer_target
from shared.trust.chain import check_metadata
from shared.trust.links import MetadataReport, Served
from tests.support.simulator import Deployment, RepositorySimulator

FILE = "widget-1.0-py3-none-any.whl"
TARGET = pointer_target(NormalizedName("widget"), FileName(FILE))
INDEX = parse_index_name("root/stable")


@pytest.fixture
def sim() -> RepositorySimulator:
    """An index with one file."""
    made = RepositorySimulator()
    made.add_file(FILE)
    made.publish()
    return made


def served(sim: RepositorySimulator) -> Served:
    """Return what an index serves."""
    offline = sim.deployment.offline_version

    def shared(role: str) -> bytes:
        return sim.objects[sim.key(f"metadata/{offline}.{role}.json")]

    return Served(
        roots=tuple(sim.deployment.roots),
        timestamp=sim.objects[sim.key("metadata/timestamp.json")],
        snapshot=sim.objects[sim.key(f"metadata/{sim.snapshot_version}.snapshot.json")],
        bin=sim.objects[sim.bin_key(TARGET)],
        bin_name=sim.bin_key(TARGET).rpartition("/")[2].split(".")[1],
        targets=shared("targets"),
        trust=shared("trust"),
        registry=shared("registry"),
    )


def checked(files: Served, *, later: float = 0, target: str = TARGET) -> MetadataReport:
    """Check files some days from now."""
    return check_metadata(files, INDEX, target, datetime.now(UTC) + timedelta(days=later))


def broken(report: MetadataReport) -> tuple[str, int]:
    """Return where the chain broke; everything before it holds, and there is nothing behind it."""
    *before, last = report.links
    assert all(link.code == 0 for link in before)
    assert report.sha256 is None
    assert last.reason
    return last.name, last.code


def test_holds(sim: RepositorySimulator) -> None:
    """All links hold, in order, with version and digest of every file; the target is what was signed."""
    sim.deployment.rotate("timestamp")
    sim.deployment.trust_targets["trust/policy.yaml"] = b"policy"
    sim = RepositorySimulator(deployment=sim.deployment)
    pointer = sim.add_file(FILE)
    sim.publish()
    files = served(sim)
    found = checked(files)
    assert [(link.name, link.code) for link in found.links] == [
        ("root", 0),
        ("timestamp", 0),
        ("snapshot", 0),
        ("target", 0),
    ]
    assert found.sha256 == sha256_of(pointer.to_bytes())
    assert found.trusted == {"trust/policy.yaml": sha256_of(b"policy")}
    root, timestamp, snapshot, target = (link.evidence for link in found.links)
    assert (root["version"], root["sha256"]) == (2, sha256_of(files.roots[1]))
    assert root["first_sha256"] == sha256_of(files.roots[0])
    assert timestamp["sha256"] == sha256_of(files.timestamp or b"")
    assert snapshot["names_index"] is True
    assert set(target["roles"]) == {"targets", "trust", "registry", files.bin_name}
    assert found.expires is not None
    assert found.expires < datetime.now(UTC) + timedelta(days=1)


Edit = Callable[[Served, RepositorySimulator], Served]


def _flipped(content: bytes | None) -> bytes:
    assert content is not None
    at = content.index(b"2", content.index(b'"expires"'))
    return content[:at] + b"3" + content[at + 1 :]


@pytest.mark.parametrize(
    ("where", "code", "edit"),
    [
        ("root", 10, lambda files, _: replace(files, roots=())),
        ("root", 20, lambda files, _: replace(files, roots=(_flipped(files.roots[0]),))),
        ("root", 22, lambda files, _: replace(files, roots=files.roots * 2)),
        ("root", 23, lambda files, _: replace(files, roots=(files.timestamp,))),
        ("root", 20, lambda files, _: replace(files, roots=(*files.roots, _next_root()))),
        ("timestamp", 10, lambda files, _: replace(files, timestamp=None)),
        ("timestamp", 20, lambda files, _: replace(files, timestamp=_flipped(files.timestamp))),
        ("timestamp", 23, lambda files, _: replace(files, timestamp=b"{")),
        ("timestamp", 23, lambda files, _: replace(files, timestamp=files.snapshot)),
        ("snapshot", 23, lambda files, _: replace(files, snapshot=_flipped(files.snapshot))),
        ("snapshot", 10, lambda files, _: replace(files, snapshot=None)),
        ("snapshot", 10, lambda files, _: replace(files, withheld={"snapshot": "the row has another digest"})),
        ("target", 23, lambda files, _: replace(files, registry=files.trust)),
        ("target", 20, lambda files, _: replace(files, bin=_flipped(files.bin))),
        ("target", 20, lambda files, _: replace(files, bin=files.registry)),
        ("target", 10, lambda files, _: replace(files, bin=None)),
        ("target", 23, lambda files, _: replace(files, bin_name="b8-00")),
    ],
)
def test_broken(sim: RepositorySimulator, where: str, code: int, edit: Edit) -> None:
    """Whatever is altered, missing or another file breaks the chain where it stands, with the client's code."""
    assert broken(checked(edit(served(sim), sim))) == (where, code)


def _next_root() -> bytes:
    deployment = Deployment()
    deployment.sign_root()
    return deployment.roots[1]


@pytest.mark.parametrize(("days", "where"), [(2, "timestamp"), (400, "root")])
def test_expired(sim: RepositorySimulator, days: float, where: str) -> None:
    """The first link that is out of date ends it: 21."""
    assert broken(checked(served(sim), later=days)) == (where, 21)


def test_foreign_keys(sim: RepositorySimulator) -> None:
    """A bin that another key signed is below the threshold."""
    sim.resign_bin(TARGET, CryptoSigner.generate_ed25519())
    assert broken(checked(served(sim))) == ("target", 20)


def test_another_index(sim: RepositorySimulator) -> None:
    """The tree of another index of the same keys is refused by its snapshot's name."""
    other = RepositorySimulator("root/other", sim.deployment)
    other.add_file(FILE)
    other.publish()
    assert broken(checked(served(other))) == ("snapshot", 31)


def test_no_such_target(sim: RepositorySimulator) -> None:
    """A target that its bin does not list is 11."""
    del sim.targets[TARGET]
    sim.targets[TARGET.replace("1.0", "1.1")] = b"other"
    sim.publish()
    assert broken(checked(served(sim))) == ("target", 11)
