"""Readers follow the catalogue, also over a lost line, and go on without it: architecture sections 5 (item 7) and 9."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from deploy.postgres import PostgresServer
from shared.catalogue import migrate
from shared.catalogue.engine import open_engine
from shared.settings import Settings
from tests.integration.reading.constants import JSON, LARGE, PAGE, WHEEL
from tests.support.alone import AloneProcess, alone, alone_settings
from tests.support.factories import MadeFile, make_default, make_index
from tests.support.published import Published
from tests.support.reading import open_stores
from tests.support.servers import server_folder

STALENESS = 1.0
"""Seconds, of the processes here."""


async def a_registry(engine: AsyncEngine, folder: Path) -> Published:
    """Make the default index with one published wheel, as a signer leaves it."""
    index = await make_index(engine)
    await make_default(engine, index)
    published = Published(engine, open_stores(folder / "objects"), index)
    await published.publish(await published.upload(WHEEL, LARGE))
    return published


@pytest.fixture
async def stable(engine: AsyncEngine, tmp_path: Path) -> Published:
    """The default index, on the database of all tests."""
    return await a_registry(engine, tmp_path)


@pytest.fixture
def settings(database: str, valkey_url: str, tmp_path: Path) -> Settings:
    """Settings of a reader."""
    return alone_settings(database, valkey_url, tmp_path, staleness=STALENESS)


async def cut_listeners(engine: AsyncEngine) -> int:
    """End the connections on which processes listen; returns how many."""
    async with engine.connect() as connection:
        query = "select count(pg_terminate_backend(pid)) from pg_stat_activity where datname = current_database()"
        return int(await connection.scalar(text(f"{query} and query like 'LISTEN%'")) or 0)


async def listening(engine: AsyncEngine) -> None:
    """Return when a process listens."""
    query = "select count(*) from pg_stat_activity where datname = current_database() and query like 'LISTEN%'"
    async with asyncio.timeout(10):
        while True:
            # Within one transaction the view stands still.
            async with engine.connect() as connection:
                if await connection.scalar(text(query)):
                    return
            await asyncio.sleep(0.01)


async def shown(process: AloneProcess, file_name: str) -> float:
    """Return the seconds until the page names a file."""
    began = time.perf_counter()
    async with httpx2.AsyncClient() as client, asyncio.timeout(20):
        while file_name not in (await client.get(f"{process.url}{PAGE}", headers={"accept": JSON})).text:
            await asyncio.sleep(0.01)
    return time.perf_counter() - began


async def test_a_cut_line_costs_no_more_than_the_staleness(
    settings: Settings, engine: AsyncEngine, stable: Published
) -> None:
    """Whoever lost its listening connection as heads were committed shows them all the same, within the bound."""
    waits = []
    async with alone("index", settings) as index:
        for number in range(2, 6):
            await listening(engine)
            file = await stable.upload(f"thing-{number}.0-py3-none-any.whl")
            assert await cut_listeners(engine) >= 1
            await stable.publish(file)
            waits.append(await shown(index, file.file_name))
    print(f"seen after {', '.join(f'{wait:.2f}' for wait in waits)} s without the notice")
    # The pause before listening again is at most the staleness; a busy machine gets as much again.
    assert max(waits) < 2 * STALENESS + 1


async def test_a_notice_that_never_comes(settings: Settings, engine: AsyncEngine, stable: Published) -> None:
    """A head whose notice was lost on a line that is sound is seen at the next tick."""
    async with alone("index", settings) as index:
        await listening(engine)
        file = await stable.upload("thing-2.0-py3-none-any.whl")
        async with muted(engine):
            await stable.publish(file)
        assert await shown(index, file.file_name) < 2 * STALENESS + 1


@asynccontextmanager
async def muted(engine: AsyncEngine) -> AsyncIterator[None]:
    """Make `pg_notify` do nothing in this database."""
    async with engine.begin() as connection:
        body = "create function public.pg_notify(text, text) returns void language sql as 'select null::void'"
        await connection.execute(text(body))
        await connection.execute(text("alter function public.pg_notify(text, text) owner to current_user"))
        name = (await connection.execute(text("select current_database()"))).scalar_one()
        await connection.execute(text(f"alter database {name} set search_path = public, pg_catalog"))
    await engine.dispose()
    yield
    async with engine.begin() as connection:
        await connection.execute(text(f"alter database {name} reset search_path"))
        await connection.execute(text("drop function public.pg_notify(text, text)"))
    await engine.dispose()


@dataclass(frozen=True, slots=True)
class Read:
    """A way to read that needs nothing but memory and store."""

    service: str
    path: Callable[[MadeFile], str]
    headers: dict[str, str]


WARM = (
    Read("index", lambda _file: PAGE, {"accept": JSON}),
    Read("index", lambda _file: "/simple/", {"accept": "text/html"}),
    Read("download", lambda file: f"/root/stable/+f/{file.path}", {}),
)


@pytest.mark.parametrize("service", ["index", "download"])
async def test_reads_go_on_while_the_catalogue_is_away(service: str, valkey_url: str, tmp_path: Path) -> None:
    """A reader stays ready, says what it misses, serves what it knows, and catches up when the catalogue is back."""
    with server_folder() as folder:
        postgres = PostgresServer(folder / "postgres")
        await postgres.start()
        await migrate.upgrade(postgres.url)
        engine = open_engine(postgres.url)
        stable = await a_registry(engine, tmp_path)
        settings = alone_settings(postgres.url, valkey_url, tmp_path, staleness=STALENESS)
        reads = [read for read in WARM if read.service == service]
        async with alone(service, settings) as reader, httpx2.AsyncClient(timeout=20) as client:
            urls = [f"{reader.url}{read.path(stable.visible[WHEEL])}" for read in reads]
            before = [await client.get(url, headers=read.headers) for url, read in zip(urls, reads, strict=True)]
            assert {answer.status_code for answer in before} == {200}
            await engine.dispose()
            await postgres.stop()
            await asyncio.sleep(2 * STALENESS)
            for url, read, known in zip(urls, reads, before, strict=True):
                assert (await client.get(url, headers=read.headers)).content == known.content
            status, document = await reader.ready()
            assert (status, document["status"]) == (200, "degraded")
            assert "Postgres does not answer" in str(document["failed"])
            cold = await client.get(f"{reader.url}/root/stable/+simple/never-asked/", headers={"accept": JSON})
            if service == "index":
                assert (cold.status_code, cold.headers["retry-after"]) == (503, "5")
                assert "database cannot be used at the moment" in cold.text
            await postgres.start()
            file = await stable.upload("thing-2.0-py3-none-any.whl", b"later")
            await stable.publish(file)
            async with asyncio.timeout(20):
                while await reader.ready() != (200, {"status": "ready"}):
                    await asyncio.sleep(0.05)
                path = PAGE if service == "index" else f"/root/stable/+f/{file.path}"
                while (answer := await client.get(f"{reader.url}{path}", headers={"accept": JSON})).status_code != 200:
                    await asyncio.sleep(0.05)
            if service == "index":
                await shown(reader, file.file_name)
            else:
                assert answer.content == b"later"
        await engine.dispose()
        await postgres.stop()
