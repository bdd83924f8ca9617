"""The sweeper puts again what the store lacks of a head, on a folder and on a real S3 server."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from services.signing.app import create_service
from services.signing.jobs import RefreshLoop
from services.signing.publication.usecases import Publisher
from services.signing.upkeep.sweeping import Swept, sweep
from services.signing.upkeep.telling import SigningLook
from services.signing.upkeep.tidying import TidyLoop
from shared.catalogue import publications
from shared.catalogue.publication_rows import IndexFacts
from shared.jobs.messages import PublishIndex
from shared.objects.filesystem import FolderStore
from shared.objects.interface import Key, ObjectInfo, ObjectNotFound, ObjectStore, Put
from shared.objects.keys import metadata_key, timestamp_key
from shared.resources import Resources
from tests.integration.signing.changes import enqueue, upload
from tests.support.clock import SettableClock
from tests.support.factories import MadeIndex, make_index
from tests.support.resources import with_public_store
from tests.support.tree_audit import Read, audit

TREE = "indexes/root/stable/"


@pytest.fixture(params=["folder", "s3"])
async def deployment(request: pytest.FixtureRequest, resources: Resources) -> AsyncIterator[Resources]:
    """Resources whose public side is a folder, or a bucket of a real S3 server."""
    async with AsyncExitStack() as stack:
        if request.param == "folder":
            yield resources
            return
        server = request.getfixturevalue("plain_s3")
        connection = await stack.enter_async_context(server.connect())
        yield with_public_store(resources, connection.store(server.make_bucket()))


@pytest.fixture
async def index(deployment: Resources) -> MadeIndex:
    """An index with three projects."""
    made = await make_index(deployment.engine)
    await enqueue(deployment, PublishIndex(made.id))
    for name in ("widget", "gadget", "thing"):
        await upload(deployment, made, f"{name}-1.0-py3-none-any.whl", name.encode())
    await Publisher(deployment).publish(made.id)
    return made


async def facts(resources: Resources, index: MadeIndex) -> IndexFacts:
    """Return the index as signing knows it."""
    async with resources.engine.connect() as connection:
        found = await publications.index_facts(connection, index.id)
    assert found is not None
    return found


async def contents(store: ObjectStore, prefix: str = "") -> dict[Key, bytes]:
    """Return everything a store holds."""
    found = {}
    async for info in store.list(prefix):
        async with store.open(info.key) as opened:
            found[info.key] = b"".join([chunk async for chunk in opened.chunks])
    return found


def reader(stored: dict[Key, bytes]) -> Read:
    """Return what reads the index's tree from a copy of the store."""
    return lambda path: stored.get(Key(path if path.startswith("files/") else TREE + path))


async def test_whatever_is_deleted_of_a_head_comes_back(deployment: Resources, index: MadeIndex) -> None:
    """Metadata, shared files, the timestamp and targets come back byte for byte; a second sweep finds nothing."""
    store, here = deployment.objects.public, await facts(deployment, index)
    whole = await contents(store)
    assert await sweep(deployment, here) == Swept()
    targets = [key for key in whole if key.startswith(f"{TREE}targets/")]
    bins = [key for key in whole if ".b8-" in key]
    lost = [metadata_key(index.name, role, 1) for role in ("root", "targets", "trust", "registry", "snapshot")]
    lost += [timestamp_key(index.name), *bins[:9], *targets]
    for key in lost:
        await store.delete(key)
    await store.put(bins[20], b"cut short", Put.REPLACE)
    assert audit(reader(await contents(store))).faults
    assert await sweep(deployment, here) == Swept(metadata=16, targets=len(targets))
    assert await contents(store) == whole
    assert await sweep(deployment, here) == Swept()


async def test_the_loop_of_any_signer_sees_to_it(deployment: Resources, index: MadeIndex, clock: SettableClock) -> None:
    """Nobody has to ask: the next look after an hour puts what was deleted, and says so once in the log."""
    store, loop, key = deployment.objects.public, TidyLoop(deployment), metadata_key(index.name, "snapshot", 1)
    assert await loop.look() == 1
    await store.delete(key)
    assert (await loop.look(), await store.head(key)) == (0, None)
    clock.advance(timedelta(hours=1))
    with capture_logs() as logs:
        assert await TidyLoop(deployment).look() == 1
    assert [entry["event"] for entry in logs if entry["log_level"] == "warning"] == ["store_lacked_files"]
    assert await store.head(key) is not None


async def test_two_loops_share_the_indexes(deployment: Resources, index: MadeIndex) -> None:
    """What one process took the other leaves alone for an hour."""
    await make_second(deployment)
    assert sum([await TidyLoop(deployment).look() for _ in range(3)]) == 2


async def make_second(deployment: Resources) -> MadeIndex:
    """Publish another index."""
    made = await make_index(deployment.engine, "root/other")
    await enqueue(deployment, PublishIndex(made.id))
    await Publisher(deployment).publish(made.id)
    return made


