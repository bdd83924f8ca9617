"""Rows 10 to 13: what each stolen key is good for; under a policy, row 10 is in `test_attestations`."""

from __future__ import annotations

import pytest
from tuf.api.metadata import Root, TargetFile

from countermark.core.digest import Length, sha256_of
from countermark.core.pointer import Pointer, Resource, parse_pointer
from tests.e2e.attacks.conftest import Scene
from tests.e2e.attacks.names import WHEEL, WIDGET
from tests.support.tampering.forger import from_now, under_another_id
from tests.support.tampering.table import Case, attacks

pytestmark = pytest.mark.embedded

_POLICY = b'schema: "policy/v1"\npackages:\n- match: "*"\n  deny: true\n'
_EVIL = b"not a wheel, but whoever installs it will not be asked\n"


def _poison(scene: Scene) -> None:
    """Sign a pointer to bytes of the attacker's own with the bins' key, and serve both."""
    pointer = parse_pointer(scene.forger.target(WIDGET))
    digest = sha256_of(_EVIL)
    key = f"files/{digest[:2]}/{digest[2:]}/{WHEEL}"
    file = Resource(f"/{key}", digest, Length(len(_EVIL)))
    scene.forger.files[key] = _EVIL
    evil = Pointer(pointer.name, pointer.version, pointer.index, file, None)
    scene.forger.publish({WIDGET: evil.to_bytes()})


@attacks(
    10,
    Case(
        "bins' key signs a pointer to other bytes, no policy",
        0,
        gap="the contract asks for 50 to 62 by the policy; where the trust role holds none, nothing but the bins' key "
        "speaks for a file, so whoever holds it is believed",
    ),
)
def test_row_10_bins_key_without_a_policy(case: Case, scene: Scene) -> None:
    """Without a policy the client believes the bins' key, and says that no attestation was demanded."""
    _poison(scene)
    ended = scene.client.run("widget", "--file", WHEEL)
    assert "no attestation is demanded" in ended.words
    scene.ends(case, ended)
    assert (scene.client.dest / WHEEL).read_bytes() == _EVIL


@attacks(
    11,
    Case(
        "timestamp's key names an old snapshot to a new client, past the snapshot's expiry (clock +8 d)",
        21,
        "snapshot.json",
    ),
)
def test_row_11_timestamp_key(case: Case, scene: Scene) -> None:
    """Who holds the timestamp's key can hold new clients back, until the snapshot expires."""
    scene.forger.put_timestamp(snapshot=scene.forger.signed("snapshot").version - 1, expires=from_now(days=100))
    before = scene.client.get("widget==1.10")
    assert before.code == 0, before.words
    (scene.client.dest / WHEEL).unlink()
    scene.ends(case, scene.client.run("widget==1.10", clock="+8d"))


@attacks(
    11,
    Case(
        "keys of snapshot and timestamp name old bins to a new client, past the bins' expiry (clock +15 d)", 21, "b8-"
    ),
)
def test_row_11_snapshot_and_timestamp_keys(case: Case, scene: Scene) -> None:
    """Who holds both can show a new client old bins, until those expire."""
    scene.forger.put_snapshot({}, expires=from_now(days=100))
    scene.forger.put_timestamp(expires=from_now(days=100))
    before = scene.client.run("widget==1.10", clock="+8d")
    assert before.code == 0, before.words
    (scene.client.dest / WHEEL).unlink()
    scene.ends(case, scene.client.run("widget==1.10", clock="+15d"))


@attacks(
    12,
    Case("one of the two root keys that are needed signs root 2", 20, "was signed by 1/2 keys", (2, 1)),
    Case("two of the three root keys that are needed sign root 3", 20, "was signed by 2/3 keys", (3, 2)),
)
def test_row_12_root_below_its_threshold(case: Case, scene: Scene) -> None:
    """Fewer root keys than the threshold change nothing, whatever they sign."""
    threshold, stolen = case.given

    def demand(root: Root) -> None:
        root.roles["root"].threshold = threshold

    if threshold == 3:
        scene.forger.put_root(demand)
        scene.warm_up()
    scene.forger.put_root(lambda root: scene.forger.replace_keys(root, "timestamp"), scene.forger.keys["root"][:stolen])
    scene.ends(case, scene.client.run("widget==1.10"))


@attacks(12, Case("one root key signs root 2 under the ids of two", 20, "was signed by 1/2 keys"))
def test_row_12_one_key_under_two_ids(case: Case, scene: Scene) -> None:
    """A signature counts for the key that made it, not for the id it is filed under."""
    mine, other = scene.forger.keys["root"][:2]
    borrowed = under_another_id(mine, other.public_key.keyid)
    scene.forger.put_root(lambda root: scene.forger.replace_keys(root, "timestamp"), [mine, borrowed])
    scene.ends(case, scene.client.get("widget==1.10"))


@attacks(
    12,
    Case("root 2, rightly signed, lists one key under two ids", 20, "one key under two ids", 1),
    Case("root 3, signed with a key that root 2 lists under two ids", 20, "one key under two ids", 2),
)
def test_row_12_root_that_lists_a_key_twice(case: Case, scene: Scene) -> None:
    """A root that would let one holder meet the threshold is refused, and so is all that follows from it."""
    thief = scene.forger.keys["root"][0]
    double = under_another_id(thief, "f" * 64)
    genuine = list(scene.forger.keys["root"])
    scene.forger.put_root(lambda root: root.add_key(double.public_key, "root"), genuine)
    if case.given == 2:
        scene.forger.put_root(lambda root: scene.forger.replace_keys(root, "timestamp"), [thief, double])
        scene.forger.put_timestamp()
    scene.ends(case, scene.client.get("widget==1.10"))


@attacks(
    13,
    Case("bins sign `trust/policy.yaml`, where there is none: as without it", 0, "", "trust/policy.yaml"),
    Case("bins sign `trusted_root.json`, where there is none: as without it", 0, "", "trusted_root.json"),
    Case("bins sign another `trust/policy.yaml` than the trust role: the old one counts", 62, "policy: ", ""),
)
def test_row_13_online_key_writes_policy(case: Case, scene: Scene) -> None:
    """What bins say about policy and Sigstore's root is never asked of them."""
    if not case.given:
        scene.forger.put_trusted("trust/policy.yaml", _POLICY)
    allowing = b'schema: "policy/v1"\npackages: []\n'
    path = case.given or "trust/policy.yaml"
    listed = scene.forger.signed(name := scene.forger.bin_of(WIDGET))
    listed.targets[path] = TargetFile.from_data(path, allowing, ["sha256"])
    listed.version = scene.forger.next_version()
    scene.forger.put(name, listed)
    elsewhere = scene.forger.bin_of(path)
    if elsewhere != name:
        scene.forger.publish({path: allowing})
    scene.forger.put_snapshot({name: listed.version})
    scene.forger.put_timestamp()
    scene.ends(case, scene.client.get("widget==1.10"))
    assert not any(sha256_of(allowing) in path for path in scene.server.seen)
