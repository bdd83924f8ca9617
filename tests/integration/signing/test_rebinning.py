"""Moves between counts of bins on a real Postgres and a real folder, read back by stock python-tuf."""

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select, text, update

from services.signing.ceremonies.trust_root import CeremonyNeeded, ensure_registry
from services.signing.publication.usecases import Publisher
from services.signing.upkeep import rebinning
from services.signing.upkeep.rebinning import BinsDamaged, rebin
from services.signing.upkeep.rebuilding import rebuild
from shared.catalogue.leases import LeaseLost
from shared.catalogue.tables import TufFile, TufHead
from shared.objects.interface import ObjectStoreError
from shared.resources import Resources
from shared.settings import Settings, Signing
from tests.integration.signing import changes
from tests.support.clock import SettableClock
from tests.support.factories import MadeIndex, make_index
from tests.support.hooked_store import HookedStore
from tests.support.resources import with_public_store
from tests.support.tuf_reader import TreeReader

FILES = 30


@pytest.fixture
async def index(resources: Resources) -> MadeIndex:
    """An index with some files, published."""
    made = await make_index(resources.engine)
    for number in range(FILES):
        await upload(resources, made, number)
    await Publisher(resources).publish(made.id)
    return made


@pytest.fixture
def reader(index: MadeIndex, tmp_path: Path) -> TreeReader:
    """A client that has been there before: its cache is warm."""
    reader = TreeReader(tmp_path / "public/indexes/root/stable", tmp_path / "cache")
    assert all_there(reader)
    return reader


async def upload(resources: Resources, index: MadeIndex, number: int) -> None:
    """Upload a file of a project of its own."""
    await changes.upload(resources, index, f"p{number}-1.0-py3-none-any.whl", f"file {number}".encode())


def target_paths(numbers: range) -> list[str]:
    """Name every target of the first files."""
    names = ("_simple.json", "_latest.pointer", "p{}-1.0-py3-none-any.whl.pointer")
    return [f"pointers/p{number}/{name.format(number)}" for number in numbers for name in names]


def all_there(reader: TreeReader, files: int = FILES) -> bool:
    """Ask for every target, with one refresh."""
    updater = reader.refreshed()
    infos = [updater.get_targetinfo(path) for path in target_paths(range(files))]
    return all(info is not None and updater.download_target(info) for info in infos)


def snapshot(tree: Path) -> dict[str, int]:
    """Return what the current snapshot lists, role -> version."""
    number = json.loads((tree / "metadata/timestamp.json").read_bytes())["signed"]["meta"]["snapshot.json"]["version"]
    meta = json.loads((tree / f"metadata/{number}.snapshot.json").read_bytes())["signed"]["meta"]
    return {name.removesuffix(".json"): entry["version"] for name, entry in meta.items()}


@pytest.mark.parametrize("way", [(10,), (5,), (10, 8), (10, 12, 3)])
async def test_clients_go_through_every_move(
    resources: Resources, index: MadeIndex, reader: TreeReader, tmp_path: Path, way: tuple[int, ...]
) -> None:
    """More bins, fewer, and back: warm and cold clients find every target, names stay listed, versions only grow."""
    for step, bits in enumerate(way):
        before, files = snapshot(reader.tree), FILES + step
        registry = await ensure_registry(resources, bits)
        moved = await rebin(resources, index.id)
        assert moved is not None
        assert (moved.moved, moved.bins, moved.targets) == (True, 1 << bits, 3 * files)
        after = snapshot(reader.tree)
        assert after["registry"] == registry.version == step + 2
        assert sum(name.startswith(f"b{bits}-") for name in after) == 1 << bits
        assert before.keys() <= after.keys()
        assert all(after[name] >= version for name, version in before.items())
        assert all((reader.tree / f"metadata/{version}.{name}.json").is_file() for name, version in after.items())
        assert all_there(reader, files)
        assert all_there(TreeReader(reader.tree, tmp_path / f"cold-{step}"), files)
        await upload(resources, index, files)
        await Publisher(resources).publish(index.id)
        assert all_there(reader, files + 1)


