"""Recovery from stolen online keys: a thief misleads a client, the keys are replaced, the same client goes on.

Source: trust contract section 2.8, section 6 rows 4, 10 and 11; docs/runbooks/stolen-keys.md.
"""

import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import Signer
from tuf.api.exceptions import BadVersionNumberError, RepositoryError, UnsignedMetadataError
from tuf.api.metadata import Metadata, MetaFile, Snapshot, TargetFile, Targets, Timestamp

from services.signing.ceremonies import rotating
from services.signing.keys.handles import keys_folder, load_handles
from services.signing.keys.signers import KeyHandle
from services.signing.publication.usecases import Publisher
from shared.resources import Resources
from shared.trust.metadata import succinct_roles_of
from shared.trust.roles import Role
from tests.integration.signing import changes
from tests.support.clock import SettableClock
from tests.support.factories import MadeIndex
from tests.support.tuf_reader import TreeReader

FAR = 1 << 40
EVIL = "pointers/first/evil-1.0-py3-none-any.whl.pointer"


class Thief:
    """Has copies of some online keys, and serves a tree of its own that it changes as these keys allow."""

    def __init__(self, handles: list[KeyHandle], keys: Path, tree: Path, copy: Path) -> None:
        self._keys = {
            handle.role: Signer.from_priv_key_uri(f"file2:{keys / handle.uri.partition(':')[2]}", handle.key)
            for handle in handles
        }
        shutil.copytree(tree, copy)
        self._metadata, self._targets = copy / "metadata", copy / "targets"

    def timestamp(self, version: int, snapshot: int | None = None) -> None:
        """Sign a timestamp, of another snapshot where one is named."""
        signed = self._read("timestamp.json")
        assert isinstance(signed, Timestamp)
        signed.version = version
        if snapshot is not None:
            data = (self._metadata / f"{snapshot}.snapshot.json").read_bytes()
            signed.snapshot_meta = MetaFile.from_data(snapshot, data, ["sha256"])
        self._write("timestamp.json", signed, Role.TIMESTAMP)

    def snapshot(self, version: int, **bins: int) -> None:
        """Sign a snapshot that names other versions of some bins."""
        signed = self._snapshot()
        signed.version = version
        for name, number in bins.items():
            signed.meta[f"{name}.json"] = MetaFile(number)
        self._write(f"{version}.snapshot.json", signed, Role.SNAPSHOT)

    def evil(self, version: int) -> str:
        """Sign a bin that lists a target which nobody uploaded; returns the bin's name."""
        snapshot = self._snapshot()
        registry = (self._metadata / f"{snapshot.meta['registry.json'].version}.registry.json").read_bytes()
        name = succinct_roles_of(registry).get_role_for_target(EVIL)
        signed = self._read(f"{snapshot.meta[f'{name}.json'].version}.{name}.json")
        assert isinstance(signed, Targets)
        signed.targets[EVIL] = info = TargetFile.from_data(EVIL, b"evil", ["sha256"])
        signed.version = version
        self._write(f"{version}.{name}.json", signed, Role.BINS)
        folder, _, last = EVIL.rpartition("/")
        place = self._targets / folder / f"{info.hashes['sha256']}.{last}"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"evil")
        return name

    def _snapshot(self) -> Snapshot:
        timestamp = self._read("timestamp.json")
        assert isinstance(timestamp, Timestamp)
        signed = self._read(f"{timestamp.snapshot_meta.version}.snapshot.json")
        assert isinstance(signed, Snapshot)
        return signed

    def _read(self, name: str) -> object:
        return Metadata[Any].from_bytes((self._metadata / name).read_bytes()).signed

    def _write(self, name: str, signed: Any, role: Role) -> None:
        metadata = Metadata(signed)
        metadata.sign(self._keys[role])
        (self._metadata / name).write_bytes(metadata.to_bytes())


