"""Download counts: what counts, and what a restart or a kill leaves of them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from services.download.counting import Downloads
from shared.clock import SystemClock
from shared.ids import FileId, new_uuid
from shared.objects.interface import ObjectStores
from tests.integration.reading.constants import LARGE, METADATA, WHEEL
from tests.support.factories import make_index, set_bases
from tests.support.published import Published
from tests.support.reading import Reading, counted_queries, open_reading

COUNTS = "/api/v1/indexes/root/stable/downloads/thing"


@asynccontextmanager
async def flushing(reading: Reading) -> AsyncIterator[None]:
    """Run the download service's loops, as a process does, and end them as at its shutdown."""
    tasks = [asyncio.ensure_future(loop()) for loop in reading.download.loops]
    # Every loop has begun before what is to be seen of it happens.
    await asyncio.sleep(0)
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def counted(client: httpx2.AsyncClient) -> dict[str, int]:
    """Return the downloads of each visible file, and their sum under `total`."""
    answer = (await client.get(COUNTS)).json()
    assert answer["project"] == "thing"
    return {"total": answer["total"]} | {file["filename"]: file["downloads"] for file in answer["files"]}


class TestWhatCounts:
    """Architecture section 4: the download service owns the counts."""

    @pytest.fixture(params=["small", "large"])
    async def path(
        self, request: pytest.FixtureRequest, client: httpx2.AsyncClient, reading: Reading, stable: Published
    ) -> str:
        """Address of a file that is kept in memory, or of one that is streamed."""
        content = b"0123456789" * 10 if request.param == "small" else LARGE
        made = await stable.upload("thing-3.0-py3-none-any.whl", content, METADATA)
        await stable.publish(made)
        await reading.news()
        return f"/root/stable/+f/{made.path}"

    async def test_one_download_each(self, client: httpx2.AsyncClient, reading: Reading, path: str) -> None:
        """A whole file and a range from its beginning count, cold and from memory."""
        async with flushing(reading):
            for headers in ({}, {}, {"range": "bytes=0-9"}, {"range": "bytes=0-"}, {"range": "lines=1-2"}):
                assert (await client.get(path, headers=headers)).status_code in (200, 206)
        assert await counted(client) == {"total": 5, "thing-3.0-py3-none-any.whl": 5, WHEEL: 0}

    async def test_what_is_no_download(self, client: httpx2.AsyncClient, reading: Reading, path: str) -> None:
        """HEAD, 304, 416, the rest of a file, its end, and its metadata do not count."""
        tag = (await client.head(path)).headers["etag"]
        async with flushing(reading):
            for _ in range(2):
                await client.head(path)
                await client.get(path, headers={"if-none-match": tag})
                await client.get(path, headers={"range": "bytes=99999999-"})
                await client.get(path, headers={"range": "bytes=5-"})
                await client.get(path, headers={"range": "bytes=-5"})
                await client.get(f"{path}.metadata")
        assert (await counted(client))["total"] == 0

    async def test_downloads_through_another_index(
        self, client: httpx2.AsyncClient, reading: Reading, stable: Published, engine: AsyncEngine
    ) -> None:
        """What is downloaded through an index that is based on another counts where the bytes live."""
        await set_bases(engine, await make_index(engine, "a/top"), "root/stable")
        await reading.news()
        async with flushing(reading):
            await client.get(f"/a/top/+f/{stable.visible[WHEEL].path}")
        assert (await counted(client))["total"] == 1
        assert (await client.get(COUNTS.replace("root/stable", "a/top"))).status_code == 404

    async def test_removed_files_stay_in_the_total(
        self, client: httpx2.AsyncClient, reading: Reading, stable: Published
    ) -> None:
        """A file that is no longer visible is not listed, and what was downloaded of it is not forgotten."""
        async with flushing(reading):
            await client.get(f"/root/stable/+f/{stable.visible[WHEEL].path}")
        await stable.publish(hidden=[stable.visible[WHEEL]])
        assert await counted(client) == {"total": 1}
        assert (await client.get(COUNTS.replace("thing", "Thing"))).json()["project"] == "thing"
        assert (await client.get(COUNTS.replace("thing", "nothing"))).status_code == 404


