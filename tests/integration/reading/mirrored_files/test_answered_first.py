"""Pages of mirrors that are answered before they are kept, where this process answers their files too (ADR 0049)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import func, select

from shared.catalogue import mirror_pages
from shared.catalogue.tables import Fetch, MirrorPage
from tests.integration.reading.constants import JSON, WHEEL
from tests.integration.reading.mirrored_files.site import ON_FOLDERS, Files, opened
from tests.support.reading import Reading

_PAGE = "/root/pypi/+simple/thing/"
_JSON = {"accept": JSON}

pytestmark = ON_FOLDERS


@pytest.fixture
def go(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Until this is set no page is kept."""
    event, keep = asyncio.Event(), mirror_pages.keep

    async def late(*args: Any) -> None:
        await event.wait()
        await keep(*args)

    monkeypatch.setattr(mirror_pages, "keep", late)
    return event


@asynccontextmanager
async def _following(*readings: Reading) -> AsyncIterator[None]:
    """Have processes told of what happens."""
    listening = []
    try:
        for reading in readings:
            told = asyncio.Queue[str]()
            reading.resources.listener.subscribe("countermark_mirror", told.put)
            listening.append(asyncio.create_task(reading.resources.listener.run()))
            assert await told.get() == ""
        yield
    finally:
        for task in listening:
            task.cancel()
        await asyncio.wait(listening)


async def _kept(site: Files) -> int:
    async with site.engine.connect() as connection:
        return await connection.scalar(select(func.count()).select_from(MirrorPage)) or 0


async def test_it_is_answered_and_its_files_are_there_before_it_is_kept(site: Files, go: asyncio.Event) -> None:
    """Also through a stage, from the same question; then it is kept, as it was answered."""
    await site.family.reading.news()
    page = await site.client.get(_PAGE, headers=_JSON)
    based = await site.client.get("/a/top/+simple/thing/", headers=_JSON)
    assert (page.status_code, based.status_code, await _kept(site)) == (200, 200, 0)
    file = next(one for one in page.json()["files"] if one["filename"] == WHEEL)
    path = f"/root/pypi/{file['url'].removeprefix('../../')}"
    assert (await site.client.get(f"{path}.metadata")).content == b"Name: thing"
    assert (await site.client.get(path)).content == b"wheel"
    assert await _kept(site) == 0
    go.set()
    await site.at_rest()
    assert (await _kept(site), site.upstream.asked["/simple/thing/"]) == (1, 1)
    site.reopen()
    assert (await site.get(_PAGE)).content == page.content
    assert site.upstream.asked["/simple/thing/"] == 1


async def test_without_the_files_it_is_kept_first(site: Files, go: asyncio.Event) -> None:
    """Another process that is asked for a file finds it in the catalogue."""
    site.family.reading.resources.answered.followed = False
    await site.family.reading.news()
    asking = asyncio.create_task(site.client.get(_PAGE, headers=_JSON))
    while not site.upstream.asked["/simple/thing/"]:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    assert not asking.done()
    go.set()
    assert ((await asking).status_code, await _kept(site)) == (200, 1)


async def test_another_process_that_needs_it_waits_until_it_is_kept(site: Files, go: asyncio.Event) -> None:
    """It has a page asked for that is not in the catalogue; it is told when it is there, and finds the file."""
    other = opened(site.engine, site.family.stores)
    async with _following(site.family.reading, other), other.client() as client:
        await site.family.reading.news()
        await other.news()
        page = await site.client.get(_PAGE, headers=_JSON)
        file = next(one for one in page.json()["files"] if one["filename"] == WHEEL)
        asking = asyncio.create_task(client.get(f"/root/pypi/{file['url'].removeprefix('../../')}"))
        await asyncio.sleep(0.1)
        assert not asking.done()
        go.set()
        assert (await asking).content == b"wheel"
        assert site.upstream.asked["/simple/thing/"] == 1


async def test_one_that_could_not_be_kept_is_asked_for_again(site: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its files are found all the same."""
    keep, failures = mirror_pages.keep, [OSError("Postgres went away")]

    async def failing(*args: Any) -> None:
        if failures:
            raise failures.pop()
        await keep(*args)

    monkeypatch.setattr(mirror_pages, "keep", failing)
    async with _following(site.family.reading), asyncio.timeout(20):
        paths = await site.page()
        assert (await _kept(site), failures) == (0, [])
        # Until the question is over: who joins it is told that nothing came of it.
        async with site.engine.connect() as connection:
            while await connection.scalar(select(func.count()).select_from(Fetch)):
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        assert (await site.get(paths[WHEEL])).content == b"wheel"
        assert (await _kept(site), site.upstream.asked["/simple/thing/"]) == (1, 2)


async def test_nobody_is_told_that_a_page_lost_has_no_such_file(site: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process that had it asked for says to try again; the documents made of it are forgotten."""
    keeping, go, keep = asyncio.Event(), asyncio.Event(), mirror_pages.keep

    async def failing(*args: Any) -> None:
        if go.is_set():
            await keep(*args)
            return
        keeping.set()
        await go.wait()
        raise OSError("Postgres went away")

    monkeypatch.setattr(mirror_pages, "keep", failing)
    other, told = opened(site.engine, site.family.stores), asyncio.Queue[str]()
    # It answers files alone, and asks no upstream for pages itself.
    waking = other.resources.listener._subscribers["countermark_mirror"]
    waking[:] = [wake for wake in waking if not wake.__qualname__.startswith("AskedPages.")]
    site.family.reading.resources.listener.subscribe("countermark_mirror", told.put)
    async with _following(site.family.reading, other), other.client() as client, asyncio.timeout(20):
        await site.family.reading.news()
        await other.news()
        page = await site.client.get(_PAGE, headers=_JSON)
        file = next(one for one in page.json()["files"] if one["filename"] == WHEEL)
        asking = asyncio.create_task(client.get(f"/root/pypi/{file['url'].removeprefix('../../')}"))
        await keeping.wait()
        while not (await told.get()).startswith("wanted "):
            pass
        await asyncio.sleep(0.05)
        go.set()
        assert (await asking).status_code == 503
        assert (await site.client.get(_PAGE, headers=_JSON)).content == page.content
        assert site.upstream.asked["/simple/thing/"] == 2


async def test_its_own_notification_has_nothing_looked_for_again(site: Files, go: asyncio.Event) -> None:
    """Core metadata that is on its way when the page is kept is asked for once, and stays in memory."""
    async with _following(site.family.reading), asyncio.timeout(20):
        await site.family.reading.news()
        told = asyncio.Queue[str]()
        site.family.reading.resources.listener.subscribe("countermark_mirror", told.put)
        file = next(
            one for one in (await site.client.get(_PAGE, headers=_JSON)).json()["files"] if one["filename"] == WHEEL
        )
        path = f"/root/pypi/{file['url'].removeprefix('../../')}.metadata"
        fault = site.fault(f"{WHEEL}.metadata", never=True)
        asking = asyncio.create_task(site.client.get(path))
        while not site.upstream.asked[f"/files/{WHEEL}.metadata"]:
            await asyncio.sleep(0.01)
        go.set()
        await site.at_rest()
        while not (await told.get()).startswith("changed page:"):
            pass
        fault.go.set()
        assert (await asking).content == b"Name: thing"
        await site.settled(1)
        again = await site.client.get(path)
        assert (again.content, site.upstream.asked[f"/files/{WHEEL}.metadata"]) == (b"Name: thing", 1)
