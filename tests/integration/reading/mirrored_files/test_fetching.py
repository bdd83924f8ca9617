"""Files of mirrors are fetched once and streamed while they arrive. Contract python-index section 5.1."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import update

from services.download.evicting import Eviction
from services.download.settings import Limits
from shared.catalogue.tables import MirrorPage
from shared.fetching.fetching import Fetching
from shared.objects.interface import ObjectStores
from tests.integration.reading.constants import LARGE, WHEEL
from tests.integration.reading.mirror_site import MIRRORS, NEW
from tests.integration.reading.mirrored_files.site import BIG, LIMITS, UP, Files, limited, opened, path_of
from tests.integration.reading.test_redirect import SigningFolder
from tests.support.factories import now
from tests.support.reading import open_reading
from tests.support.upstream import Fault


async def test_a_file_is_fetched_once(site: Files) -> None:
    """Small or large, directly or through a base; then it is served as a hosted one, also with a dead upstream."""
    for index in ("root/pypi", "a/top"):
        paths = await site.page(index)
        for name, content in ((WHEEL, b"wheel"), (BIG, LARGE)):
            answer = await site.client.get(paths[name])
            assert (answer.status_code, answer.content) == (200, content)
            assert answer.headers["etag"] == f'"{hashlib.sha256(content).hexdigest()}"'
            assert "immutable" in answer.headers["cache-control"]
            assert site.upstream.asked[f"/files/{name}"] == 1
    await site.settled(2)
    assert sorted((await site.rows()).values()) == sorted([5, len(LARGE)])
    assert site.left_over() == []
    site.upstream.down = Fault(status=500)
    await site.expire()
    for name, content in ((WHEEL, b"wheel"), (BIG, LARGE)):
        answer = await site.get(paths[name])
        assert (answer.status_code, answer.content) == (200, content)
        etag = answer.headers["etag"]
        again = await site.client.get(paths[name], headers={"if-none-match": etag})
        assert again.status_code == 304
        part = await site.client.get(paths[name], headers={"range": "bytes=1-3"})
        assert (part.status_code, part.content) == (206, content[1:4])
        head = await site.client.head(paths[name])
        assert (head.status_code, head.headers["content-length"]) == (200, str(len(content)))


async def test_one_fetch_for_a_crowd_in_two_processes(site: Files) -> None:
    """Fifty clients on one cold file cause one request upstream; those of the process that fetches stream at once."""
    path = (await site.page())[BIG]
    fault = site.fault(BIG, held=len(LARGE) // 2)
    other = opened(site.engine, site.family.stores)
    async with site.listening() as here, site.listening(other) as there, here.stream("GET", path) as first:
        chunks, got = first.aiter_raw(), b""
        while len(got) < len(LARGE) // 3:
            got += await anext(chunks)
        assert LARGE.startswith(got), "it streams before the whole is there"
        crowd = [asyncio.create_task(client.get(path)) for client in [here, there] * 25]
        await asyncio.sleep(0.5)
        assert not any(one.done() for one in crowd)
        fault.go.set()
        answers = await asyncio.gather(*crowd)
        assert got + b"".join([chunk async for chunk in chunks]) == LARGE
    assert {(answer.status_code, answer.content == LARGE) for answer in answers} == {(200, True)}
    assert site.upstream.asked[UP] == 1
    await site.settled(1)
    assert site.left_over() == []


async def test_who_goes_away_or_is_slow_ends_nothing(site: Files) -> None:
    """The fetch goes on and the file is kept."""
    path = (await site.page())[BIG]
    fault = site.fault(BIG, held=len(LARGE) // 2)
    async with site.listening() as client:
        async with client.stream("GET", path) as answer:
            assert answer.status_code == 200
            await anext(answer.aiter_raw())
        fault.go.set()
        await site.settled(1)
        assert (await client.get(path)).content == LARGE
    assert site.upstream.asked[UP] == 1


async def test_ranges_of_a_cold_file(site: Files) -> None:
    """The beginning comes from what arrived, the end when it is known to be right."""
    path = (await site.page())[BIG]
    fault = site.fault(BIG, held=len(LARGE) // 2)
    async with site.listening() as client:
        begin = await client.get(path, headers={"range": "bytes=10-2009"})
        assert (begin.status_code, begin.content) == (206, LARGE[10:2010])
        end = asyncio.create_task(client.get(path, headers={"range": "bytes=-100"}))
        await asyncio.sleep(0.3)
        assert not end.done()
        fault.go.set()
        assert (await end).content == LARGE[-100:]
    assert site.upstream.asked[UP] == 1


async def test_wrong_bytes_never_arrive_whole(site: Files) -> None:
    """The connection is cut before the end, nothing is kept, and there is an alarm."""
    path = (await site.page())[BIG]
    site.fault(BIG, body=LARGE[:-1] + b"?")
    async with site.listening() as client:
        with pytest.raises(httpx2.HTTPError):
            await client.get(path)
        again = await client.get(path)
        assert (again.status_code, again.headers["content-type"]) == (502, "application/problem+json")
        assert int(again.headers["retry-after"]) > 0
    assert (await site.rows(), await site.alarms(), site.left_over()) == ({}, 1, [])
    assert site.upstream.asked[UP] == 1, "it is not asked again at once"


async def test_what_nobody_can_say_is_not_not_found(site: Files) -> None:
    """While the upstream is away a file of an unknown or older page is 503, and there once it is back."""
    reading = open_reading(site.engine, site.family.stores, mirrors=MIRRORS)
    site.family.reading, site.client = reading, reading.client()
    await reading.news()
    listening = asyncio.create_task(reading.resources.listener.run())
    try:
        await asyncio.sleep(0.3)
        await site.page()
        site.upstream.add("thing", NEW, b"new")
        site.upstream.add("other", "other-1.0.tar.gz", b"other")
        site.upstream.down = Fault(status=503)
        async with site.engine.begin() as connection:
            await connection.execute(update(MirrorPage).values(fresh_until=now(), checked_at=now()))
        site.forget()
        addresses = [path_of(b"new", NEW), path_of(b"other", "other-1.0.tar.gz")]
        for path in addresses * 2:
            answer = await site.get(f"/a/top/+f/{path}")
            assert (answer.status_code, "retry-after" in answer.headers) == (503, True)
        site.upstream.down = None
        async with site.engine.begin() as connection:
            await connection.execute(update(MirrorPage).values(retry_at=None))
        await asyncio.sleep(2.5)
        assert [(await site.get(f"/a/top/+f/{path}")).content for path in addresses] == [b"new", b"other"]
    finally:
        listening.cancel()
        await asyncio.wait([listening])


async def test_a_page_is_asked_for_on_behalf_of_a_file(site: Files) -> None:
    """Whoever has a lock file and no page gets the file; what is not there, or private, is not asked for twice."""
    reading = open_reading(site.engine, site.family.stores, mirrors=MIRRORS)
    site.family.reading, site.client = reading, reading.client()
    await reading.news()
    listening = asyncio.create_task(reading.resources.listener.run())
    try:
        await asyncio.sleep(0.3)
        for index in ("a/top", "root/pypi"):
            assert (await site.get(f"/{index}/+f/{path_of(LARGE, BIG)}")).content == LARGE
        assert site.upstream.asked["/simple/thing/"] == 1
        for name in ("ghost-1.0.tar.gz", "ghost-2.0.tar.gz"):
            assert (await site.get(f"/a/top/+f/{path_of(b'x', name)}")).status_code == 404
        assert site.upstream.asked["/simple/ghost/"] == 1
        await site.family.publish("a/top", "private-1.0.tar.gz", b"private")
        assert (await site.get(f"/a/top/+f/{path_of(b'x', 'private-2.0.tar.gz')}")).status_code == 404
        assert site.upstream.asked["/simple/private/"] == 0
        site.upstream.add("thing", NEW, b"new")
        await site.get(f"/root/pypi/+f/{path_of(b'new', NEW)}")
        async with site.engine.begin() as connection:
            await connection.execute(update(MirrorPage).values(fresh_until=now(), checked_at=now()))
        other = open_reading(site.engine, site.family.stores, mirrors=MIRRORS)
        await other.news()
        also = asyncio.create_task(other.resources.listener.run())
        try:
            await asyncio.sleep(0.3)
            assert (await other.client().get(f"/root/pypi/+f/{path_of(b'new', NEW)}")).content == b"new"
        finally:
            also.cancel()
    finally:
        listening.cancel()


async def test_what_breaks_off_is_resumed(site: Files) -> None:
    """The client does not notice; the upstream is asked for the rest alone."""
    path = (await site.page())[BIG]
    site.fault(BIG, cut=len(LARGE) // 2, times=1)
    async with site.listening() as client:
        assert (await client.get(path)).content == LARGE
    assert site.upstream.asked[UP] == 2
    assert int(site.upstream.requests[-1]["range"].strip("bytes=-")) > 0


@pytest.mark.parametrize("headers", [{}, {"transfer-encoding": "chunked"}])
async def test_a_length_that_nobody_says(site: Files, headers: dict[str, str]) -> None:
    """The file is fetched first and answered then; one that never ends is given up at the limit."""
    site.upstream.add("thing", BIG, LARGE, fields={"size": None})
    site.fault(BIG, headers=headers)
    path = (await site.page())[BIG]
    answer = await site.get(path)
    assert (answer.status_code, answer.content, answer.headers["content-length"]) == (200, LARGE, str(len(LARGE)))
    assert (await site.client.get(path, headers={"range": "bytes=-3"})).content == LARGE[-3:]
    assert site.upstream.asked[UP] == 1


async def test_large_files_may_be_handed_out_by_the_store(site: Files, tmp_path: Path) -> None:
    """Once they are there; before that they come from here."""
    private = SigningFolder(tmp_path / "signing", private=True)
    stores = ObjectStores(site.family.stores.public, private)
    reading = open_reading(site.engine, stores, download_limits=LIMITS, mirrors=MIRRORS, redirect=True)
    site.family.reading, site.client = reading, reading.client()
    path = (await site.page())[BIG]
    assert (await site.client.get(path)).content == LARGE
    await site.settled(1)
    answer = await site.client.get(path)
    assert (answer.status_code, answer.headers["location"].startswith("http://store.test/mirror/")) == (302, True)


@pytest.mark.parametrize("stores", ["plain_s3"], indirect=True)
async def test_a_bucket_hands_out_large_files(site: Files) -> None:
    """Its answer to whoever follows has the very bytes; one that was evicted meanwhile is fetched anew."""
    reading = open_reading(site.engine, site.family.stores, download_limits=LIMITS, mirrors=MIRRORS, redirect=True)
    site.family.reading, site.client = reading, reading.client()
    path = (await site.page())[BIG]
    async with httpx2.AsyncClient() as outside:
        for asked in (1, 2):
            assert (await site.client.get(path)).content == LARGE
            await site.settled(1)
            answer = await site.client.get(path)
            assert (answer.status_code, answer.headers["cache-control"]) == (302, "no-store")
            assert (await outside.get(answer.headers["location"])).content == LARGE
            assert site.upstream.asked[UP] == asked
            with limited(reading, 1):
                await Eviction(reading.resources, Limits(evict_grace=-1), Fetching(reading.resources)).evict()
            assert [info async for info in site.family.stores.private.list("mirror/")] == []
