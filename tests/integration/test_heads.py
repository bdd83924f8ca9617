"""Heads in memory, on a real Postgres: told at once, told late when a notice is lost, and never told too much."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.signing.ceremonies.trust_root import ensure_trust
from services.signing.publication.usecases import Publisher
from shared.catalogue import heads as heads_module
from shared.catalogue.heads import Head, Heads
from shared.catalogue.listener import Listener
from shared.catalogue.unit_of_work import UnitOfWork
from shared.ids import FileId, IndexId, new_uuid
from shared.jobs.messages import PublishIndex
from shared.objects.keys import file_key
from shared.resources import Resources
from tests.support.factories import MadeFile, MadeIndex, make_file, make_index
from tests.support.reading import counted_queries
from tests.support.resources import service_resources


@pytest.fixture
async def resources(engine: AsyncEngine, tmp_path: Path) -> AsyncIterator[Resources]:
    """Resources of a deployment that has its trust root."""
    async with service_resources(engine, tmp_path) as opened:
        await ensure_trust(opened)
        yield opened


@pytest.fixture
async def index(resources: Resources) -> MadeIndex:
    """A stage index with its first publication."""
    made = await make_index(resources.engine)
    await publish(resources, PublishIndex(made.id))
    return made


async def publish(resources: Resources, message: PublishIndex) -> None:
    """Leave a change and publish it, as signing does in another process."""
    async with UnitOfWork(resources.engine) as work:
        await work.enqueue(message)
        await work.commit()
    await Publisher(resources).publish(message.index_id)


async def uploaded(resources: Resources, index: MadeIndex, name: str) -> MadeFile:
    """Store a file and its row."""
    file = await make_file(resources.engine, index, name, name.encode())
    await resources.objects.public.put(file_key(file.sha256, file.file_name), name.encode())
    return file


class Following:
    """A process that follows heads: what it was told, in order."""

    def __init__(self, engine: AsyncEngine, tick: timedelta) -> None:
        self.heads = Heads(engine)
        self.told: list[tuple[int, frozenset[str]]] = []
        self.heads.subscribe(self._changed)
        self._listener = Listener(engine.url.render_as_string(hide_password=False), tick=tick)
        self._listener.subscribe(heads_module.CHANNEL, self.heads.wake)

    def _changed(self, head: Head, projects: frozenset[str]) -> None:
        self.told.append((head.serial, projects))

    async def __aenter__(self) -> "Following":
        self._task = asyncio.create_task(self._listener.run())
        return self

    async def __aexit__(self, *_error: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def until(self, index_id: IndexId, serial: int) -> None:
        """Return once the head of an index has this serial; fails after ten seconds."""
        async with asyncio.timeout(10):
            while (head := self.heads.get(index_id)) is None or head.serial < serial:
                await asyncio.sleep(0.01)


async def test_a_commit_is_told_at_once_with_what_it_changed(resources: Resources, index: MadeIndex) -> None:
    """A notice brings the new head and the names of the projects it touched, far sooner than a tick would."""
    async with Following(resources.engine, timedelta(seconds=60)) as process:
        await process.until(index.id, 1)
        file = await uploaded(resources, index, "widget-1.0-py3-none-any.whl")
        await publish(resources, PublishIndex(index.id, file.project_id, file.id))
        await process.until(index.id, 2)
    assert process.told == [(1, frozenset()), (2, frozenset({"widget"}))]


async def test_a_lost_notice_is_made_good_by_the_next_tick(resources: Resources, index: MadeIndex) -> None:
    """The bound for staleness: a process whose connection was cut meanwhile compares heads when it is back."""
    async with Following(resources.engine, timedelta(milliseconds=200)) as process:
        await process.until(index.id, 1)
        async with resources.engine.begin() as connection:
            await connection.execute(
                text("select pg_terminate_backend(pid) from pg_stat_activity where query ilike 'listen%'")
            )
        file = await uploaded(resources, index, "widget-1.0-py3-none-any.whl")
        await publish(resources, PublishIndex(index.id, file.project_id, file.id))
        await process.until(index.id, 2)
    assert process.told[-1] == (2, frozenset({"widget"}))


async def test_who_waits_for_a_file_is_told_after_the_caches(resources: Resources, index: MadeIndex) -> None:
    """When the wait ends, this process was already told of the head: its pages are as new as the answer says."""
    async with Following(resources.engine, timedelta(seconds=60)) as process:
        file = await uploaded(resources, index, "widget-1.0-py3-none-any.whl")
        waiting = asyncio.create_task(process.heads.wait_published(index.id, file.id, 10))
        await asyncio.sleep(0.05)
        await publish(resources, PublishIndex(index.id, file.project_id, file.id))
        assert await waiting == 2
        assert process.told[-1] == (2, frozenset({"widget"}))
        assert await process.heads.wait_published(index.id, file.id, 10) == 2, "and at once for what is visible already"


async def test_who_expects_a_file_needs_no_look(resources: Resources, index: MadeIndex) -> None:
    """Expected before its row is there, a file is told of by the notice alone; nothing is left of who gave up."""
    async with Following(resources.engine, timedelta(seconds=60)) as process:
        await process.until(index.id, 1)
        file = await uploaded(resources, index, "widget-1.0-py3-none-any.whl")
        with process.heads.expecting(index.id) as expecting, counted_queries(resources.engine) as queries:
            expecting.expect(file.id)
            waiting = asyncio.create_task(expecting.published(file.id, 10))
            await asyncio.sleep(0.05)
            assert queries == []
            await publish(resources, PublishIndex(index.id, file.project_id, file.id))
            assert await waiting == 2
            assert await expecting.published(FileId(new_uuid()), 0.01) is None
        assert await process.heads.wait_published(index.id, file.id, 10) == 2


async def test_a_notice_looks_at_one_index(resources: Resources, index: MadeIndex) -> None:
    """What a notice costs does not grow with the number of indexes."""
    heads = Heads(resources.engine)
    for number in range(3):
        other = await make_index(resources.engine, f"root/other-{number}")
        await publish(resources, PublishIndex(other.id))
    await heads.wake(str(index.id))
    assert heads.get(index.id) is not None
    assert heads.get(other.id) is None
    await heads.wake("")
    assert heads.get(other.id) is not None


async def test_a_repeated_upload_looks_at_one_index(resources: Resources, index: MadeIndex) -> None:
    """Who waits for a file that may be there already learns of its index alone, whatever others there are."""
    heads = Heads(resources.engine)
    other = await make_index(resources.engine, "root/other")
    await publish(resources, PublishIndex(other.id))
    file = await uploaded(resources, index, "widget-1.0-py3-none-any.whl")
    await publish(resources, PublishIndex(index.id, file.project_id, file.id))
    assert await heads.wait_published(index.id, file.id, 10) == 2
    assert heads.get(other.id) is None


async def test_a_wait_that_is_too_short_ends_with_nothing(resources: Resources, index: MadeIndex) -> None:
    """None after the bound, and no trace of who waited."""
    heads = Heads(resources.engine)
    file = await uploaded(resources, index, "widget-1.0-py3-none-any.whl")
    assert await heads.wait_published(index.id, file.id, 0.05) is None
    assert await heads.wait_published(index.id, FileId(new_uuid()), 0.05) is None