@pytest.fixture
async def index(resources: Resources) -> MadeIndex:
    """An index with a file, published."""
    return await changes.published_index(resources, {"first-1.0-py3-none-any.whl": b"first"})


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The tree that the registry publishes."""
    return tmp_path / "public/indexes/root/stable"


async def thief_with(resources: Resources, tree: Path, folder: Path, *roles: Role) -> Thief:
    """Return somebody who has copied the keys of some roles."""
    handles = [handle for handle in await load_handles(resources) if handle.role in roles]
    return Thief(handles, keys_folder(resources), tree, folder / "evil")


async def recover(resources: Resources, clock: SettableClock, index: MadeIndex, *roles: Role) -> None:
    """Do what the runbook says: replace each of the stolen keys."""
    for role in roles:
        rotation = await rotating.begin(resources, role)
        clock.advance(timedelta(seconds=1))
        await Publisher(resources).publish(index.id)
        await rotating.hand_over(resources, rotation)
        await Publisher(resources).publish(index.id)
        await rotating.retire(resources, rotation)


def led_astray(reader: TreeReader, folder: Path) -> TreeReader:
    """Return the same client, with the same cache, before the thief's tree."""
    astray = TreeReader(folder / "evil", reader.cache)
    astray.refreshed()
    return astray


async def test_a_stolen_timestamp_key(
    resources: Resources, clock: SettableClock, index: MadeIndex, tree: Path, tmp_path: Path
) -> None:
    """A client that was sent forward to a version nobody will reach refuses what is right, until the key is another."""
    reader = TreeReader(tree, tmp_path / "cache")
    reader.refreshed()
    thief = await thief_with(resources, tree, tmp_path, Role.TIMESTAMP)
    thief.timestamp(FAR)
    led_astray(reader, tmp_path)
    with pytest.raises(BadVersionNumberError):
        reader.refreshed()
    await recover(resources, clock, index, Role.TIMESTAMP)
    assert reader.target("pointers/first/_simple.json") is not None
    with pytest.raises(UnsignedMetadataError):
        _with_newer_root(tree, tmp_path).refreshed()


async def test_stolen_snapshot_and_timestamp_keys(
    resources: Resources, clock: SettableClock, index: MadeIndex, tree: Path, tmp_path: Path
) -> None:
    """Both inflated: with both keys replaced the client forgets both versions, and takes ours."""
    reader = TreeReader(tree, tmp_path / "cache")
    reader.refreshed()
    thief = await thief_with(resources, tree, tmp_path, Role.TIMESTAMP, Role.SNAPSHOT)
    thief.snapshot(FAR)
    thief.timestamp(FAR, FAR)
    led_astray(reader, tmp_path)
    with pytest.raises(RepositoryError):
        reader.refreshed()
    await recover(resources, clock, index, Role.TIMESTAMP, Role.SNAPSHOT)
    assert reader.target("pointers/first/_simple.json") is not None


async def test_all_online_keys_stolen(
    resources: Resources, clock: SettableClock, index: MadeIndex, tree: Path, tmp_path: Path
) -> None:
    """The thief's target is seen by nobody once the keys are others, not by the client that had seen it either; what
    is uploaded next is."""
    reader = TreeReader(tree, tmp_path / "cache")
    reader.refreshed()
    stolen = (Role.TIMESTAMP, Role.SNAPSHOT, Role.BINS)
    thief = await thief_with(resources, tree, tmp_path, *stolen)
    name = thief.evil(FAR)
    thief.snapshot(FAR, **{name: FAR})
    thief.timestamp(FAR, FAR)
    assert led_astray(reader, tmp_path).target(EVIL) == b"evil"
    await recover(resources, clock, index, *stolen)
    await changes.upload(resources, index, "second-1.0-py3-none-any.whl", b"second")
    await Publisher(resources).publish(index.id)
    assert reader.target("pointers/second/_simple.json") is not None
    assert reader.target(EVIL) is None
    for attempt in (reader, TreeReader(tree, tmp_path / "new")):
        attempt.refreshed()
        with pytest.raises((UnsignedMetadataError, BadVersionNumberError)):
            TreeReader(_with_newer_root(tree, tmp_path).tree, attempt.cache).refreshed()


def _with_newer_root(tree: Path, folder: Path) -> TreeReader:
    """Return a new client before the thief's tree, to which a mirror brought the roots that were made since."""
    for root in tree.glob("metadata/*.root.json"):
        shutil.copy(root, folder / "evil/metadata" / root.name)
    return TreeReader(folder / "evil", folder / "newcomer")
