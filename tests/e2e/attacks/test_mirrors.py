"""Rows 14 and 15: mirrors that lie, and delegations that lead astray."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from securesystemslib.signer import CryptoSigner, Key
from tuf.api.metadata import DelegatedRole, Delegations, Targets

from tests.e2e.attacks.conftest import Scene
from tests.e2e.attacks.names import INDEX, PAGE, WHEEL, WIDGET
from tests.support.tampering.answers import flipped, halved, refused, replaced
from tests.support.tampering.forger import Forger, from_now
from tests.support.tampering.server import tampering, through
from tests.support.tampering.table import Case, attacks

pytestmark = pytest.mark.embedded


@attacks(14, Case("one mirror stale, one good", 0))
def test_row_14_one_stale_one_good(case: Case, scene: Scene) -> None:
    """Where one address has fallen behind, the file is proven by what the next one has."""
    scene.warm_up()
    scene.server.on(scene.path("timestamp"), replaced(scene.site.history[0]))
    with tampering(through(scene.site.http)) as good:
        scene.ends(case, scene.client.get("widget==1.10", "--mirror", f"{good.url}/{INDEX}"))
        assert scene.path("timestamp") in good.seen


@attacks(
    14,
    Case("the repository does not answer, one mirror stale, one good", 0, given=0),
    Case("the repository does not answer, and all mirrors are stale", 22, "timestamp.json", given=22),
)
def test_row_14_stale_mirrors(case: Case, scene: Scene) -> None:
    """A mirror that has fallen behind is noticed, whichever address the client saw the newer state at."""
    scene.warm_up()
    with tampering(through(scene.site.http)) as stale, tampering(through(scene.site.http)) as last:
        stale.on(scene.path("timestamp"), replaced(scene.site.history[0]))
        if case.given:
            last.on(scene.path("timestamp"), replaced(scene.site.history[1]))
        scene.server.on("*", refused(404))
        mirrors = [word for each in (stale, last) for word in ("--mirror", f"{each.url}/{INDEX}")]
        scene.ends(case, scene.client.get("widget==1.10", *mirrors))


@attacks(14, Case("one mirror with swapped bytes of the file, one good", 0))
def test_row_14_swapped_bytes(case: Case, scene: Scene) -> None:
    """The metadata of one address proves the bytes of another."""
    scene.server.on(scene.path("artifact"), flipped)
    with tampering(through(scene.site.http)) as good:
        scene.ends(case, scene.client.get("widget==1.10", "--mirror", f"{good.url}/{INDEX}"))


@attacks(14, Case("a stale mirror, asked alone", 22, "timestamp.json"))
def test_row_14_stale_mirror(case: Case, scene: Scene) -> None:
    """A mirror that has fallen behind is noticed, and leaves the cache usable."""
    scene.warm_up()
    scene.server.on(scene.path("timestamp"), replaced(scene.site.history[0]))
    scene.ends(case, scene.client.get("widget==1.10"))
    scene.server.relent()
    assert scene.client.get("widget==1.10").code == 0


@attacks(14, Case("404 on the newest root: 0 until the old root expires (clock +366 d)", 21, "root.json is expired"))
def test_row_14_hidden_root(case: Case, scene: Scene) -> None:
    """A mirror that hides the newest root gains the time until the one before expires."""
    scene.forger.put_root(lambda root: scene.forger.replace_keys(root, "targets"))
    scene.server.on(scene.path("root"), refused(404))
    before = scene.client.get("widget==1.10")
    assert before.code == 0, before.words
    (scene.client.dest / WHEEL).unlink()
    scene.ends(case, scene.client.run("widget==1.10", clock="+366d"))


@attacks(14, Case("half a timestamp; 0 once it is whole", 23, "timestamp.json"))
def test_row_14_half_a_timestamp(case: Case, scene: Scene) -> None:
    """A cut file is refused and leaves the cache usable."""
    scene.server.on(scene.path("timestamp"), halved)
    scene.ends(case, scene.client.run("widget==1.10"))
    scene.server.relent()
    assert scene.client.get("widget==1.10").code == 0


@attacks(14, Case("a role removed from the snapshot, rightly signed, to a client that knew it", 23, "missing"))
def test_row_14_role_removed(case: Case, scene: Scene) -> None:
    """What was listed once stays listed."""
    scene.warm_up()
    scene.forger.put_snapshot({}, gone=[scene.forger.bin_of(WIDGET)])
    scene.forger.put_timestamp()
    scene.ends(case, scene.client.get("widget==1.10"))


_ALL = "pointers/*/*"


def _role(forger: Forger, name: str, delegated: dict[str, list[CryptoSigner]]) -> None:
    """Make a role with a key of its own that lists nothing and delegates all pointers to others."""
    forger.keys.setdefault(name, [CryptoSigner.generate_ed25519()])
    delegations = _delegations({role: (keys, _ALL) for role, keys in delegated.items()}) if delegated else None
    forger.put(name, Targets(version=1, expires=from_now(days=10), delegations=delegations))


def _delegations(delegated: dict[str, tuple[list[CryptoSigner], str]]) -> Delegations:
    keys: dict[str, Key] = {key.public_key.keyid: key.public_key for group, _ in delegated.values() for key in group}
    roles = {
        name: DelegatedRole(name, [key.public_key.keyid for key in group], 1, False, [path])
        for name, (group, path) in delegated.items()
    }
    return Delegations(keys, roles)


def _delegate_to(scene: Scene, roles: dict[str, str], others: Iterable[str] = ()) -> None:
    """Have `targets`, signed by its own keys, delegate to roles (name -> paths) instead of the registry.

    Args:
        others: further roles for the snapshot to list.
    """
    targets = scene.forger.signed("targets")
    trust = targets.delegations.roles["trust"]
    made = _delegations({role: (scene.forger.keys[role], path) for role, path in roles.items()})
    for keyid in trust.keyids:
        made.keys[keyid] = targets.delegations.keys[keyid]
    made.roles = {"trust": trust, **(made.roles or {})}
    targets.delegations, targets.version = made, targets.version + 1
    scene.forger.put("targets", targets)
    scene.forger.put_snapshot({"targets": targets.version, **dict.fromkeys((*roles, *others), 1)})
    scene.forger.put_timestamp()


@attacks(
    15,
    Case("diamond: one file via two delegators that name different keys for its role", 11, "lists no", _ALL),
    Case("diamond: page via one delegator, pointer via another, whose key did not sign", 20, "shared was signed", PAGE),
)
def test_row_15_diamond(case: Case, scene: Scene) -> None:
    """A role that one delegator vouched for is held to the other's keys too."""
    forger = scene.forger
    listed = {path: forger.signed(forger.bin_of(path)).targets[path] for path in (PAGE, WIDGET)}
    forger.keys["shared"] = [CryptoSigner.generate_ed25519()]
    shared = Targets(version=1, expires=from_now(days=10), targets={} if case.given == _ALL else listed)
    forger.put("shared", shared)
    _role(forger, "left", {"shared": forger.keys["shared"]})
    _role(forger, "right", {"shared": [CryptoSigner.generate_ed25519()]})
    _delegate_to(scene, {"left": case.given, "right": _ALL}, ["shared"])
    asked = ("widget", "--file", WHEEL) if case.given == _ALL else ("widget==1.10",)
    scene.ends(case, scene.client.get(*asked))


