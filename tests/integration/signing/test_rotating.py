"""Keys of online roles replaced on a real Postgres and a real folder, read by stock python-tuf after every step."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner, Key

from countermark.core.ceremony.changes import Change
from countermark.core.signing.access import KeyAccess
from countermark.core.signing.loading import load_signer
from services.signing.ceremonies import rotating
from services.signing.ceremonies.events import Ceremonies, Proposal
from services.signing.ceremonies.rotating import Rotation, RotationRefused
from services.signing.ceremonies.trust_root import CeremonyNeeded, ensure_registry
from services.signing.keys.handles import keys_folder, load_handles
from services.signing.keys.signers import KeyHandle, KeyUnusable, generate_key, listed
from services.signing.publication.batch import Batch, Rendered
from services.signing.publication.signatures import SignedRoles
from services.signing.publication.usecases import Publisher
from services.signing.upkeep.rebinning import rebin
from shared.catalogue import trust
from shared.errors import ServiceError
from shared.resources import Resources
from shared.trust.roles import ONLINE, Role
from tests.integration.signing import changes
from tests.support.clock import SettableClock
from tests.support.factories import MadeIndex, make_index
from tests.support.holders import in_profile
from tests.support.tuf_reader import TreeReader

SECOND = timedelta(seconds=1)

KEPT = (*ONLINE, Role.REGISTRY)
"""Roles whose keys the server has."""

NAMED_IN = {Role.BINS: "registry", Role.REGISTRY: "targets"}
"""Role -> the file that names its keys; root names those of the others."""


@pytest.fixture
async def index(resources: Resources) -> MadeIndex:
    """An index with a file, published."""
    return await changes.published_index(resources, {"first-1.0-py3-none-any.whl": b"first"})


class Readers:
    """Clients that have been there before, after every step, and a new one each time."""

    def __init__(self, folder: Path) -> None:
        self._tree = folder / "public/indexes/root/stable"
        self._folder = folder / "caches"
        self._warm: list[TreeReader] = []

    def all_find(self, project: str) -> bool:
        """Let all find the page of a project; a further one comes each time."""
        self._warm.append(TreeReader(self._tree, self._folder / str(len(self._warm))))
        return all(reader.target(f"pointers/{project}/_simple.json") is not None for reader in self._warm)


@pytest.fixture
def readers(index: MadeIndex, tmp_path: Path) -> Readers:
    """Stock clients of the index."""
    return Readers(tmp_path)


async def signs(resources: Resources, role: Role) -> list[str]:
    """Return the ids of the living keys of a role."""
    return [handle.key.keyid for handle in await load_handles(resources) if handle.role is role]


async def rotated(resources: Resources, clock: SettableClock, index: MadeIndex, role: Role) -> Rotation:
    """Bring a new key into use and have everything signed with it."""
    rotation = await rotating.begin(resources, role)
    clock.advance(SECOND)
    await rotating.sign_registries(resources, rotation)
    await Publisher(resources).publish(index.id)
    return rotation


@pytest.mark.parametrize("role", KEPT)
async def test_no_client_notices(
    resources: Resources, clock: SettableClock, index: MadeIndex, readers: Readers, role: Role
) -> None:
    """Before, between and after all steps, with publications in between, old and new clients find everything."""
    publisher = Publisher(resources)
    assert readers.all_find("first")
    rotation = await rotating.begin(resources, role)
    assert [one.name for one in await rotating.unsigned(resources, rotation)] == [index.name]
    assert readers.all_find("first")
    clock.advance(SECOND)
    await rotating.sign_registries(resources, rotation)
    assert readers.all_find("first")
    await publisher.publish(index.id)
    assert await rotating.unsigned(resources, rotation) == []
    assert readers.all_find("first")
    file = await rotating.hand_over(resources, rotation)
    assert (file.version, file.role) == (2, NAMED_IN.get(role, "root"))
    assert [one.name for one in await rotating.behind(resources, rotation)] == [index.name]
    assert readers.all_find("first")
    await publisher.publish(index.id)
    assert await rotating.behind(resources, rotation) == []
    assert readers.all_find("first")
    await rotating.retire(resources, rotation)
    assert await signs(resources, role) == [rotation.new.keyid]
    await changes.upload(resources, index, "second-1.0-py3-none-any.whl", b"second")
    await publisher.publish(index.id)
    assert readers.all_find("second")
    clock.advance(timedelta(hours=12))
    await publisher.publish(index.id)
    assert readers.all_find("first")


async def test_all_keys_one_after_the_other(
    resources: Resources, clock: SettableClock, index: MadeIndex, readers: Readers
) -> None:
    """A client of the first day goes through the replacement of every key, twice."""
    for number, role in enumerate([*KEPT, *KEPT]):
        rotation = await rotated(resources, clock, index, role)
        await rotating.hand_over(resources, rotation)
        await Publisher(resources).publish(index.id)
        await rotating.retire(resources, rotation)
        await changes.upload(resources, index, f"p{number}-1.0-py3-none-any.whl", b"bytes")
        await Publisher(resources).publish(index.id)
        assert readers.all_find(f"p{number}")


async def test_every_step_can_be_done_again(resources: Resources, clock: SettableClock, index: MadeIndex) -> None:
    """A command that was killed goes on with the key that was brought into use, and makes no further file."""
    first = await rotated(resources, clock, index, Role.TIMESTAMP)
    assert await rotating.begin(resources, Role.TIMESTAMP) == first
    assert (await rotating.hand_over(resources, first)).version == 2
    assert (await rotating.hand_over(resources, first)).version == 2
    async with resources.engine.connect() as connection:
        assert await trust.newest_version(connection, "root") == 2


@pytest.mark.parametrize("role", ONLINE)
async def test_clients_are_not_told_before_everything_is_signed(
    resources: Resources, index: MadeIndex, role: Role
) -> None:
    """The new key is not named, nor the old one ended, while an index lacks a signature."""
    rotation = await rotating.begin(resources, role)
    with pytest.raises(RotationRefused, match="root/stable"):
        await rotating.hand_over(resources, rotation)
    with pytest.raises(RotationRefused, match="root/stable"):
        await rotating.retire(resources, rotation)
    assert len(await signs(resources, role)) == 2


async def test_a_batch_gathered_before_is_signed_again(
    resources: Resources, clock: SettableClock, index: MadeIndex
) -> None:
    """What was published in the second in which the key came is owed, and is signed with the next one."""
    rotation = await rotating.begin(resources, Role.TIMESTAMP)
    await changes.upload(resources, index, "second-1.0-py3-none-any.whl", b"second")
    await Publisher(resources).publish(index.id)
    assert len(await rotating.unsigned(resources, rotation)) == 1
    clock.advance(SECOND)
    await Publisher(resources).publish(index.id)
    assert await rotating.unsigned(resources, rotation) == []


async def test_a_signer_whose_clock_is_ahead_is_asked_again(
    resources: Resources, clock: SettableClock, index: MadeIndex
) -> None:
    """What looks younger than the new key, and lacks its signature, is signed once its time is moved."""
    clock.advance(timedelta(minutes=1))
    await changes.upload(resources, index, "second-1.0-py3-none-any.whl", b"second")
    await Publisher(resources).publish(index.id)
    clock.advance(timedelta(minutes=-1))
    rotation = await rotating.begin(resources, Role.SNAPSHOT)
    clock.advance(SECOND)
    await Publisher(resources).publish(index.id)
    lacking = await rotating.unsigned(resources, rotation)
    assert len(lacking) == 1
    clock.advance(timedelta(minutes=2))
    await rotating.hurry(resources, rotation, lacking)
    clock.advance(SECOND)
    await Publisher(resources).publish(index.id)
    assert await rotating.unsigned(resources, rotation) == []


async def test_indexes_with_other_counts_of_bins(
    resources: Resources, clock: SettableClock, index: MadeIndex, readers: Readers
) -> None:
    """Each count has its registry: all of them name the new key, and each index keeps its count."""
    other = await make_index(resources.engine, "root/other")
    await changes.upload(resources, other, "first-1.0-py3-none-any.whl", b"first")
    await Publisher(resources).publish(other.id)
    await ensure_registry(resources, 5)
    await rebin(resources, other.id)
    rotation = await rotating.begin(resources, Role.BINS)
    clock.advance(SECOND)
    for one in (index, other):
        await Publisher(resources).publish(one.id)
    assert await rotating.unsigned(resources, rotation) == []
    assert (await rotating.hand_over(resources, rotation)).version == 4
    assert len(await rotating.behind(resources, rotation)) == 2
    for one in (index, other):
        await Publisher(resources).publish(one.id)
    await rotating.retire(resources, rotation)
    assert readers.all_find("first")


async def test_a_new_index_begins_with_both_keys(
    resources: Resources, clock: SettableClock, index: MadeIndex, tmp_path: Path
) -> None:
    """An index that is made while a key is being replaced can be read at once, and afterwards."""
    rotation = await rotated(resources, clock, index, Role.SNAPSHOT)
    other = await make_index(resources.engine, "root/other")
    await changes.upload(resources, other, "first-1.0-py3-none-any.whl", b"first")
    await Publisher(resources).publish(other.id)
    await rotating.hand_over(resources, rotation)
    for one in (index, other):
        await Publisher(resources).publish(one.id)
    await rotating.retire(resources, rotation)
    reader = TreeReader(tmp_path / "public/indexes/root/other", tmp_path / "cache")
    assert reader.target("pointers/first/_simple.json") is not None


class Paused(Publisher):
    """A signer that stands still before its first commit until something was done."""

    def __init__(self, resources: Resources, meanwhile: Callable[[], Awaitable[None]]) -> None:
        super().__init__(resources)
        self._meanwhile: list[Callable[[], Awaitable[None]]] = [meanwhile]

    async def _commit(self, batch: Batch, rendered: Rendered, signed: SignedRoles) -> bool:
        while self._meanwhile:
            await self._meanwhile.pop()()
        return await super()._commit(batch, rendered, signed)


@pytest.mark.parametrize("role", ONLINE)
async def test_a_new_index_whose_signer_was_paused_all_along(
    resources: Resources, clock: SettableClock, index: MadeIndex, tmp_path: Path, role: Role
) -> None:
    """An index whose first batch was signed before the new key came, and is committed after the old one ended, is
    signed again: clients of it find everything."""
    other = await make_index(resources.engine, "root/other")
    await changes.upload(resources, other, "first-1.0-py3-none-any.whl", b"first")

    async def whole_rotation() -> None:
        rotation = await rotated(resources, clock, index, role)
        await rotating.hand_over(resources, rotation)
        await Publisher(resources).publish(index.id)
        await rotating.retire(resources, rotation)

    await Paused(resources, whole_rotation).publish(other.id)
    reader = TreeReader(tmp_path / "public/indexes/root/other", tmp_path / "cache")
    for _ in range(2):
        assert reader.target("pointers/first/_simple.json") is not None
        await Publisher(resources).publish(other.id)


async def test_keys_that_cannot_be_taken(resources: Resources, index: MadeIndex, tmp_path: Path) -> None:
    """A key of another role, one that does not sign as its public half says, and roles that people hold."""
    snapshot = next(handle for handle in await load_handles(resources) if handle.role is Role.SNAPSHOT)
    with pytest.raises(RotationRefused, match="a key of snapshot"):
        await rotating.begin(resources, Role.TIMESTAMP, KeyHandle(Role.TIMESTAMP, snapshot.key, snapshot.uri))
    stranger = CryptoSigner.generate_ed25519().public_key
    made = generate_key(keys_folder(resources), Role.TIMESTAMP)
    with pytest.raises(KeyUnusable, match="stays the only key"):
        await rotating.begin(resources, Role.TIMESTAMP, KeyHandle(Role.TIMESTAMP, stranger, made.uri))
    with pytest.raises(RotationRefused, match="ceremony"):
        await rotating.begin(resources, Role.ROOT)
    assert len(await signs(resources, Role.TIMESTAMP)) == 1
    first = await rotating.begin(resources, Role.TIMESTAMP)
    with pytest.raises(RotationRefused, match="already"):
        await rotating.begin(resources, Role.TIMESTAMP, made)
    assert await rotating.begin(resources, Role.TIMESTAMP) == first


@pytest.mark.parametrize("role", ONLINE)
async def test_a_new_key_that_is_lost_is_given_up(
    resources: Resources, clock: SettableClock, index: MadeIndex, readers: Readers, role: Role
) -> None:
    """It stops every publication; once it is given up they go on, and another key can take the old one's place. One
    that clients know stays."""
    with pytest.raises(RotationRefused, match="no key of"):
        await rotating.abandon(resources, role)
    lost = await rotated(resources, clock, index, role)
    (keys_folder(resources) / lost.new.uri.removeprefix("file2:")).unlink()
    await changes.upload(resources, index, "second-1.0-py3-none-any.whl", b"second")
    with pytest.raises(KeyUnusable):
        await Publisher(resources).publish(index.id)
    assert await rotating.abandon(resources, role) == lost.new
    with pytest.raises(RotationRefused, match="given up"):
        await rotating.hand_over(resources, lost)
    await Publisher(resources).publish(index.id)
    assert readers.all_find("second")
    rotation = await rotated(resources, clock, index, role)
    await rotating.hand_over(resources, rotation)
    with pytest.raises(RotationRefused, match="told of key"):
        await rotating.abandon(resources, role)
    await Publisher(resources).publish(index.id)
    await rotating.retire(resources, rotation)
    assert readers.all_find("first")


@pytest.mark.parametrize("role", [Role.TIMESTAMP, Role.SNAPSHOT])
async def test_a_root_that_people_hold(
    resources: Resources, clock: SettableClock, index: MadeIndex, readers: Readers, role: Role
) -> None:
    """Once everything is signed with both keys one event is opened; when it is final the command goes on."""
    small = in_profile(resources, "small")
    rotation = await rotated(small, clock, index, role)
    said = set()
    for _ in range(2):
        with pytest.raises(CeremonyNeeded, match="signing event") as raised:
            await rotating.hand_over(small, rotation)
        said.add(str(raised.value))
    assert len(said) == 1
    await sign_and_finalise(small)
    assert (await rotating.hand_over(small, rotation)).version == 2
    assert readers.all_find("first")
    await Publisher(small).publish(index.id)
    assert readers.all_find("first")
    await rotating.retire(small, rotation)
    await changes.upload(small, index, "second-1.0-py3-none-any.whl", b"second")
    await Publisher(small).publish(index.id)
    assert readers.all_find("second")


async def test_a_root_of_which_people_hold_some_keys(
    resources: Resources, clock: SettableClock, index: MadeIndex, readers: Readers
) -> None:
    """Of the root keys that the deployment made those sign that the root still lists; where they are too few, an event
    is opened."""
    made = [handle.key.keyid for handle in await load_handles(resources) if handle.role is Role.ROOT]
    for keyid in made[:2]:
        rotation = await rotated(resources, clock, index, Role.SNAPSHOT)
        await rotating.hand_over(resources, rotation)
        await Publisher(resources).publish(index.id)
        await rotating.retire(resources, rotation)
        assert readers.all_find("first")
        person = CryptoSigner.generate_ed25519()
        change = Change(add=(("root", person.public_key),), remove=(("root", keyid),))
        await Ceremonies(resources).propose("alice", Proposal("root", change, "a stolen key", {}))
        await sign_and_finalise(resources, person)
        await Publisher(resources).publish(index.id)
    rotation = await rotated(resources, clock, index, Role.SNAPSHOT)
    with pytest.raises(CeremonyNeeded, match="signing event"):
        await rotating.hand_over(resources, rotation)
    assert readers.all_find("first")


async def test_what_the_settings_say_of_a_retired_key(
    resources: Resources, clock: SettableClock, index: MadeIndex
) -> None:
    """Their line about it may stay when it is replaced: publishing goes on."""
    old = next(handle for handle in await load_handles(resources) if handle.role is Role.TIMESTAMP)
    signing = resources.settings.signing.model_copy(update={"uris": {old.key.keyid: old.uri}})
    told = replace(resources, settings=resources.settings.model_copy(update={"signing": signing}))
    rotation = await rotated(told, clock, index, Role.TIMESTAMP)
    await rotating.hand_over(told, rotation)
    await Publisher(told).publish(index.id)
    await rotating.retire(told, rotation)
    assert old.key.keyid not in {handle.key.keyid for handle in await load_handles(told)}


async def test_a_ceremony_does_not_get_ahead(resources: Resources, clock: SettableClock, index: MadeIndex) -> None:
    """A root that names the new key alone is not finalised while clients still read what only the old one signed."""
    small = in_profile(resources, "small")
    rotation = await rotating.begin(small, Role.TIMESTAMP)
    new = Key.from_dict(rotation.new.keyid, dict(rotation.new.public_key))
    change = Change(add=(("timestamp", new),), remove=(("timestamp", rotation.old.keyid),))
    await Ceremonies(small).propose("alice", Proposal("root", change, "too early", {}))
    with pytest.raises(ServiceError, match="clients would refuse"):
        await sign_and_finalise(small)
    clock.advance(SECOND)
    await Publisher(small).publish(index.id)
    await sign_and_finalise(small)


async def sign_and_finalise(resources: Resources, *others: CryptoSigner) -> None:
    """Let two of the keys that the root lists, and others, sign the only open event, and finalise it."""
    ceremonies = Ceremonies(resources)
    (view,) = await ceremonies.events("open", None, 10)
    folder = keys_folder(resources)
    async with resources.engine.connect() as connection:
        root = (await trust.newest_trust_files(connection))["root"].content
    holders, _ = listed(Role.ROOT, root, await load_handles(resources))
    keys = [load_signer(handle.uri, handle.key, KeyAccess(folder=folder), role="root") for handle in holders[:2]]
    signatures = [key.sign(view.event.payload) for key in (*keys, *others)]
    await ceremonies.submit("alice", view.event.id, view.event.payload_sha256, signatures)
    await ceremonies.finalise("alice", view.event.id)