async def test_an_index_that_was_not_moved_goes_on_and_a_new_one_begins_with_the_new_count(
    resources: Resources, index: MadeIndex, reader: TreeReader, tmp_path: Path
) -> None:
    """Each index's snapshot names the registry of the bins it has, whatever the newest one is."""
    await ensure_registry(resources, 6)
    await upload(resources, index, FILES)
    await Publisher(resources).publish(index.id)
    assert all_there(reader, FILES + 1)
    assert snapshot(reader.tree)["registry"] == 1
    new = await make_index(resources.engine, "root/new")
    await upload(resources, new, 0)
    await Publisher(resources).publish(new.id)
    tree = tmp_path / "public/indexes/root/new"
    assert all_there(TreeReader(tree, tmp_path / "new-cache"), 1)
    listed = snapshot(tree)
    assert listed["registry"] == 2
    assert sum(name.startswith("b") for name in listed) == 64


@pytest.mark.parametrize("part", ["registry.json", ".b5-", ".b8-", "snapshot.json"])
async def test_a_move_that_fails_leaves_the_index_as_it_was_and_can_be_run_again(
    resources: Resources, index: MadeIndex, reader: TreeReader, tmp_path: Path, part: str
) -> None:
    """Whatever write fails, clients see the old bins, uploads go on, and the next run completes the move."""
    await ensure_registry(resources, 5)
    before = snapshot(reader.tree)

    async def fail() -> None:
        raise ObjectStoreError("the disk is full")

    failing = with_public_store(resources, HookedStore(tmp_path / "public", part, fail))
    with pytest.raises((ObjectStoreError, ExceptionGroup)):
        await rebin(failing, index.id)
    assert snapshot(reader.tree) == before
    await upload(resources, index, FILES)
    await Publisher(resources).publish(index.id)
    assert all_there(reader, FILES + 1)
    moved = await rebin(resources, index.id)
    assert moved is not None
    assert moved.moved
    assert all_there(reader, FILES + 1)
    assert snapshot(reader.tree)["registry"] == 2


async def test_a_killed_move_is_run_again_when_its_lease_runs_out(
    resources: Resources, index: MadeIndex, reader: TreeReader, tmp_path: Path
) -> None:
    """A process that dies lets go of nothing: its lease and its files stay, and neither is in the way for long."""
    await ensure_registry(resources, 5)

    async def die() -> None:
        raise ObjectStoreError("killed")

    with pytest.raises((ObjectStoreError, ExceptionGroup)):
        await rebin(with_public_store(resources, HookedStore(tmp_path / "public", "snapshot.json", die)), index.id)
    left = sorted(path.name for path in reader.tree.glob("metadata/2.b*.json"))
    assert len(left) == 256 + 32
    async with resources.engine.begin() as connection:
        await connection.execute(text("update lease set holder = 'dead', until = now() + interval '1 second'"))
    assert all_there(reader)
    moved = await rebin(resources, index.id)
    assert moved is not None
    assert moved.moved
    assert all_there(reader)
    versions = {version for name, version in snapshot(reader.tree).items() if name.startswith("b")}
    assert versions == {3}, "a number that was given out is never used again"


async def test_a_move_killed_after_its_commit_is_completed_by_the_next_run(
    resources: Resources, index: MadeIndex, reader: TreeReader, tmp_path: Path
) -> None:
    """The store's timestamp is the old one until then, which is a whole repository too."""
    await ensure_registry(resources, 5)

    async def fail() -> None:
        raise ObjectStoreError("killed")

    with pytest.raises(ObjectStoreError):
        await rebin(with_public_store(resources, HookedStore(tmp_path / "public", "timestamp.json", fail)), index.id)
    assert snapshot(reader.tree)["registry"] == 1
    assert all_there(reader)
    again = await rebin(resources, index.id)
    assert again is not None
    assert not again.moved
    assert snapshot(reader.tree)["registry"] == 2
    assert all_there(reader)


async def test_uploads_that_come_meanwhile_wait_and_are_published_after(
    resources: Resources, index: MadeIndex, reader: TreeReader, tmp_path: Path
) -> None:
    """The signer finds the lease taken; the end of the move wakes it."""
    await ensure_registry(resources, 5)
    publisher = Publisher(resources)

    async def meanwhile() -> None:
        await upload(resources, index, FILES)
        await publisher.publish(index.id)
        assert reader.target(target_paths(range(FILES + 1))[-1]) is None

    await rebin(with_public_store(resources, HookedStore(tmp_path / "public", ".b5-", meanwhile)), index.id)
    async with resources.engine.connect() as connection:
        kinds = await connection.scalars(text("select kind from outbox where done_at is null order by id"))
        assert list(kinds)[-1] == "refresh_index"
    await publisher.publish(index.id)
    assert all_there(reader, FILES + 1)


