"""A new root and an index that was not signed for it yet: whoever reads its tree meanwhile finds everything."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner, Signature, Signer

from countermark.core.ceremony.changes import Change
from countermark.core.signing.access import KeyAccess
from countermark.core.signing.loading import load_signer
from services.signing.ceremonies import rotating
from services.signing.ceremonies.events import Ceremonies, Proposal
from services.signing.keys.handles import keys_folder, load_handles
from services.signing.publication.batch import Batch
from services.signing.publication.usecases import Publisher
from services.signing.upkeep.tidying import TidyLoop
from shared.catalogue import publications
from shared.catalogue.leases import Held
from shared.catalogue.signing_events import StoredEvent
from shared.faults import FaultPoint, listen
from shared.resources import Resources
from shared.trust.roles import Role
from tests.integration.signing import changes
from tests.integration.signing.test_rotating import Paused, rotated
from tests.support.clock import SettableClock
from tests.support.factories import MadeIndex, make_index
from tests.support.holders import in_profile
from tests.support.tuf_reader import TreeReader


@pytest.fixture
async def index(resources: Resources) -> MadeIndex:
    """An index with a file, published."""
    return await changes.published_index(resources, {"first-1.0-py3-none-any.whl": b"first"})


class Watched:
    """A new client of a tree at each step of a publication, and one that was there before."""

    def __init__(self, tree: Path, caches: Path) -> None:
        self._tree, self._caches = tree, caches
        self._warm = TreeReader(tree, caches / "warm")
        self._warm.refreshed()
        self.steps: list[FaultPoint] = []

    def __call__(self, point: FaultPoint) -> None:
        """Read at a point."""
        self.steps.append(point)
        for reader in (TreeReader(self._tree, self._caches / str(len(self.steps))), self._warm):
            assert reader.target("pointers/first/_simple.json") is not None, point

    async def publish(self, resources: Resources, index: MadeIndex) -> None:
        """Publish, reading at every point."""
        listen(self)
        await Publisher(resources).publish(index.id)
        assert FaultPoint.PUBLISH_METADATA in self.steps


async def root_version(resources: Resources, index: MadeIndex) -> int:
    """Return which root an index is published with."""
    async with resources.engine.connect() as connection:
        head = await publications.head_state(connection, index.id)
        assert head is not None
        return head.root_version


async def test_targets_and_root_are_finalised_one_after_the_other(
    resources: Resources, index: MadeIndex, tmp_path: Path
) -> None:
    """All holders of targets are replaced by two events that are finalised at once, before anything is published."""
    small = in_profile(resources, "small")
    ceremonies = Ceremonies(small)
    old = {role: await held(small, role) for role in (Role.ROOT, Role.TARGETS)}
    new = [CryptoSigner.generate_ed25519() for _ in range(3)]
    change = Change(
        add=tuple(("targets", key.public_key) for key in new),
        remove=tuple(("targets", key.public_key.keyid) for key in old[Role.TARGETS]),
    )
    root = (await ceremonies.propose("alice", Proposal("root", change, "new holders", {}))).event
    targets = (await ceremonies.propose("alice", Proposal("targets", Change(), "new holders", {}))).event
    await finalise(ceremonies, targets, [*old[Role.TARGETS], *new])
    await finalise(ceremonies, root, old[Role.ROOT])
    watched = Watched(tmp_path / "public/indexes/root/stable", tmp_path / "caches")
    await TidyLoop(small).tidy(index.id)
    watched(FaultPoint.SIGN_LEASED)
    await watched.publish(small, index)
    assert await root_version(small, index) == 2


@pytest.mark.parametrize("role", [Role.TIMESTAMP, Role.SNAPSHOT])
async def test_a_new_index_that_was_signed_before_the_new_key(
    resources: Resources, clock: SettableClock, index: MadeIndex, tmp_path: Path, role: Role
) -> None:
    """Its first head, committed after the new root was made, has the old key's signature alone: it is signed with both
    before that root is laid beside it."""
    other = await make_index(resources.engine, "root/other")
    await changes.upload(resources, other, "first-1.0-py3-none-any.whl", b"first")

    async def to_the_new_root() -> None:
        await rotating.hand_over(resources, await rotated(resources, clock, index, role))

    with pytest.raises(KeyError):
        await Stopped(resources, to_the_new_root).publish(other.id)
    clock.advance(timedelta(seconds=10))
    assert await root_version(resources, other) == 1
    watched = Watched(tmp_path / "public/indexes/root/other", tmp_path / "caches")
    await watched.publish(resources, other)
    assert await root_version(resources, other) == 2
    rotation = await rotating.begin(resources, role)
    await Publisher(resources).publish(index.id)
    await rotating.retire(resources, rotation)


class Stopped(Paused):
    """A signer that is paused, goes on with its first batch, and is stopped when it comes to the next."""

    async def _gather(self, held: Held) -> Batch | None:
        if not self._meanwhile:
            raise KeyError
        return await super()._gather(held)


async def held(resources: Resources, role: Role) -> list[Signer]:
    """Return the keys of a role that people would hold."""
    access = KeyAccess(folder=keys_folder(resources))
    handles = [handle for handle in await load_handles(resources) if handle.role is role]
    return [load_signer(handle.uri, handle.key, access, role=role) for handle in handles]


async def finalise(ceremonies: Ceremonies, event: StoredEvent, keys: list[Signer]) -> None:
    """Let keys sign an event, and finalise it."""
    given: list[Signature] = [key.sign(event.payload) for key in keys]
    await ceremonies.submit("alice", event.id, event.payload_sha256, given)
    await ceremonies.finalise("alice", event.id)
