"""The static tree that readers of the bare store see."""

from __future__ import annotations

import asyncio

import httpx2
import orjson
import pytest
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from countermark.core.digest import sha256_of
from countermark.core.names import page_target
from services.index import laying
from services.index.lists import ProjectLists
from services.index.settings import Limits as IndexLimits
from shared.ids import IndexId, new_uuid
from shared.jobs.messages import LayPages
from shared.objects.interface import IfMatch, Key, LocalFile, ObjectInfo, ObjectStore, ObjectStores, Put
from shared.objects.keys import target_key
from tests.integration.reading.constants import WHEEL
from tests.support.factories import make_index
from tests.support.published import Published
from tests.support.reading import Reading, open_reading


class TestLaying:
    """Architecture sections 5, 6 and 11.2."""

    async def test_static_tree(self, reading: Reading, stable: Published, stores: ObjectStores) -> None:
        """A job lays pages and lists of an index, whose links lead to the files from below any prefix."""
        await lay(reading, stable)
        page = orjson.loads(await bytes_at(stores, "indexes/root/stable/simple/thing/index.json"))
        link = page["files"][0]["url"]
        base = httpx2.URL("http://bucket.test/any/prefix/indexes/root/stable/simple/thing/")
        assert base.join(link).path.startswith("/any/prefix/files/")
        assert await bytes_at(stores, base.join(link).path.removeprefix("/any/prefix/")) == b"wheel of 1.0"
        html = await bytes_at(stores, "indexes/root/stable/simple/thing/index.html")
        assert f'href="{link}#sha256={stable.visible[WHEEL].sha256}"'.encode() in html
        listed = orjson.loads(await bytes_at(stores, "indexes/root/stable/simple/index.json"))
        assert listed["projects"] == [{"name": "thing", "_last-serial": 1}]
        assert b'<a href="thing/">' in await bytes_at(stores, "indexes/root/stable/simple/index.html")

    async def test_only_what_changed(self, reading: Reading, stable: Published, stores: ObjectStores) -> None:
        """A second job writes the pages that changed since and no others; one without a change writes nothing."""
        await lay(reading, stable)
        await stores.public.put(Key("indexes/root/stable/simple/thing/index.html"), b"touched", Put.REPLACE)
        await stable.publish(await stable.upload("other-1.0.tar.gz"))
        assert await laying.lay(reading.resources, IndexLimits(), stable.index.id) == 1
        assert await bytes_at(stores, "indexes/root/stable/simple/thing/index.html") == b"touched"
        assert b"other" in await bytes_at(stores, "indexes/root/stable/simple/index.html")
        assert await laying.lay(reading.resources, IndexLimits(), stable.index.id) == 0
        assert await laying.lay(reading.resources, IndexLimits(), stable.index.id, full=True) == 2
        assert b"SERIAL" in await bytes_at(stores, "indexes/root/stable/simple/thing/index.html")

    async def test_removed_files_leave_the_tree(
        self, reading: Reading, stable: Published, stores: ObjectStores
    ) -> None:
        """A project without files keeps an empty page, so that its name still hides mirrors, and leaves the list."""
        await lay(reading, stable)
        await stable.publish(hidden=[stable.visible[WHEEL]])
        await lay(reading, stable)
        page = orjson.loads(await bytes_at(stores, "indexes/root/stable/simple/thing/index.json"))
        assert page["files"] == []
        listed = orjson.loads(await bytes_at(stores, "indexes/root/stable/simple/index.json"))
        assert listed["projects"] == []

    async def test_lists_are_kept(self, reading: Reading, stable: Published) -> None:
        """Between two layings a list learns of what changed, and says what a new one reads."""
        lists, other = ProjectLists(), await stable.upload("other-1.0.tar.gz")
        steps = [[], [other], [await stable.upload("another-1.0.tar.gz")]]
        async with reading.resources.engine.connect() as connection:
            for shown in steps:
                await stable.publish(*shown)
                await same_list(connection, lists, stable)
            await stable.publish(hidden=[other])
            assert "other" not in dict(await same_list(connection, lists, stable))
            await stable.publish(other)
            assert dict(await same_list(connection, lists, stable))["other"] == stable.serial

    async def test_large_lists_are_read_each_time(self, reading: Reading, stable: Published) -> None:
        """What is more than may be kept is right all the same."""
        lists = ProjectLists(most_projects=1)
        async with reading.resources.engine.connect() as connection:
            for number in range(3):
                await stable.publish(await stable.upload(f"other{number}-1.0.tar.gz"))
                assert len(await same_list(connection, lists, stable)) == 2 + number

    async def test_never_older_over_newer(
        self, engine: AsyncEngine, reading: Reading, stable: Published, stores: ObjectStores
    ) -> None:
        """A job that was overtaken while it wrote leaves the newer pages of the other as they are."""
        slow = PausedStore(stores.public)
        late = open_reading(engine, ObjectStores(slow, stores.private))
        overtaken = asyncio.create_task(laying.lay(late.resources, IndexLimits(), stable.index.id))
        await slow.reached.wait()
        await stable.publish(await stable.upload("thing-2.0.tar.gz"))
        await lay(reading, stable)
        newer = {path: await bytes_at(stores, path) for path in TREE}
        slow.go_on.set()
        await overtaken
        assert {path: await bytes_at(stores, path) for path in TREE} == newer
        assert b"thing-2.0" in newer[TREE[0]]
        assert await laying.lay(reading.resources, IndexLimits(), stable.index.id) == 0, "the newer mark stays"

    async def test_damaged_document_stops_the_job(
        self, reading: Reading, stable: Published, stores: ObjectStores
    ) -> None:
        """Nothing is laid from a damaged document, and the job is tried again: the mark is not set."""
        document = stable.pages["thing"]
        key = target_key(stable.index.name, page_target(stable.visible[WHEEL].project), sha256_of(document))
        await stores.public.put(key, b"{}", Put.REPLACE)
        with pytest.raises(ExceptionGroup):
            await lay(reading, stable)
        assert await stores.public.head(Key(TREE[0])) is None
        await stores.public.put(key, document, Put.REPLACE)
        await lay(reading, stable)
        assert b"thing-1.0" in await bytes_at(stores, TREE[0])

    async def test_index_without_publication(self, reading: Reading, engine: AsyncEngine) -> None:
        """There is nothing to lay for an index that never published, or that does not exist."""
        index = await make_index(engine, "root/new")
        assert await laying.lay(reading.resources, IndexLimits(), index.id) == 0
        assert await laying.lay(reading.resources, IndexLimits(), IndexId(new_uuid())) == 0


