"""Rows 2 to 5: old, future and mixed states of the repository."""

from __future__ import annotations

import pytest
from tuf.api.metadata import Metadata, Root, Snapshot, Timestamp

from tests.e2e.attacks.conftest import Scene
from tests.e2e.attacks.names import WIDGET
from tests.support.tampering.answers import refused, replaced
from tests.support.tampering.forger import from_now
from tests.support.tampering.table import Case, attacks

pytestmark = pytest.mark.embedded


def _before(scene: Scene, role: str) -> int:
    """Return the version of a role in the first publication."""
    timestamp = Metadata[Timestamp].from_bytes(scene.site.history[0]).signed
    snapshot = scene.forger.read(f"metadata/{timestamp.snapshot_meta.version}.snapshot.json")
    version: int = Metadata[Snapshot].from_bytes(snapshot).signed.meta[f"{role}.json"].version
    assert version < scene.forger.signed(role).version
    return version


@attacks(2, Case("the timestamp kept back past its expiry (clock +25 h)", 21, "timestamp.json is expired"))
def test_row_02_old_timestamp(case: Case, scene: Scene) -> None:
    """A state that nobody signs anew is good for a day; a client that has seen it stops too."""
    scene.warm_up()
    timestamp = scene.forger.read("metadata/timestamp.json")
    scene.server.on(scene.path("timestamp"), replaced(timestamp))
    scene.ends(case, scene.client.run("widget==1.10", clock="+25h"))


@attacks(
    2, Case("the next root kept back past the expiry of the one before (clock +366 d)", 21, "root.json is expired")
)
def test_row_02_withheld_root(case: Case, scene: Scene) -> None:
    """Past the date of the newest root that is served nothing is believed, whatever else is fresh."""

    def renew(root: Root) -> None:
        root.expires = from_now(days=700)

    scene.forger.put_root(renew)
    scene.forger.put_timestamp(expires=from_now(days=700))
    served = scene.path("root")
    scene.server.on(served, refused(404))
    scene.ends(case, scene.client.run("widget==1.10", clock="+366d"))
    assert served in scene.server.seen
    scene.server.relent()
    assert "snapshot.json is expired" in scene.client.run("widget==1.10", clock="+366d").words, "the root is not it now"


@attacks(3, Case("an older timestamp", 22, "timestamp.json"))
def test_row_03_older_timestamp(case: Case, scene: Scene) -> None:
    """A client does not go back behind what it has seen."""
    scene.warm_up()
    scene.server.on(scene.path("timestamp"), replaced(scene.site.history[0]))
    scene.ends(case, scene.client.get("widget==1.9"))


@attacks(3, Case("a newer timestamp that names an older snapshot", 22, "snapshot version"))
def test_row_03_older_snapshot(case: Case, scene: Scene) -> None:
    """Who holds the timestamp's key cannot take a client back."""
    scene.warm_up()
    scene.forger.put_timestamp(snapshot=scene.forger.signed("snapshot").version - 1)
    scene.ends(case, scene.client.get("widget==1.10"))


@attacks(3, Case("a newer snapshot with a lower bin version", 22, "snapshot.json"))
def test_row_03_older_bin(case: Case, scene: Scene) -> None:
    """Who holds the keys of snapshot and timestamp cannot take a client back either."""
    scene.warm_up()
    name = scene.forger.bin_of(WIDGET)
    scene.forger.put_snapshot({name: _before(scene, name)})
    scene.forger.put_timestamp()
    scene.ends(case, scene.client.get("widget==1.10"))


@attacks(
    4, Case("a timestamp of version 2^40, then the genuine one; 0 once a new root has rotated both keys", 22, "version")
)
def test_row_04_fast_forward(case: Case, scene: Scene) -> None:
    """Numbers that ran away are recovered from by rotating the keys, with versions that begin again at 1."""
    genuine = scene.forger.read("metadata/timestamp.json")
    scene.forger.put_timestamp(version=2**40)
    scene.warm_up()
    scene.forger.files["metadata/timestamp.json"] = genuine
    scene.ends(case, scene.client.get("widget==1.10"))
    scene.forger.put_root(lambda root: scene.forger.replace_keys(root, "timestamp", "snapshot"))
    snapshot, timestamp = scene.forger.signed("snapshot"), scene.forger.signed("timestamp")
    snapshot.version = 1
    scene.forger.put("snapshot", snapshot)
    scene.forger.put_timestamp(version=1, snapshot=1, expires=timestamp.expires)
    recovered = scene.client.get("widget==1.10")
    assert recovered.code == 0, recovered.words


@attacks(5, Case("the bin of one snapshot with the next snapshot", 23, "b8-"))
def test_row_05_bin_of_another_snapshot(case: Case, scene: Scene) -> None:
    """Below the name of a bin's version lies that version, or nothing is believed."""
    name = scene.forger.bin_of(WIDGET)
    older = scene.forger.read(f"metadata/{_before(scene, name)}.{name}.json")
    scene.server.on(scene.path("bin"), replaced(older))
    scene.ends(case, scene.client.get("widget==1.10"))


@attacks(5, Case("`targets` with other bytes under the same version, signed by its own keys", 23, "targets.json"))
def test_row_05_other_targets(case: Case, scene: Scene) -> None:
    """The snapshot holds the digest of what was signed offline."""
    targets = scene.forger.signed("targets")
    targets.expires = from_now(days=100)
    scene.forger.put("targets", targets)
    scene.ends(case, scene.client.get("widget==1.10"))