@attacks(15, Case("two roles that delegate to each other (cycle)", 11, "lists no"))
def test_row_15_cycle(case: Case, scene: Scene) -> None:
    """Each role is asked once."""
    forger = scene.forger
    forger.keys |= {name: [CryptoSigner.generate_ed25519()] for name in ("one", "two")}
    _role(forger, "one", {"two": forger.keys["two"]})
    _role(forger, "two", {"one": forger.keys["one"]})
    _delegate_to(scene, {"one": _ALL}, ["two"])
    scene.ends(case, scene.client.get("widget", "--file", WHEEL))
    assert sum("1.one.json" in path for path in scene.server.seen) == 1


@attacks(15, Case("a chain of 40 roles, the last of which lists the file", 11, "lists no"))
def test_row_15_too_many_roles(case: Case, scene: Scene) -> None:
    """At most 32 roles are asked for one target."""
    forger = scene.forger
    names = [f"link-{number}" for number in range(40)]
    forger.keys |= {name: [CryptoSigner.generate_ed25519()] for name in names}
    for name, following in zip(names, [*names[1:], ""], strict=True):
        _role(forger, name, {following: forger.keys[following]} if following else {})
    last = forger.signed(forger.bin_of(WIDGET))
    last.version = 1
    forger.put(names[-1], last)
    _delegate_to(scene, {names[0]: _ALL}, names[1:])
    scene.ends(case, scene.client.get("widget", "--file", WHEEL))
    assert sum("1.link-" in path for path in scene.server.seen) <= 32


@attacks(15, Case("a bin signs a path of four segments", 11, "lists no pointers/widget/"))
def test_row_15_four_segments(case: Case, scene: Scene) -> None:
    """A target below a deeper path than the registry delegates is no target."""
    pointer = scene.forger.target(WIDGET)
    scene.forger.publish({WIDGET: None, f"pointers/widget/deeper/{WHEEL}.pointer": pointer})
    scene.ends(case, scene.client.get("widget", "--file", WHEEL))
    assert not any("deeper" in path for path in scene.server.seen)
