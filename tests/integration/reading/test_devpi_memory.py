"""Documents of projects that are in memory show what the last commit made, in every process."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import httpx2
import pytest
from sqlalchemy import delete, func, update
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.catalogue.tables import Attachment, File, IndexRow, Project, PublishedFile, Release
from shared.objects.interface import ObjectStores
from tests.integration.reading.constants import WHEEL
from tests.support.devpi_reading import DEVPI, attach, register
from tests.support.published import Published
from tests.support.reading import Reading, counted_queries, open_reading

THING = "/root/stable/thing"


async def _write(engine: AsyncEngine, statement: object) -> None:
    async with engine.begin() as connection:
        await connection.execute(statement)  # type: ignore[call-overload]


async def _publish(engine: AsyncEngine, stable: Published) -> None:
    await stable.publish(await stable.upload("thing-2.0.tar.gz", b"two"))


async def _attach(engine: AsyncEngine, stable: Published) -> None:
    await attach(engine, stable.visible[WHEEL], "doc", "thing-1.0.doc.zip")


async def _detach(engine: AsyncEngine, stable: Published) -> None:
    await _write(engine, update(Attachment).values(removed_at=func.now()))


async def _test(engine: AsyncEngine, stable: Published) -> None:
    await attach(engine, stable.visible[WHEEL], "test-result", f"{WHEEL}.toxresult-20260101000000-0")


async def _register(engine: AsyncEngine, stable: Published) -> None:
    await register(engine, stable, "thing", "9.0", summary="soon")


async def _describe(engine: AsyncEngine, stable: Published) -> None:
    await stable.describe(stable.visible[WHEEL], summary="said anew")


async def _move(engine: AsyncEngine, stable: Published) -> None:
    await _write(engine, update(File).values(history=[{"what": "push", "src": "a/b", "who": "x", "when": []}]))


async def _unlist(engine: AsyncEngine, stable: Published) -> None:
    await _write(engine, update(PublishedFile).values(to_serial=9))


async def _rename(engine: AsyncEngine, stable: Published) -> None:
    await _write(engine, update(Project).values(display_name="THING"))
    await _write(engine, update(Release).values(core_metadata={}))


async def _end(engine: AsyncEngine, stable: Published) -> None:
    await _write(engine, update(Project).values(removed_at=func.now()))


async def _revive(engine: AsyncEngine, stable: Published) -> None:
    await _write(engine, update(IndexRow).values(life=IndexRow.life + 1))


async def _forget(engine: AsyncEngine, stable: Published) -> None:
    await _attach(engine, stable)
    await _write(engine, delete(Attachment))


CHANGES = [
    _publish, _attach, _detach, _test, _register, _describe, _move, _unlist, _rename, _end, _revive, _forget,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__.strip("_"))
async def test_every_change_shows_at_once(
    engine: AsyncEngine,
    stores: ObjectStores,
    stable: Published,
    change: Callable[[AsyncEngine, Published], Awaitable[None]],
) -> None:
    """Two processes with the document in memory answer as one that has nothing."""
    if change is _detach:
        await _attach(engine, stable)
    processes = [open_reading(engine, stores) for _ in range(2)]
    before = [await _asked(process) for process in processes]
    await change(engine, stable)
    fresh = await _asked(open_reading(engine, stores))
    assert [await _asked(process) for process in processes] == [fresh, fresh]
    if change is not _forget:
        assert fresh != before[0]


async def test_what_did_not_change_is_one_statement(engine: AsyncEngine, devpi: httpx2.AsyncClient) -> None:
    """However many releases there are; the serial is that of now."""
    first = await devpi.get(THING)
    with counted_queries(engine) as statements:
        again = await devpi.get(THING)
    assert len(statements) == 1
    assert (again.content, again.headers["content-type"]) == (first.content, first.headers["content-type"])


async def _asked(process: Reading) -> tuple[int, bytes]:
    await process.news()
    async with process.client() as client:
        client.headers.update(DEVPI)
        answer = await client.get(THING)
    return answer.status_code, answer.content


async def test_hosts_share_what_is_in_memory(engine: AsyncEngine, devpi: httpx2.AsyncClient) -> None:
    """Whatever a client says the host is called, no other document is kept, and links begin with what it said."""
    plain = (await devpi.get(THING)).text
    for host in ("a.test", "b.test:8080"):
        with counted_queries(engine) as statements:
            there = await devpi.get(THING, headers={"host": host})
        assert len(statements) == 1
        assert there.text == plain.replace("http://index.test/", f"http://{host}/")
        assert f'"href":"http://{host}/root/stable/+f/' in there.text
