"""Attack stories: what a client says when registry, mirror or store misbehave. Rows: trust contract section 6."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import SlowRetrievalError
from tuf.api.metadata import Metadata, Timestamp

from countermark.verification import PolicyMode
from tests.support.builds import Pipeline
from tests.support.simulator import RepositorySimulator, signed_bytes, soon
from tests.unit.client.conftest import WHEEL, WHEEL_TARGET, Client


def _endless() -> Iterator[bytes]:
    return itertools.repeat(b"x" * 4096)


def test_a_proven_file_is_placed_with_its_bytes(client: Client) -> None:
    """The honest registry ends 0: the file alone lies at the destination, and each step was reported in order."""
    outcome = client.get()
    assert outcome.code == 0, outcome.words
    assert outcome.placed == [client.dest / WHEEL]
    assert outcome.placed[0].read_bytes() == b"the real wheel\n"
    assert client.left_behind() == [WHEEL]
    assert [step.name for step in client.steps] == [
        "root", "timestamp", "snapshot", "page", "target", "pointer", "artifact", "policy", "place",
    ]  # fmt: skip


def test_latest_comes_from_the_signed_latest(sim: RepositorySimulator, client: Client) -> None:
    """Without a version the newest release is taken, by `_latest`, and no page is read."""
    sim.add_file("widget-1.9-py3-none-any.whl", b"older\n")
    sim.publish()
    outcome = client.get(version=None)
    assert [path.name for path in outcome.placed] == [WHEEL]
    assert "page" not in [step.name for step in client.steps]


# Row 1: arbitrary install
def test_row_1_swapped_artifact(sim: RepositorySimulator, client: Client) -> None:
    """Other bytes of the same length end 41, and nothing is left at the destination."""
    sim.objects[sim.pointers[WHEEL].file.uri[1:]] = b"the evil wheel\n"
    assert client.get().code == 41
    assert client.left_behind() == []


def test_row_1_swapped_pointer(sim: RepositorySimulator, client: Client) -> None:
    """A pointer other than the signed one ends 23."""
    key = sim.target_key(WHEEL_TARGET)
    sim.objects[key] = sim.objects[key].replace(b"widget", b"gadget")
    assert client.get().code == 23


def test_row_1_foreign_signature(sim: RepositorySimulator, client: Client) -> None:
    """A bin signed by a foreign key ends 20, and the words name the trusted root."""
    sim.resign_bin(WHEEL_TARGET, CryptoSigner.generate_ed25519())
    outcome = client.get()
    assert outcome.code == 20
    assert "serves the same one" in outcome.words


# Row 2: freeze
@pytest.mark.parametrize("role", ["timestamp", "snapshot", "bins"])
def test_row_2_expired(role: str, sim: RepositorySimulator, client: Client) -> None:
    """Metadata past its date ends 21, whatever the role."""
    sim.expires[role] = soon(hours=-1)
    sim.add_file("gadget-1-py3-none-any.whl")
    sim.add_file(WHEEL, b"changed, so that its bins are signed anew\n")
    sim.publish()
    assert client.get().code == 21


def test_row_2_withheld_root(sim: RepositorySimulator, client: Client) -> None:
    """Past the date of the newest root that is served, a client ends 21."""
    sim.deployment.root_expires = soon(hours=-1)
    sim.deployment.sign_root()
    sim.publish()
    assert client.get().code == 21


# Row 3: rollback
def test_row_3_older_timestamp(sim: RepositorySimulator, client: Client) -> None:
    """A timestamp older than one seen before ends 22."""
    old = sim.objects[sim.key("metadata/timestamp.json")]
    sim.publish()
    assert client.get().code == 0
    sim.objects[sim.key("metadata/timestamp.json")] = old
    assert client.get().code == 22


def test_row_3_newer_timestamp_naming_an_older_snapshot(sim: RepositorySimulator, client: Client) -> None:
    """A newer timestamp must not name an older snapshot: 22."""
    sim.publish()
    assert client.get().code == 0
    sim.sign_timestamp(snapshot=1)
    assert client.get().code == 22


def test_row_3_snapshot_with_a_lower_bin_version(sim: RepositorySimulator, client: Client) -> None:
    """A newer snapshot must not list an older bin: 22."""
    sim.add_file(WHEEL, b"second build\n")
    sim.publish()
    assert client.get().code == 0
    name = sim.bin_key(WHEEL_TARGET).rpartition("/")[2].split(".")[1]
    sim.sign_snapshot({name: 1})
    sim.sign_timestamp()
    assert client.get().code == 22


def test_row_4_fast_forward_and_recovery(sim: RepositorySimulator, client: Client) -> None:
    """After a timestamp of version 2^40 the true one ends 22; rotating the key lets versions restart, and it ends 0."""
    genuine = sim.timestamp_version
    sim.sign_timestamp(version=2**40)
    assert client.get().code == 0
    sim.sign_timestamp(version=genuine + 1)
    assert client.get().code == 22
    sim.deployment.rotate("timestamp", "snapshot")
    sim.snapshot_version = sim.timestamp_version = 0
    sim.publish()
    outcome = client.get()
    assert outcome.code == 0, outcome.words


# Row 5: mix and match
def test_row_5_bin_of_another_snapshot(sim: RepositorySimulator, client: Client) -> None:
    """The bin of one snapshot below the name of another's ends 23."""
    old = sim.objects[sim.bin_key(WHEEL_TARGET)]
    sim.add_file(WHEEL, b"second build\n")
    sim.publish()
    sim.objects[sim.bin_key(WHEEL_TARGET)] = old
    assert client.get().code == 23


