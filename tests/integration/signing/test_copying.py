"""A copy of a tree is whole for its readers before, while and after it is made; from a folder and a real S3 server."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from countermark.core.attestations.listed import read_bundle_list
from services.index.laying import lay
from services.index.settings import Limits
from services.signing.publication.usecases import Publisher
from services.signing.upkeep.copying import CopyFailed, copy_tree
from services.signing.upkeep.retention import remove_superseded
from shared.catalogue import publications
from shared.jobs.messages import PublishIndex
from shared.objects.filesystem import FolderStore
from shared.objects.interface import IfMatch, Key, LocalFile, ObjectInfo, ObjectStoreError, Put
from shared.objects.keys import bundle_key, file_key, metadata_key, timestamp_key
from shared.resources import Resources
from tests.integration.signing.changes import enqueue, upload
from tests.support.factories import MadeFile, MadeIndex, make_index
from tests.support.kept_bundles import Keeper
from tests.support.resources import with_public_store
from tests.support.sigstore.instance import SLSA, Instance, statement
from tests.support.simulator import RepositorySimulator
from tests.support.tree_audit import audit, folder_reader
from tests.support.tuf_reader import TreeReader


class Noting(FolderStore):
    """A folder store that notes what was put, and may be told to do something before each put."""

    def __init__(self, root: Path, before: Callable[[Key], Awaitable[None]] | None = None) -> None:
        super().__init__(root)
        self.noted: list[Key] = []
        self._before = before

    async def put(
        self, key: Key, body: bytes | LocalFile, condition: Put | IfMatch = Put.ABSENT, *, durable: bool = True
    ) -> ObjectInfo:
        """Do that, put, and note it."""
        if self._before is not None:
            await self._before(key)
        info = await super().put(key, body, condition, durable=durable)
        self.noted.append(key)
        return info


@pytest.fixture(params=["folder", "s3"])
async def source(request: pytest.FixtureRequest, resources: Resources) -> AsyncIterator[Resources]:
    """Resources whose public side is a folder, or a bucket of a real S3 server."""
    async with AsyncExitStack() as stack:
        if request.param == "folder":
            yield resources
            return
        server = request.getfixturevalue("plain_s3")
        connection = await stack.enter_async_context(server.connect())
        yield with_public_store(resources, connection.store(server.make_bucket()))


@pytest.fixture
async def index(source: Resources) -> MadeIndex:
    """An index with two files."""
    made = await make_index(source.engine)
    await enqueue(source, PublishIndex(made.id))
    await publish(source, made, "widget-1.0-py3-none-any.whl", "gadget-1.0.tar.gz")
    return made


async def publish(source: Resources, index: MadeIndex, *names: str) -> list[MadeFile]:
    """Upload and publish files."""
    files = [await upload(source, index, name, name.encode() * 3000) for name in names]
    await Publisher(source).publish(index.id)
    return files


def kind(key: str) -> int:
    """Return the place of a key in the order of trust contract section 2.6, with the files before."""
    orders = (r"files/", r".*/targets/", r".*/metadata/[0-9]+\.(b8-..|targets|trust|registry)\.json",
              r".*snapshot\.json", r".*root\.json", r".*timestamp\.json")  # fmt: skip
    return next(place for place, pattern in enumerate(orders) if re.match(pattern, key))


async def test_the_order_is_the_contracts_and_a_second_copy_moves_what_is_new(
    source: Resources, index: MadeIndex, tmp_path: Path
) -> None:
    """Files before the pointers that name them, these before their bins, then snapshot, roots, timestamp; what lies
    there is not put again."""
    folder = tmp_path / "mirror"
    first = Noting(folder)
    done = await copy_tree(source.objects.public, first, index.name)
    assert (done.published, done.files, done.targets, done.metadata) == (True, 2, 7, 261)
    # The last of the targets is the trust root, which comes before the role that names it.
    assert [kind(key) for key in first.noted][-6:] == [1, 2, 2, 3, 4, 5]
    assert first.noted[-6].endswith(".trusted_root.json")
    for name in ("widget-1.0-py3-none-any.whl", "gadget-1.0.tar.gz"):
        places = [place for place, key in enumerate(first.noted) if name in key]
        assert first.noted[places[0]].startswith("files/")
    assert audit(folder_reader(folder, "root/stable")).faults == []
    again = Noting(folder)
    assert (await copy_tree(source.objects.public, again, index.name)).published
    assert again.noted == [timestamp_key(index.name)]
    await publish(source, index, "widget-1.1-py3-none-any.whl")
    third = Noting(folder)
    done = await copy_tree(source.objects.public, third, index.name)
    assert (done.files, done.targets) == (1, 3)
    assert len(third.noted) == done.files + done.targets + done.metadata + 1
    assert audit(folder_reader(folder, "root/stable")).faults == []


async def test_a_copy_that_is_cut_short_anywhere_shows_what_it_showed(
    source: Resources, index: MadeIndex, tmp_path: Path
) -> None:
    """Cut short after each put, its readers are served as before, and the next run goes on from there."""
    folder = tmp_path / "mirror"
    await copy_tree(source.objects.public, FolderStore(folder), index.name)
    reader = TreeReader(folder / "indexes/root/stable", tmp_path / "warm")
    await publish(source, index, "widget-2.0-py3-none-any.whl", "new-1.0-py3-none-any.whl")
    left = 0

    async def end(_key: Key) -> None:
        nonlocal left
        if left == 0:
            raise ObjectStoreError("the line broke")
        left -= 1

    cuts = 0
    while True:
        left = 1
        try:
            done = await copy_tree(source.objects.public, Noting(folder, end), index.name)
        except ObjectStoreError:
            cuts += 1
            assert reader.versions()["timestamp"] == 1
            assert audit(folder_reader(folder, "root/stable")).faults == []
            assert cuts < 100
            continue
        break
    assert cuts > 8
    assert (done.published, reader.versions()["timestamp"]) == (True, 2)
    assert audit(folder_reader(folder, "root/stable")).faults == []


async def test_publications_that_come_meanwhile_do_not_mix(source: Resources, index: MadeIndex, tmp_path: Path) -> None:
    """The copy is of the timestamp it began with, though the source publishes and tidies at each put."""
    number = 0

    async def go_on(key: Key) -> None:
        nonlocal number
        if number < 4 and "/targets/" in key:
            number += 1
            await publish(source, index, f"widget-3.{number}-py3-none-any.whl")
            async with source.engine.connect() as connection:
                facts = await publications.index_facts(connection, index.id)
            assert facts is not None
            await remove_superseded(source, facts)

    folder = tmp_path / "mirror"
    done = await copy_tree(source.objects.public, Noting(folder, go_on), index.name)
    assert (number, done.version) == (4, 1)
    found = audit(folder_reader(folder, "root/stable"))
    assert (found.faults, found.versions["timestamp"], len(found.listed("widget"))) == ([], 1, 1)
    assert (await copy_tree(source.objects.public, FolderStore(folder), index.name)).version == 5
    found = audit(folder_reader(folder, "root/stable"))
    assert (found.faults, len(found.listed("widget"))) == ([], 5)


async def test_what_is_not_as_signed_ends_the_copy(source: Resources, index: MadeIndex, tmp_path: Path) -> None:
    """A file, target or snapshot that is damaged or missing ends it with words; the destination shows what it did."""
    folder, store = tmp_path / "mirror", source.objects.public
    await copy_tree(store, FolderStore(folder), index.name)
    (file,) = await publish(source, index, "widget-4.0-py3-none-any.whl")
    targets = [info.key async for info in store.list("indexes/root/stable/targets/pointers/widget/")]
    pointer = next(key for key in targets if "widget-4.0" in key)
    changed = metadata_key(index.name, "snapshot", 2)
    damaged = [file_key(file.sha256, file.file_name), pointer, changed]
    for key in damaged:
        async with store.open(key) as opened:
            whole = b"".join([chunk async for chunk in opened.chunks])
        for damage in (b"x" * len(whole), None):
            await (store.delete(key) if damage is None else store.put(key, damage, Put.REPLACE))
            with pytest.raises(CopyFailed, match=r"of the source|the source"):
                await copy_tree(store, FolderStore(folder), index.name)
            assert audit(folder_reader(folder, "root/stable")).versions["timestamp"] == 1
        await store.put(key, whole, Put.REPLACE)
    assert (await copy_tree(store, FolderStore(folder), index.name)).published
    assert audit(folder_reader(folder, "root/stable")).faults == []


async def test_a_newer_timestamp_at_the_destination_is_left(
    source: Resources, index: MadeIndex, tmp_path: Path
) -> None:
    """A source that went back, after a restored backup say, does not take its mirrors back with it."""
    store, folder = source.objects.public, tmp_path / "mirror"
    async with store.open(timestamp_key(index.name)) as opened:
        old = b"".join([chunk async for chunk in opened.chunks])
    await publish(source, index, "widget-5.0-py3-none-any.whl")
    assert (await copy_tree(store, FolderStore(folder), index.name)).published
    await store.put(timestamp_key(index.name), old, Put.REPLACE)
    assert not (await copy_tree(store, FolderStore(folder), index.name)).published
    assert audit(folder_reader(folder, "root/stable")).versions["timestamp"] == 2


async def test_everything_that_another_signer_laid_comes_along(tmp_path: Path) -> None:
    """A tree with a policy and two roots, which this code did not sign: every object of it lies at the destination."""
    sim = RepositorySimulator()
    sim.deployment.trust_targets["trust/policy.yaml"] = b"schema: policy/v1"
    sim = RepositorySimulator(deployment=sim.deployment)
    sim.add_file("widget-1.0-py3-none-any.whl", attestation=b"{}")
    sim.deployment.rotate("timestamp")
    sim.deployment.sign_root()
    sim.publish()
    sim.write_tree(tmp_path / "source")
    done = await copy_tree(FolderStore(tmp_path / "source"), FolderStore(tmp_path / "mirror"), sim.index)
    assert (done.published, done.files) == (True, 2)
    for key, content in sim.objects.items():
        assert (tmp_path / "mirror" / key).read_bytes() == content, key


async def test_documents_about_attestations_come_behind_what_they_list(
    source: Resources, index: MadeIndex, tmp_path: Path
) -> None:
    """Also without pages: the object, the list, and before it the bundles that no pointer names; only what is new."""
    (file,) = await publish(source, index, "widget-6.0-py3-none-any.whl")
    keeper = Keeper(source.engine, source.objects, index)
    digest = await keeper.keep(file, Instance().sign(statement(file.file_name, file.content, SLSA)), log="v2")
    await lay(source, Limits(), index.id)
    folder, name = tmp_path / "mirror", file.file_name
    noting = Noting(folder)
    done = await copy_tree(source.objects.public, noting, index.name, pages=False)
    assert (done.attested, done.pages) == (2, 0)
    listed = f"indexes/root/stable/attestations/widget/{name}.bundles.json"
    assert noting.noted.index(bundle_key(digest, name)) < noting.noted.index(Key(listed))
    assert [found.digest for found in read_bundle_list((folder / listed).read_bytes())] == [digest]
    assert (await copy_tree(source.objects.public, FolderStore(folder), index.name, pages=False)).attested == 0
    await source.objects.public.put(Key(listed), b'{"version": 1, "bundles": [{"uri": "/../x"}]}', Put.REPLACE)
    with pytest.raises(CopyFailed, match="lists no bundles"):
        await copy_tree(source.objects.public, FolderStore(folder), index.name, pages=False)