class TestFlushing:
    """Counts are written in one statement, now and then, and are never in a download's way."""

    async def test_downloads_make_no_query(
        self, client: httpx2.AsyncClient, reading: Reading, stable: Published, engine: AsyncEngine
    ) -> None:
        """A hundred downloads of two files cost no query while they happen, and one upsert later."""
        other = await stable.upload("thing-2.0.tar.gz")
        await stable.publish(other)
        await reading.news()
        paths = [f"/root/stable/+f/{file.path}" for file in (other, stable.visible[WHEEL])]
        for path in paths:
            await client.head(path)
        with counted_queries(engine) as queries:
            async with flushing(reading):
                for _ in range(50):
                    for path in paths:
                        await client.get(path)
                assert queries == []
        assert [statement.split()[0] for statement in queries] == ["INSERT"]
        assert await counted(client) == {"total": 100, WHEEL: 50, "thing-2.0.tar.gz": 50}

    async def test_replicas_add_up(self, engine: AsyncEngine, stable: Published) -> None:
        """Many processes that flush the same files at the same time lose nothing and never block each other."""
        files = [(await stable.upload(f"thing-{number}.0.tar.gz")).id for number in range(2, 12)]
        replicas = [Downloads(engine, SystemClock(), 1.0) for _ in range(4)]
        for number, replica in enumerate(replicas):
            for file_id in files if number % 2 else reversed(files):
                replica.count(file_id)
        await asyncio.gather(*(replica.flush() for replica in replicas))
        async with engine.connect() as connection:
            rows = await connection.exec_driver_sql("select count from download_count")
            assert list(rows.scalars()) == [4] * 10

    async def test_catalogue_away(self, engine: AsyncEngine, stable: Published) -> None:
        """Counts that could not be written are kept and written later; what is of no file is dropped."""
        downloads = Downloads(engine, SystemClock(), 1.0)
        downloads.count(stable.visible[WHEEL].id)
        downloads.count(FileId(new_uuid()))
        async with engine.begin() as connection:
            await connection.exec_driver_sql("alter table download_count rename to away")
        with pytest.raises(SQLAlchemyError):
            await downloads.flush()
        downloads.count(stable.visible[WHEEL].id)
        async with engine.begin() as connection:
            await connection.exec_driver_sql("alter table away rename to download_count")
        await downloads.flush()
        await downloads.flush()
        async with engine.connect() as connection:
            total = await connection.exec_driver_sql("select sum(count) from download_count")
            assert total.scalar_one() == 2


class TestRestart:
    """What is left after a process is gone."""

    async def test_shutdown_loses_nothing(
        self, client: httpx2.AsyncClient, reading: Reading, stable: Published, engine: AsyncEngine, stores: ObjectStores
    ) -> None:
        """What was counted since the last flush is written at shutdown; the next process goes on from there."""
        path = f"/root/stable/+f/{stable.visible[WHEEL].path}"
        async with flushing(reading):
            await client.get(path)
        again = open_reading(engine, stores)
        await again.news()
        async with again.client() as other, flushing(again):
            await other.get(path)
        assert (await counted(client))["total"] == 2

    async def test_kill_loses_one_interval(
        self, client: httpx2.AsyncClient, stable: Published, database: str, tmp_path: Path
    ) -> None:
        """A process that is killed takes only what it counted since its last flush; a new one keeps the rest."""
        path = f"/root/stable/+f/{stable.visible[WHEEL].path}"
        async with process(database, tmp_path, flush_seconds=0.1) as url, httpx2.AsyncClient() as other:
            for _ in range(3):
                assert (await other.get(url + path)).status_code == 200
            async with asyncio.timeout(10):
                while (await counted(client))["total"] < 3:
                    await asyncio.sleep(0.02)
        async with process(database, tmp_path, flush_seconds=3600) as url, httpx2.AsyncClient() as other:
            assert (await other.get(url + COUNTS)).json()["total"] == 3
            await other.get(url + path)
        assert (await counted(client))["total"] == 3


@asynccontextmanager
async def process(database: str, folder: Path, *, flush_seconds: float) -> AsyncIterator[str]:
    """Run the reading services as a process of their own, and kill it at the end; gives its URL."""
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.reading_process", database, str(folder), str(flush_seconds)),
        stdout=asyncio.subprocess.PIPE,
    )
    assert running.stdout is not None
    try:
        async with asyncio.timeout(30):
            yield (await running.stdout.readline()).decode().strip()
    finally:
        running.kill()
        await running.wait()