def test_row_5_other_targets_of_the_same_version(sim: RepositorySimulator, client: Client) -> None:
    """`targets` with other bytes under the same version ends 23: the snapshot holds its digest."""
    sim.objects[sim.key("metadata/1.targets.json")] = sim.deployment.offline_roles()["trust"]
    assert client.get().code == 23


# Row 6: endless data
@pytest.mark.parametrize("name", ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"])
def test_row_6_endless_metadata(name: str, sim: RepositorySimulator, client: Client) -> None:
    """A metadata file without end is stopped at its cap and ends 23."""
    sim.answers[sim.key(f"metadata/{name}")] = _endless
    assert client.get().code == 23


def test_row_6_endless_pointer_and_artifact(sim: RepositorySimulator, client: Client) -> None:
    """A pointer without end ends 23, an artifact 40."""
    sim.answers[sim.target_key(WHEEL_TARGET)] = _endless
    assert client.get().code == 23
    sim.answers.clear()
    sim.answers[sim.pointers[WHEEL].file.uri[1:]] = _endless
    assert client.get().code == 40
    assert client.left_behind() == []


@pytest.mark.parametrize("what", ["metadata", "artifact"])
def test_row_7_what_comes_too_slowly_ends_10(what: str, sim: RepositorySimulator, client: Client) -> None:
    """A transfer that its deadline stopped ends 10 (the deadline itself: `test_transport`)."""

    def late() -> Iterator[bytes]:
        yield b"t"
        raise SlowRetrievalError("not complete within its deadline")

    key = sim.key("metadata/timestamp.json") if what == "metadata" else sim.pointers[WHEEL].file.uri[1:]
    sim.answers[key] = late
    outcome = client.get()
    assert outcome.code == 10
    assert "deadline" in outcome.words


def test_row_10_with_a_policy_a_stolen_bin_key_is_not_enough(sim: RepositorySimulator, client: Client) -> None:
    """Where the offline trust role holds a policy that demands an attestation, a pointer without one ends 62."""
    sim.deployment.trust_targets |= Pipeline().trusted()
    sim.deployment.offline_version = 2
    guarded = RepositorySimulator("root/guarded", sim.deployment)
    guarded.add_file(WHEEL)
    guarded.publish()
    careful = Client(guarded, guarded.location, client.home)
    outcome = careful.get()
    assert outcome.code == 62
    assert "demands an attestation" in outcome.words
    assert careful.left_behind() == []
    assert len(careful.get(mode=PolicyMode.NONE).placed) == 1


def test_row_12_root_below_threshold(sim: RepositorySimulator, client: Client) -> None:
    """A next root that one of two needed keys signed ends 20."""
    sim.deployment.sign_root(keys=sim.deployment.keys["root"][:1])
    sim.publish()
    assert client.get().code == 20


def test_row_13_online_keys_cannot_write_policy(sim: RepositorySimulator, client: Client) -> None:
    """A `trust/policy.yaml` that bins list is never asked of them: the run ends as without it."""
    sim.targets["trust/policy.yaml"] = b'schema: "policy/v1"\n'
    sim.publish()
    assert client.get().code == 0


def test_row_14_half_a_timestamp(sim: RepositorySimulator, client: Client) -> None:
    """Half a timestamp ends 23, and a later whole one 0."""
    key = sim.key("metadata/timestamp.json")
    whole = sim.objects[key]
    sim.objects[key] = whole[: len(whole) // 2]
    assert client.get().code == 23
    sim.objects[key] = whole
    assert client.get().code == 0


# Row 16: tampered object store
def test_row_16_truncated_artifact(sim: RepositorySimulator, client: Client) -> None:
    """A shorter artifact ends 40, a deleted one 10."""
    key = sim.pointers[WHEEL].file.uri[1:]
    sim.objects[key] = sim.objects[key][:-1]
    assert client.get().code == 40
    del sim.objects[key]
    assert client.get().code == 10
    assert client.left_behind() == []


def test_row_16_two_objects_swapped(sim: RepositorySimulator, client: Client) -> None:
    """Two files of one length in each other's place end 41."""
    other = sim.add_file("gadget-1-py3-none-any.whl", b"the evil wheel\n").file.uri[1:]
    mine = sim.pointers[WHEEL].file.uri[1:]
    sim.publish()
    sim.objects[mine], sim.objects[other] = sim.objects[other], sim.objects[mine]
    assert client.get().code == 41


def test_row_16_attestation(sim: RepositorySimulator, client: Client) -> None:
    """An attestation whose bytes changed ends 50; one that is whole and no bundle ends 51."""
    pointer = sim.add_file("gadget-1-py3-none-any.whl", attestation=b'{"a": "bundle"}')
    sim.publish()
    assert client.get("gadget", "1").code == 51
    assert pointer.attestation is not None
    sim.objects[pointer.attestation.uri[1:]] = b'{"a": "bungle"}'
    assert client.get("gadget", "1").code == 50
    assert client.left_behind() == []


# Local files
def test_verify_a_local_file(client: Client, tmp_path: Path) -> None:
    """A good local file ends 0; changed 41, longer 40, absent 70, unknown 11, of an impossible name 2."""
    file = tmp_path / WHEEL
    file.write_bytes(b"the real wheel\n")
    assert client.check(file).code == 0
    file.write_bytes(b"the evil wheel\n")
    assert client.check(file).code == 41
    file.write_bytes(b"the real wheel\n" * 1000)
    assert client.check(file).code == 40
    unknown = tmp_path / "widget-9-py3-none-any.whl"
    assert client.check(unknown).code == 70
    unknown.write_bytes(b"a wheel\n")
    assert client.check(unknown).code == 11
    assert client.check(tmp_path / "notes.txt").code == 2
    file.unlink()
    assert client.check(file).code == 70


def test_changed_root_says_what_to_pin(sim: RepositorySimulator, client: Client) -> None:
    """A deployment made anew ends 20, with the pinned root, the served one, and the command that pins it."""
    anew = RepositorySimulator()
    anew.add_file(WHEEL)
    anew.publish()
    outcome = Client(anew, anew.location, client.home).get()
    assert outcome.code == 20
    for root in (sim.deployment.roots[0], anew.deployment.roots[0]):
        assert hashlib.sha256(root).hexdigest() in outcome.words
    assert f"countermark root pin {anew.location.url} root.json" in outcome.words


def test_metadata_of_a_wrong_type_is_refused(sim: RepositorySimulator, client: Client) -> None:
    """A timestamp in the snapshot's place ends 23 although the right key signed it."""
    timestamp: Metadata[Timestamp] = Metadata.from_bytes(sim.objects[sim.key("metadata/timestamp.json")])
    sim.objects[sim.key("metadata/1.snapshot.json")] = signed_bytes(timestamp.signed, sim.deployment.keys["snapshot"])
    assert client.get().code == 23
