"""Recovery from stolen offline keys: those who are left replace a key below its threshold, and no client stops; at the
threshold a root that people pin anew brings clients back.

Source: trust contract section 2.8; docs/runbooks/stolen-keys.md.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner, Signer
from sqlalchemy.ext.asyncio import AsyncEngine
from tuf.api.exceptions import UnsignedMetadataError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

from countermark.core.ceremony.changes import Change
from countermark.core.signing.access import KeyAccess
from countermark.core.signing.loading import load_signer
from services.signing.ceremonies.bootstrapping import bootstrap
from services.signing.ceremonies.events import Ceremonies, Proposal
from services.signing.ceremonies.views import EventView
from services.signing.keys.handles import keys_folder, load_handles
from services.signing.publication.usecases import Publisher
from shared.errors import ErrorKind, ServiceError
from shared.ids import IndexId
from shared.resources import Resources
from shared.trust.roles import Role
from tests.integration.signing import changes
from tests.support.factories import make_index
from tests.support.holders import Holders, in_profile
from tests.support.resources import service_resources
from tests.support.tuf_reader import TreeReader

EVIL = "pointers/first/evil-1.0-py3-none-any.whl.pointer"
FAR = 1 << 40


@dataclass(frozen=True, slots=True)
class Registry:
    """A deployment of profile `small` with a file in its index: two of alice, bob and carol sign each offline role."""

    resources: Resources
    index: IndexId
    holders: Holders
    tree: Path

    def keys(self, role: Role, *names: str) -> list[CryptoSigner]:
        """Return the keys of some people."""
        return [self.holders.keys[role][name] for name in names]

    async def propose(self, role: Role, change: Change) -> EventView:
        """Open an event."""
        return await Ceremonies(self.resources).propose("root", Proposal(role, change, "a stolen key", {}))

    async def sign(self, view: EventView, *keys: Signer) -> EventView:
        """Hand in signatures over an event."""
        event, made = view.event, [key.sign(view.event.payload) for key in keys]
        return (await Ceremonies(self.resources).submit("somebody", event.id, event.payload_sha256, made))[0]

    async def finalise(self, view: EventView) -> None:
        """Finalise an event and publish."""
        await Ceremonies(self.resources).finalise("root", view.event.id)
        await Publisher(self.resources).publish(self.index)

    async def hold(self, role: Role, change: Change, *keys: Signer) -> None:
        """Hold a whole ceremony."""
        view = await self.propose(role, change)
        await self.sign(view, *keys)
        await self.finalise(view)

    def reader(self, cache: Path, *, root: int = 1) -> TreeReader:
        """Return a client of the published tree."""
        return TreeReader(self.tree, cache, root=root)


@pytest.fixture
async def registry(engine: AsyncEngine, tmp_path: Path) -> AsyncIterator[Registry]:
    """A registry after its first ceremony."""
    async with service_resources(engine, tmp_path) as opened:
        resources, holders = in_profile(opened, "small"), Holders.of("root", "targets", "trust")
        events = await bootstrap(resources, holders.held())
        index = await make_index(engine)
        await changes.upload(resources, index, "first-1.0-py3-none-any.whl", b"first")
        made = Registry(resources, index.id, holders, tmp_path / "public/indexes/root/stable")
        for event in events:
            view = await Ceremonies(resources).event(event.id)
            await made.sign(view, *made.keys(Role(event.role), "alice", "bob"))
            await Ceremonies(resources).finalise("root", event.id)
        await Publisher(resources).publish(index.id)
        yield made


class Thief:
    """Has a copy of the tree, which it serves to clients, and makes it say what stolen keys of root allow."""

    def __init__(self, registry: Registry, folder: Path) -> None:
        self.tree = folder / "evil"
        shutil.copytree(registry.tree, self.tree)
        self._metadata, self._own = self.tree / "metadata", CryptoSigner.generate_ed25519()

    def take_over(self, version: int, stolen: Sequence[CryptoSigner]) -> None:
        """Sign a next root that names the thief alone, and below it a tree with a file of its own."""
        expires = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
        root = Root(version=version, expires=expires, consistent_snapshot=True)
        for role in root.roles:
            root.add_key(self._own.public_key, role)
        self._write(f"{version}.root.json", root, *stolen)
        target = TargetFile.from_data(EVIL, b"evil", ["sha256"])
        self._write(f"{FAR}.targets.json", Targets(version=FAR, expires=expires, targets={EVIL: target}))
        listed = {"targets.json": MetaFile(FAR)}
        self._write(f"{FAR}.snapshot.json", Snapshot(version=FAR, expires=expires, meta=listed))
        self._write("timestamp.json", Timestamp(version=FAR, expires=expires, snapshot_meta=MetaFile(FAR)))
        folder, _, name = EVIL.rpartition("/")
        place = self.tree / "targets" / folder / f"{target.hashes['sha256']}.{name}"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"evil")

    def _write(self, name: str, signed: Any, *others: CryptoSigner) -> None:
        metadata = Metadata(signed)
        for key in (self._own, *others):
            metadata.sign(key, append=True)
        (self._metadata / name).write_bytes(metadata.to_bytes())


def replacing(role: Role, old: Sequence[CryptoSigner], new: Sequence[CryptoSigner]) -> Change:
    """Return the change that puts new keys of a role in place of old ones."""
    return Change(
        add=tuple((role.value, key.public_key) for key in new),
        remove=tuple((role.value, key.public_key.keyid) for key in old),
    )


async def test_a_stolen_root_key_below_the_threshold(registry: Registry, tmp_path: Path) -> None:
    """The thief's next root is refused; the two who are left put a new key in place of the stolen one, which need not
    sign and counts no more; clients follow without noticing."""
    warm = registry.reader(tmp_path / "warm")
    warm.refreshed()
    thief = Thief(registry, tmp_path)
    (stolen, *left), dave = registry.keys(Role.ROOT, "alice", "bob", "carol"), CryptoSigner.generate_ed25519()
    thief.take_over(2, [stolen])
    for cache in (warm.cache, tmp_path / "new"):
        with pytest.raises(UnsignedMetadataError, match="root was signed by 1/2 keys"):
            TreeReader(thief.tree, cache).refreshed()
    await registry.hold(Role.ROOT, replacing(Role.ROOT, [stolen], [dave]), *left)
    for reader in (warm, registry.reader(tmp_path / "newcomer")):
        assert reader.target("pointers/first/_simple.json") is not None
        assert reader.refreshed()._trusted_set.root.version == 2
    following = await registry.propose(Role.ROOT, Change())
    with pytest.raises(ServiceError) as refused:
        await registry.sign(following, stolen)
    assert refused.value.kind is ErrorKind.INVALID
    assert (await registry.sign(following, dave, left[0])).state == "ready", "the new key counts"


async def test_a_second_key_that_is_stolen_later(registry: Registry, tmp_path: Path) -> None:
    """Once the first is replaced the thief has one key of those that count. But who knows nothing newer than the root
    before still believes two of its keys: so the new root is pinned where machines are set up."""
    warm = registry.reader(tmp_path / "warm")
    warm.refreshed()
    stolen, dave = registry.keys(Role.ROOT, "alice", "bob"), CryptoSigner.generate_ed25519()
    change = replacing(Role.ROOT, stolen[:1], [dave])
    await registry.hold(Role.ROOT, change, *registry.keys(Role.ROOT, "bob", "carol"))
    warm.refreshed()
    thief = Thief(registry, tmp_path)
    thief.take_over(3, stolen)
    for reader in (TreeReader(thief.tree, warm.cache), TreeReader(thief.tree, tmp_path / "pinned", root=2)):
        with pytest.raises(UnsignedMetadataError, match="root was signed by 1/2 keys"):
            reader.refreshed()
    thief.take_over(2, stolen)
    assert TreeReader(thief.tree, tmp_path / "unaware").target(EVIL) == b"evil"


@pytest.mark.parametrize("role", [Role.TARGETS, Role.TRUST])
async def test_a_stolen_key_of_targets_or_trust(registry: Registry, tmp_path: Path, role: Role) -> None:
    """Those who are left sign the file anew, and then the file above names the new key in place of the stolen one; the
    other order is refused in words where too few of the signatures would be left."""
    warm = registry.reader(tmp_path / "warm")
    warm.refreshed()
    above = Role.ROOT if role is Role.TARGETS else Role.TARGETS
    stolen, dave = registry.keys(role, "alice"), CryptoSigner.generate_ed25519()
    left = registry.keys(role, "bob", "carol")
    naming = await registry.propose(above, replacing(role, stolen, [dave]))
    await registry.sign(naming, *registry.keys(above, "bob", "carol"))
    with pytest.raises(ServiceError, match=f"{role} version 1 does not have signatures enough"):
        await registry.finalise(naming)
    await registry.hold(role, Change(), *left)
    await registry.finalise(naming)
    for reader in (warm, registry.reader(tmp_path / "new")):
        assert reader.target("pointers/first/_simple.json") is not None
        assert reader.target("trust/nothing") is None
    following = await registry.propose(role, Change())
    with pytest.raises(ServiceError, match="not among the keys"):
        await registry.sign(following, *stolen)
    assert (await registry.sign(following, dave, left[0])).state == "ready"


async def test_a_stolen_registry_key_that_the_server_had(registry: Registry, tmp_path: Path) -> None:
    """In the profile small no command replaces it: people take the registry over, as in the profile production, by the
    same ceremonies; clients notice nothing, and the server's key counts no more."""
    warm = registry.reader(tmp_path / "warm")
    warm.refreshed()
    (handle,) = [one for one in await load_handles(registry.resources) if one.role is Role.REGISTRY]
    access = KeyAccess(folder=keys_folder(registry.resources))
    stolen = load_signer(handle.uri, handle.key, access, role="registry")
    people = Holders.of("registry").keys[Role.REGISTRY]
    change = replacing(Role.REGISTRY, [], list(people.values()))
    naming = replace(change, remove=(("registry", handle.key.keyid),), thresholds={"registry": 2})
    taken_over = replace(registry, resources=in_profile(registry.resources, "production"))
    targets = await taken_over.propose(Role.TARGETS, naming)
    await taken_over.sign(targets, *registry.keys(Role.TARGETS, "bob", "carol"))
    await taken_over.hold(Role.REGISTRY, Change(), stolen, people["alice"], people["bob"])
    await taken_over.finalise(targets)
    for reader in (warm, registry.reader(tmp_path / "new")):
        assert reader.target("pointers/first/_simple.json") is not None
    following = await taken_over.propose(Role.REGISTRY, Change())
    with pytest.raises(ServiceError, match="not among the keys"):
        await taken_over.sign(following, stolen)
    assert (await taken_over.sign(following, people["carol"], people["bob"])).state == "ready"


async def test_a_threshold_of_root_keys_stolen(registry: Registry, tmp_path: Path) -> None:
    """Whoever the thief reaches first believes it, and comes back with the new root alone, pinned anew; who has the new
    root first, by itself or pinned, does not believe the thief."""
    astray, warm = registry.reader(tmp_path / "astray"), registry.reader(tmp_path / "warm")
    thief = Thief(registry, tmp_path)
    old, new = registry.keys(Role.ROOT, "alice", "bob", "carol"), [CryptoSigner.generate_ed25519() for _ in range(3)]
    thief.take_over(2, old[:2])
    assert TreeReader(thief.tree, astray.cache).target(EVIL) == b"evil"
    await registry.hold(Role.ROOT, replacing(Role.ROOT, old, new), *old[:2], *new[:2])
    assert warm.target("pointers/first/_simple.json") is not None
    with pytest.raises(UnsignedMetadataError):
        astray.refreshed()
    pinned = registry.reader(tmp_path / "pinned", root=2)
    assert pinned.target("pointers/first/_simple.json") is not None
    thief.take_over(3, old)
    for reader in (warm, pinned):
        reader.tree = thief.tree
        with pytest.raises(UnsignedMetadataError, match="root was signed by 0/2 keys"):
            reader.refreshed()