async def test_an_overtaken_move_commits_nothing(
    resources: Resources, index: MadeIndex, reader: TreeReader, tmp_path: Path
) -> None:
    """A move that was paused and replaced ends, and the other's publication stands."""
    await ensure_registry(resources, 5)

    async def overtake() -> None:
        await upload(resources, index, FILES)
        async with resources.engine.begin() as connection:
            await connection.execute(text("update lease set until = now() - interval '1 second'"))
        await Publisher(resources).publish(index.id)

    with pytest.raises(LeaseLost):
        await rebin(with_public_store(resources, HookedStore(tmp_path / "public", "snapshot.json", overtake)), index.id)
    assert snapshot(reader.tree)["registry"] == 1
    assert all_there(reader, FILES + 1)
    async with resources.engine.connect() as connection:
        current = select(func.count()).where(TufFile.current, TufFile.role.like("b5-%"))
        assert await connection.scalar(current) == 0


async def test_bins_that_nobody_signed_are_not_signed_now(
    resources: Resources, index: MadeIndex, reader: TreeReader
) -> None:
    """A target added to a bin in the catalogue stops the move, which names the bin."""
    await ensure_registry(resources, 5)
    at = (TufFile.index_id == index.id, TufFile.role == "b8-07", TufFile.current)
    async with resources.engine.begin() as connection:
        content = await connection.scalar(select(TufFile.content).where(*at))
        bin_ = json.loads(content or b"")
        bin_["signed"]["targets"]["pointers/evil/evil-1.0.tar.gz.pointer"] = {
            "length": 1,
            "hashes": {"sha256": "0" * 64},
        }
        await connection.execute(update(TufFile).where(*at).values(content=json.dumps(bin_).encode()))
    with pytest.raises(BinsDamaged, match="b8-07"):
        await rebin(resources, index.id)
    assert all_there(reader)


async def test_old_bins_are_never_signed_again_and_new_ones_are(
    resources: Resources, index: MadeIndex, reader: TreeReader, clock: SettableClock
) -> None:
    """After half their life a seventh of the new bins is due, and none of the old ones."""
    await ensure_registry(resources, 5)
    await rebin(resources, index.id)
    clock.advance(timedelta(days=8))
    await Publisher(resources).publish(index.id)
    async with resources.engine.connect() as connection:
        newest = await connection.scalar(select(TufHead.timestamp_version))
        again = await connection.scalars(select(TufFile.role).where(TufFile.version == newest, TufFile.current))
        roles = set(again)
    assert len(roles) == 6
    assert {role[:3] for role in roles} == {"b5-", "sna"}


async def test_a_rebuild_after_a_move_lays_what_is_current(
    resources: Resources, index: MadeIndex, reader: TreeReader, tmp_path: Path
) -> None:
    """A deleted tree comes back with the new bins and every name of the old ones."""
    await ensure_registry(resources, 5)
    await rebin(resources, index.id)
    reader.tree.rename(tmp_path / "gone")
    report = await rebuild(resources, index.id)
    assert report is not None
    assert report.differing == ()
    assert all_there(reader)
    assert all(
        (reader.tree / f"metadata/{version}.{name}.json").is_file() for name, version in snapshot(reader.tree).items()
    )


async def test_bins_are_committed_in_parts(
    resources: Resources, index: MadeIndex, reader: TreeReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many bytes they are, the switch is one commit."""
    monkeypatch.setattr(rebinning, "_PART", 1)
    await ensure_registry(resources, 5)
    await rebin(resources, index.id)
    assert all_there(reader)


async def test_offline_keys_are_asked_for(resources: Resources, index: MadeIndex) -> None:
    """Where people hold the registry's keys nothing is signed, and the error says who must act."""
    settings = Settings(data=resources.settings.data, signing=Signing(profile="production"))
    production = replace(resources, settings=settings)
    with pytest.raises(CeremonyNeeded, match="key holders"):
        await ensure_registry(production, 10)
    moved = await rebin(production, index.id)
    assert moved is not None
    assert not moved.moved


async def test_an_index_without_a_publication_has_nothing_to_move(resources: Resources) -> None:
    """It begins with the newest registry when it is published."""
    made = await make_index(resources.engine, "root/empty")
    assert await rebin(resources, made.id) is None
