"""The projects of a mirror in devpi's document of it. Contract devpi sections 4.3 and 14."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import pytest
from sqlalchemy import select

from countermark.core.names import IndexName, NormalizedName
from gateway.devpi import mirrored_names
from shared.catalogue import mirror_pages
from shared.catalogue.fetches import Turn
from shared.catalogue.mirror_pages import LIST, MirrorId, NewPage
from shared.catalogue.tables import IndexRow
from shared.formats.python.packed_lists import pack_rows
from shared.ids import IndexId
from tests.support.devpi_api import DevpiUser
from tests.support.gateway import Servers, TestGateway
from tests.support.reading import open_reading, open_stores, served
from tests.support.upstream import Upstream

NAME = IndexName("alice", "mirror")
PATH = "/alice/mirror"
UPSTREAM = "http://127.0.0.1:9/simple/"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for nobody who is not there."""
    monkeypatch.setattr(mirrored_names, "_WAIT", 0.2)


async def make(gateway: TestGateway, **options: object) -> DevpiUser:
    """Make a mirror."""
    alice = DevpiUser(gateway, "alice")
    made = await alice("PUT", PATH, {"type": "mirror", "mirror_url": UPSTREAM, **options})
    assert made.status_code == 200, made.text
    return alice


async def keep(gateway: TestGateway, project: NormalizedName, document: bytes) -> None:
    """Have the mirror keep a page, or its list."""
    at = gateway.clock.now()
    page = NewPage(document, None, None, UPSTREAM, None, None, at, at + timedelta(hours=1))
    async with gateway.resources.engine.begin() as connection:
        query = select(IndexRow.id, IndexRow.life).where(IndexRow.owner == NAME.owner, IndexRow.name == NAME.name)
        row = (await connection.execute(query)).one()
        mirror = MirrorId(IndexId(row.id), row.life)
        await mirror_pages.keep(connection, mirror, project, page, Turn("", mine=False))


async def keep_list(gateway: TestGateway, names: Sequence[str]) -> None:
    """Have the mirror keep a list."""
    await keep(gateway, LIST, pack_rows((name, None) for name in names)[0])


async def test_the_list_that_is_kept(gateway: TestGateway) -> None:
    """However long; `no_projects` leaves it out."""
    alice = await make(gateway)
    names = [f"project-{number:05}" for number in range(5000)]
    await keep_list(gateway, names)
    shown = await alice.result(PATH)
    assert shown["projects"] == names
    assert {key: value for key, value in shown.items() if key != "projects"} == await alice.result(
        f"{PATH}?no_projects="
    )


async def test_rules_count(gateway: TestGateway) -> None:
    """Names that the mirror's rules hide are left out, as in its simple list."""
    alice = await make(gateway)
    await keep_list(gateway, ["evil-one", "thing"])
    policy = await DevpiUser(gateway, "alice").http.patch(
        "/api/v1/indexes/alice/mirror/policy", json={"denied": {"evil-*": "no"}}
    )
    assert policy.status_code == 200, policy.text
    assert (await alice.result(PATH))["projects"] == ["thing"]


@pytest.mark.parametrize("options", [{}, {"mirror_no_project_list": True}])
async def test_without_a_list(gateway: TestGateway, options: dict[str, object]) -> None:
    """Where none is to be had, what the mirror keeps a page of."""
    alice = await make(gateway, **options)
    assert (await alice.result(PATH))["projects"] == []
    for name in ("thing", "other"):
        await keep(gateway, NormalizedName(name), b"page")
    assert (await alice.result(PATH))["projects"] == ["other", "thing"]


async def test_the_index_service_asks_for_it(
    gateway: TestGateway, servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list that is not kept yet is there with the answer, and the upstream is asked once."""
    monkeypatch.setattr(mirrored_names, "_WAIT", 20.0)
    upstream = Upstream()
    upstream.add("thing", "thing-1.0.tar.gz")
    upstream.more_names = ["Other_One"]
    reading = open_reading(servers.engine, open_stores(servers.folder))
    async with served(upstream) as url:
        waiting = gateway.wired({})
        alice = await make(waiting, mirror_url=f"{url}/simple/")
        await reading.news()
        listening = [asyncio.create_task(one.listener.run()) for one in (gateway.resources, reading.resources)]
        try:
            await asyncio.sleep(0.3)
            for _ in range(2):
                assert (await alice.result(PATH))["projects"] == ["other-one", "thing"]
        finally:
            for task in listening:
                task.cancel()
            await asyncio.wait(listening)
    assert upstream.asked["/simple/"] == 1
