"""What a signer that was killed after its commit owes the store is made good; what is newer is never undone."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update
from structlog.testing import capture_logs

from services.signing.jobs import LATE, RefreshLoop
from services.signing.publication import tree
from services.signing.publication.storing import make_good
from services.signing.publication.usecases import Publisher
from shared.catalogue import stored_heads
from shared.catalogue.tables import Lease, TufHead
from shared.catalogue.unit_of_work import UnitOfWork
from shared.objects.filesystem import FolderStore
from shared.objects.interface import ObjectStoreError, Put
from shared.objects.keys import timestamp_key
from shared.resources import Resources
from tests.integration.signing.changes import published_index, upload
from tests.support.clock import SettableClock
from tests.support.factories import MadeIndex
from tests.support.hooked_store import HookedStore
from tests.support.resources import with_public_store
from tests.support.tuf_reader import TreeReader


@pytest.fixture
async def index(resources: Resources) -> MadeIndex:
    """A stage index that was published once, empty."""
    return await published_index(resources)


async def publish_without_the_end(resources: Resources, index: MadeIndex, folder: Path) -> None:
    """Publish with a store that takes no timestamp: as if the process had been killed after the commit."""

    async def fail() -> None:
        raise ObjectStoreError("killed")

    with pytest.raises(ObjectStoreError):
        await Publisher(with_public_store(resources, HookedStore(folder / "public", "timestamp.json", fail))).publish(
            index.id
        )


async def stored(resources: Resources) -> tuple[int, int]:
    """Return how far the store has come, and the head."""
    async with resources.engine.connect() as connection:
        row = (await connection.execute(select(TufHead.stored_version, TufHead.timestamp_version))).one()
    return row.stored_version, row.timestamp_version


async def test_what_a_killed_signer_owes_the_store_is_asked_for_and_done(
    resources: Resources, index: MadeIndex, clock: SettableClock, tmp_path: Path
) -> None:
    """After its commit nothing else has to happen in the index: the loop of any signer sees to timestamp and copies."""
    reader = TreeReader(tmp_path / "public/indexes/root/stable", tmp_path / "cache")
    assert await stored(resources) == (1, 1)
    await upload(resources, index, "widget-1.0-py3-none-any.whl")
    await publish_without_the_end(resources, index, tmp_path)
    assert (await stored(resources), reader.versions()["timestamp"]) == ((1, 2), 1)
    loop = RefreshLoop(resources)
    assert await loop.look() == 0, "a signer that lives gets its time"
    clock.advance(LATE + timedelta(seconds=1))
    assert await loop.look() == 1
    assert await loop.look() == 0, "it is asked for already"
    await Publisher(resources).publish(index.id)
    assert (await stored(resources), reader.versions()["timestamp"]) == ((2, 2), 2)
    pointer = "pointers/widget/widget-1.0-py3-none-any.whl.pointer"
    assert (reader.tree / pointer).read_bytes() == reader.target(pointer)


async def test_copies_of_several_lost_batches_are_as_the_last_one_says(
    resources: Resources, index: MadeIndex, tmp_path: Path
) -> None:
    """Each path gets the bytes of its newest target, though nobody has the batches in memory any more."""
    reader = TreeReader(tmp_path / "public/indexes/root/stable", tmp_path / "cache")
    for version in ("1.0", "2.0"):
        await upload(resources, index, f"widget-{version}-py3-none-any.whl")
        await publish_without_the_end(resources, index, tmp_path)
    # The second holder made good what the first one owed as far as the store let it: not at all.
    assert (await stored(resources))[0] == 1
    await Publisher(resources).publish(index.id)
    for name in ("_simple.json", "_latest.pointer", "widget-1.0-py3-none-any.whl.pointer"):
        assert (reader.tree / "pointers/widget" / name).read_bytes() == reader.target(f"pointers/widget/{name}")


async def test_an_older_timestamp_is_never_put_over_a_newer_one(
    resources: Resources, index: MadeIndex, tmp_path: Path
) -> None:
    """A signer that was paused before its last write finds that others have gone on; damage is written over."""
    store, key = FolderStore(tmp_path / "public"), timestamp_key(index.name)
    path = tmp_path / "public" / key
    old = path.read_bytes()
    await upload(resources, index, "widget-1.0-py3-none-any.whl")
    await Publisher(resources).publish(index.id)
    new = path.read_bytes()
    assert not await tree.put_timestamp(store, index.name, old)
    assert path.read_bytes() == new
    assert await tree.put_timestamp(store, index.name, new)
    for damage in (b"", b"{}", new[:100]):
        await store.put(key, damage, Put.REPLACE)
        assert await tree.put_timestamp(store, index.name, new)
        assert path.read_bytes() == new
    await store.delete(key)
    assert await tree.put_timestamp(store, index.name, new)


@pytest.mark.parametrize("fails", [False, True])
async def test_older_plain_copies_put_over_newer_ones_are_mended(
    resources: Resources, index: MadeIndex, tmp_path: Path, fails: bool
) -> None:
    """A signer that was paused before a plain copy and replaced says that the newer ones are owed; the next holder of
    the lease puts them, whether the paused one came to its end or not."""
    reader = TreeReader(tmp_path / "public/indexes/root/stable", tmp_path / "cache")
    await upload(resources, index, "widget-1.0-py3-none-any.whl")

    async def be_replaced() -> None:
        async with UnitOfWork(resources.engine) as work:
            await work.connection.execute(update(Lease).values(until=datetime(2000, 1, 1, tzinfo=UTC)))
            await work.commit()
        await upload(resources, index, "widget-2.0-py3-none-any.whl")
        await Publisher(resources).publish(index.id)
        assert await stored(resources) == (3, 3)
        if fails:
            await asyncio.sleep(0.2)
            raise ObjectStoreError("the line broke")

    paused = HookedStore(tmp_path / "public", "stable/pointers/widget/_simple.json", be_replaced)
    publishing = Publisher(with_public_store(resources, paused)).publish(index.id)
    if fails:
        with pytest.raises(ExceptionGroup):
            await publishing
    else:
        await publishing
    assert (await stored(resources))[0] < 3
    await Publisher(resources).publish(index.id)
    assert await stored(resources) == (3, 3)
    for name in ("_simple.json", "_latest.pointer"):
        assert (reader.tree / "pointers/widget" / name).read_bytes() == reader.target(f"pointers/widget/{name}")


async def test_a_holder_at_work_notices_that_copies_are_owed_again(resources: Resources, index: MadeIndex) -> None:
    """What it put before may have been written over: it does not say that the store has come up to its head."""
    async with UnitOfWork(resources.engine) as work:
        assert not await stored_heads.step_back(work.connection, index.id, 1), "nobody was faster"
        await work.connection.execute(update(TufHead).values(timestamp_version=3))
        assert await stored_heads.step_back(work.connection, index.id, 1)
        await stored_heads.mark_stored(work.connection, index.id, 3, before=1)
        await work.commit()
    assert await stored(resources) == (0, 3)


async def test_a_store_that_is_ahead_of_the_catalogue_is_told_of(
    resources: Resources, index: MadeIndex, tmp_path: Path
) -> None:
    """After a backup was restored the store is not called up to date, and the log says what to do."""
    path = tmp_path / "public" / timestamp_key(index.name)
    old = path.read_bytes()
    await upload(resources, index, "widget-1.0-py3-none-any.whl")
    await Publisher(resources).publish(index.id)
    newer = path.read_bytes()
    async with UnitOfWork(resources.engine) as work:
        await work.connection.execute(update(TufHead).values(timestamp_version=1, timestamp=old, stored_version=0))
        await work.commit()
    with capture_logs() as logs:
        await make_good(resources, index.id)
    assert [(line["event"], line["log_level"]) for line in logs] == [("store_is_ahead", "error")]
    assert await stored(resources) == (0, 1)
    assert path.read_bytes() == newer
