"""A deployment that made all its keys itself is given to people, and no client notices."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.signer import CryptoSigner, Signature

from countermark.core.ceremony.changes import Change
from services.signing.ceremonies.events import Ceremonies, Proposal
from services.signing.keys.handles import load_handles
from services.signing.publication.usecases import Publisher
from shared.resources import Resources
from shared.trust.roles import Role
from tests.support.factories import make_index
from tests.support.holders import Holders
from tests.support.tuf_reader import TreeReader


async def generated(resources: Resources) -> dict[Role, list[CryptoSigner]]:
    """Return the keys that the deployment made, with their private halves."""
    found: dict[Role, list[CryptoSigner]] = {}
    for handle in await load_handles(resources):
        pem = (resources.settings.data / "keys" / handle.uri.removeprefix("file2:")).read_bytes()
        found.setdefault(handle.role, []).append(CryptoSigner(load_pem_private_key(pem, None)))
    return found


def instead(roles: list[Role], old: dict[Role, list[CryptoSigner]], holders: Holders) -> Change:
    """Return the change that puts people in place of the deployment's own keys."""
    return Change(
        add=tuple((role.value, key.public_key) for role in roles for key in holders.keys[role].values()),
        remove=tuple((role.value, key.public_key.keyid) for role in roles for key in old[role]),
    )


async def test_from_development_to_peoples_keys(resources: Resources, tmp_path: Path) -> None:
    """In the order that the operator's guide gives: trust, targets, root, each signed by old and new keys; a warm
    client and a new one verify after every step, and the old keys count no more."""
    index = await make_index(resources.engine)
    publisher, ceremonies = Publisher(resources), Ceremonies(resources)
    await publisher.publish(index.id)
    tree = tmp_path / "public/indexes/root/stable"
    warm = TreeReader(tree, tmp_path / "warm")
    warm.versions()
    old, holders = await generated(resources), Holders.of("root", "targets", "trust")
    changes = {
        Role.ROOT: instead([Role.ROOT, Role.TARGETS], old, holders),
        Role.TARGETS: instead([Role.TRUST], old, holders),
        Role.TRUST: Change(),
    }
    events = {
        role: await ceremonies.propose("root", Proposal(role, change, "to people", {}))
        for role, change in changes.items()
    }
    for number, role in enumerate((Role.TRUST, Role.TARGETS, Role.ROOT)):
        event = events[role].event
        made = [key.sign(event.payload) for key in (*old[role][:2], *list(holders.keys[role].values())[:2])]
        given = [Signature(one.keyid, one.signature) for one in made]
        await ceremonies.submit("somebody", event.id, event.payload_sha256, given)
        await ceremonies.finalise("root", event.id)
        await publisher.publish(index.id)
        for reader in (warm, TreeReader(tree, tmp_path / f"new-{number}")):
            assert reader.target("trust/nothing") is None
            assert reader.versions()["timestamp"] == number + 2
    view = await ceremonies.propose("root", Proposal(Role.TRUST, Change(), "by people alone", {}))
    listed = await ceremonies.submit(
        "somebody",
        view.event.id,
        view.event.payload_sha256,
        [holders.keys[Role.TRUST][name].sign(view.event.payload) for name in ("bob", "carol")],
    )
    assert listed[0].state == "ready"