TREE = [f"indexes/root/stable/simple/{name}" for name in ("thing/index.html", "thing/index.json", "index.json")]


async def lay(reading: Reading, published: Published) -> None:
    """Do the job as the worker does."""
    await reading.index.handlers[LayPages](LayPages(published.index.id))


async def same_list(connection: AsyncConnection, kept: ProjectLists, published: Published) -> list[tuple[str, int]]:
    """Return what a kept list says, which is what one says that knows nothing yet."""
    listed = await kept.current(connection, published.index.id, published.serial)
    assert listed == await ProjectLists().current(connection, published.index.id, published.serial)
    return listed


async def bytes_at(stores: ObjectStores, path: str) -> bytes:
    """Return what lies in the public tree."""
    async with stores.public.open(Key(path)) as opened:
        return b"".join([chunk async for chunk in opened.chunks])


class PausedStore:
    """A store whose first replacement waits until it is told to go on, as in a process that was stopped there."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self.reached = asyncio.Event()
        self.go_on = asyncio.Event()
        self.head, self.open, self.list = store.head, store.open, store.list
        self.delete, self.ping, self.close = store.delete, store.ping, store.close

    async def put(
        self, key: Key, body: bytes | LocalFile, condition: Put | IfMatch = Put.ABSENT, *, durable: bool = True
    ) -> ObjectInfo:
        """Wait before the first put of a page, with its condition already decided."""
        if not self.reached.is_set():
            self.reached.set()
            await self.go_on.wait()
        return await self._store.put(key, body, condition, durable=durable)