async def test_metadata_that_no_head_named_goes_after_a_day_and_nothing_else(
    deployment: Resources, index: MadeIndex, clock: SettableClock
) -> None:
    """Older numbers without a row go; those of the head's number or above, shared files, and whatever has no number
    stay."""
    store, here = deployment.objects.public, await facts(deployment, index)
    for _ in range(3):
        await upload(deployment, index, f"widget-2.{_}-py3-none-any.whl")
        await Publisher(deployment).publish(index.id)
    orphan, newer = metadata_key(index.name, "b8-zz", 2), metadata_key(index.name, "snapshot", 9)
    root, strange = metadata_key(index.name, "root", 2), Key(f"{TREE}metadata/notes.txt")
    for key in (orphan, newer, root, strange):
        await store.put(key, b"{}")
    whole = await contents(store)
    assert (await sweep(deployment, here)).orphans == 0, "a day has not passed"
    clock.advance(timedelta(hours=25))
    assert (await sweep(deployment, here)).orphans == 1
    assert await contents(store) == {key: content for key, content in whole.items() if key != orphan}


async def test_what_cannot_be_made_as_it_was_signed_is_told_and_not_put(
    deployment: Resources, index: MadeIndex
) -> None:
    """A target whose row was changed is never put in other bytes: its name is said, the others come back."""
    store, here = deployment.objects.public, await facts(deployment, index)
    targets = [key for key in await contents(store) if key.startswith(f"{TREE}targets/")]
    async with deployment.engine.begin() as connection:
        await connection.execute(text("update file set length = 7 where file_name like 'widget%'"))
    for key in targets:
        await store.delete(key)
    swept = await sweep(deployment, here)
    assert swept.targets == len(targets) - len(swept.lost) > 0
    assert {path.split("/")[1] for path in swept.lost} == {"widget"}
    put = [key.rpartition(".")[0] for key in await contents(store, f"{TREE}targets/pointers/widget")]
    assert [key.rpartition(".")[2] for key in put] == ["_latest"], "which says nothing of the length"


async def test_what_is_published_again_while_it_is_looked_for_is_not_lost(resources: Resources, tmp_path: Path) -> None:
    """A page that changed between the look at its bin and its rendering is another target now: no alarm."""
    made = await make_index(resources.engine)
    await enqueue(resources, PublishIndex(made.id))
    await upload(resources, made, "widget-1.0-py3-none-any.whl")
    await Publisher(resources).publish(made.id)

    class Changing(FolderStore):
        left = True

        async def head(self, key: Key) -> ObjectInfo | None:
            """Publish when the page is looked for first, and say that it is not there."""
            if self.left and key.endswith("_simple.json"):
                self.left = False
                await upload(resources, made, "widget-2.0-py3-none-any.whl")
                await Publisher(resources).publish(made.id)
                return None
            return await super().head(key)

    store = with_public_store(resources, Changing(tmp_path / "public"))
    assert await sweep(store, await facts(resources, made)) == Swept()


async def test_the_sweeper_does_not_touch_files(deployment: Resources, index: MadeIndex) -> None:
    """What people uploaded is not made from rows: a missing artifact stays missing, and readers say so."""
    store = deployment.objects.public
    files = [key for key in await contents(store) if key.startswith("files/")]
    await store.delete(files[0])
    await sweep(deployment, await facts(deployment, index))
    with pytest.raises(ObjectNotFound):
        async with store.open(files[0]):
            pass


async def test_beside_publications_and_whoever_deletes(
    deployment: Resources, index: MadeIndex, clock: SettableClock
) -> None:
    """While files are published, trees are tidied and somebody deletes metadata and targets at random, nothing waits
    for ever; when that ends, one look makes the tree whole."""
    store, ends, draw = deployment.objects.public, asyncio.Event(), random.Random(7)

    async def delete() -> None:
        while not ends.is_set():
            keys = [info.key async for info in store.list(TREE)]
            for key in draw.sample(keys, 3):
                await store.delete(key)

    async def tidy() -> None:
        while not ends.is_set():
            clock.advance(timedelta(hours=2))
            await TidyLoop(deployment).look()

    async with asyncio.TaskGroup() as group:
        group.create_task(delete())
        group.create_task(tidy())
        for number in range(6):
            await upload(deployment, index, f"widget-9.{number}-py3-none-any.whl")
            await Publisher(deployment).publish(index.id)
        ends.set()
    await Publisher(deployment).publish(index.id)
    here = await facts(deployment, index)
    assert (await sweep(deployment, here)).lost == ()
    found = audit(reader(await contents(store)))
    assert (found.faults, len(found.listed("widget"))) == ([], 7)


async def test_every_signing_process_runs_the_loops(resources: Resources) -> None:
    """Refreshing, tidying and telling need nobody to start them."""
    loops = {type(getattr(loop, "__self__", None)) for loop in create_service(resources).loops}
    assert {RefreshLoop, TidyLoop, SigningLook} <= loops
