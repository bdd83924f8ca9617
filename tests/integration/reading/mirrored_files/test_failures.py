"""What goes wrong while a file of a mirror is fetched. Contract python-index section 5.1; ADR 0028."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from pydantic import SecretStr
from sqlalchemy import delete

from countermark.core.digest import Length, sha256_of
from countermark.core.names import FileName, IndexName, NormalizedName
from shared.catalogue.tables import MirrorFile
from shared.fetching.fetching import Fetching
from shared.fetching.keeping import Keeping
from shared.fetching.wanted import Wanted
from shared.objects.filesystem import FolderStore
from shared.objects.interface import (
    ByteRange,
    IfMatch,
    Key,
    LocalFile,
    ObjectInfo,
    ObjectStoreError,
    ObjectStores,
    OpenObject,
    Put,
)
from shared.objects.keys import mirrored_key
from shared.settings import Mirrors
from tests.integration.reading.constants import LARGE, WHEEL
from tests.integration.reading.mirror_site import MIRRORS, NEW
from tests.integration.reading.mirrored_files.site import BIG, FETCHING, LIMITS, ON_FOLDERS, UP, Files
from tests.support.reading import open_reading, served
from tests.support.upstream import Fault, Upstream

ROOT = Path(__file__).parents[4]


async def test_a_store_that_takes_nothing(site: Files, tmp_path: Path) -> None:
    """Clients get it all the same; nothing is said to be kept."""
    private = FullFolder(tmp_path / "full", private=True)
    stores = ObjectStores(site.family.stores.public, private)
    reading = open_reading(site.engine, stores, download_limits=LIMITS, mirrors=MIRRORS)
    site.family.reading, site.client = reading, reading.client()
    paths = await site.page()
    for name, content in ((BIG, LARGE), (WHEEL, b"wheel")):
        assert (await site.client.get(paths[name])).content == content
    assert await site.rows() == {}
    private.full = False
    await asyncio.sleep(2.1)
    for name, content in ((BIG, LARGE), (WHEEL, b"wheel")):
        assert (await site.client.get(paths[name])).content == content
    await site.settled(2)


@ON_FOLDERS
async def test_right_bytes_do_not_go_with_wrong_ones(site: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who finds damage late drops nothing that somebody has fetched anew since, whoever it is that finds it."""
    stored, go, note = asyncio.Event(), asyncio.Event(), Keeping.note

    async def late(*args: Any, **options: Any) -> None:
        stored.set()
        await go.wait()
        await note(*args, **options)

    monkeypatch.setattr(Keeping, "note", late)
    await site.page()
    resources = site.family.reading.resources
    mirror = resources.directory.index(IndexName("root", "pypi"))
    assert mirror is not None
    name, sha256 = FileName(BIG), sha256_of(LARGE)
    key = mirrored_key(mirror.id, mirror.life, sha256, name)
    url, length = f"{site.url}{UP}", Length(len(LARGE))
    wanted = Wanted(mirror, NormalizedName("thing"), name, key, url, sha256, length, length)
    fetching = Fetching(resources, FETCHING)
    bringing = asyncio.create_task(fetching.whole(wanted))
    await stored.wait()
    await fetching.forget(key)
    go.set()
    assert await fetching.body(wanted, await bringing) == LARGE
    assert (list(await site.rows()), site.upstream.asked[UP]) == ([key], 1)
    await fetching.forget(key)
    assert await site.rows() == {}
    assert await fetching.body(wanted, await bringing) == LARGE
    assert site.upstream.asked[UP] == 2


async def test_the_store_is_looked_into_for_what_is_kept(site: Files, tmp_path: Path) -> None:
    """A crowd follows what arrives, without a look; what is kept is opened by everyone for himself, by whoever fetched
    it and by another process."""
    private = CountedFolder(tmp_path / "counted", private=True)
    stores = ObjectStores(site.family.stores.public, private)
    path = (await site.page())[BIG]
    for crowds in (((20, 0), (1, 1), (5, 6)), ((5, 11), (1, 12))):
        reading = open_reading(site.engine, stores, download_limits=LIMITS, mirrors=MIRRORS)
        site.family.reading, site.client = reading, reading.client()
        await site.page()
        for clients, opened in crowds:
            answers = await asyncio.gather(*(site.client.get(path) for _ in range(clients)))
            assert {answer.content == LARGE for answer in answers} == {True}
            await site.settled(1)
            assert private.opened == opened
    assert site.upstream.asked[UP] == 1


async def test_a_large_file_that_lies_there_unnoted_is_found_when_it_cannot_be_had(site: Files) -> None:
    """A catalogue that was restored from a copy knows less than the store: a dead upstream is no dead build."""
    path = (await site.page())[BIG]
    assert (await site.client.get(path)).content == LARGE
    await site.settled(1)
    async with site.engine.begin() as connection:
        await connection.execute(delete(MirrorFile))
    site.upstream.down = Fault(status=500)
    site.reopen()
    for part, content in (({}, LARGE), ({"range": "bytes=1-3"}, LARGE[1:4])):
        assert (await site.client.get(path, headers=part)).content == content
    await site.settled(1)


async def test_a_large_file_is_served_while_turns_cannot_be_taken(site: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in the store is read though the catalogue fails where it was to say so."""
    path = (await site.page())[BIG]
    assert (await site.client.get(path)).content == LARGE
    await site.settled(1)

    async def away(*_: object) -> None:
        raise OSError("no catalogue")

    site.reopen()
    monkeypatch.setattr("shared.catalogue.fetches.Turn.take", away)
    assert (await site.client.get(path)).content == LARGE


class CountedFolder(FolderStore):
    """A folder that says how often something was to be opened."""

    opened = 0

    @asynccontextmanager
    async def open(self, key: Key, byte_range: ByteRange | None = None) -> AsyncIterator[OpenObject]:
        """Count it."""
        self.opened += 1
        async with super().open(key, byte_range) as opened:
            yield opened


class FullFolder(FolderStore):
    """A folder on a disk that is full."""

    full = True

    async def put(
        self, key: Key, body: bytes | LocalFile, condition: Put | IfMatch = Put.ABSENT, *, durable: bool = True
    ) -> ObjectInfo:
        """Store nothing."""
        if self.full:
            raise ObjectStoreError("no space left")
        return await super().put(key, body, condition, durable=durable)


WRONG = {
    "longer": (Fault(body=LARGE + b"x"), 502),
    "shorter": (Fault(body=LARGE[:-1]), 502),
    "longer than it says": (Fault(body=LARGE + b"x", headers={"transfer-encoding": "chunked"}), 0),
    "not there": (Fault(status=404), 404),
    "forbidden": (Fault(status=403), 502),
    "in trouble": (Fault(status=503, headers={"retry-after": "7"}), 503),
    "private address": (Fault(status=302, headers={"location": "http://10.0.0.1/x"}), 502),
    "another scheme": (Fault(status=302, headers={"location": "ftp://127.0.0.1/x"}), 502),
    "silent": (Fault(never=True), 503),
    "cut": (Fault(cut=len(LARGE) // 8), 0),
    "drip": (Fault(drip=0.2), 503),
}


@ON_FOLDERS
@pytest.mark.parametrize(("fault", "status"), WRONG.values(), ids=WRONG.keys())
async def test_what_goes_wrong_is_said(site: Files, fault: Fault, status: int) -> None:
    """In words, with a status that says whether to come again; 0 stands for a connection that is cut."""
    path = (await site.page())[BIG]
    # One of its own: it is counted and ended.
    fault = site.upstream.faults[UP] = replace(fault, go=asyncio.Event())
    async with site.listening() as client:
        if status:
            answer = await client.get(path)
            assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
            assert "root/pypi" in answer.json()["detail"]
            assert status != 503 or int(answer.headers["retry-after"]) > 0
        else:
            with pytest.raises(httpx2.HTTPError):
                await client.get(path)
    assert (await site.rows(), site.left_over()) == ({}, [])
    fault.go.set()
    del site.upstream.faults[UP]
    site.reopen()
    answer = await site.get(path)
    assert (answer.status_code, answer.content) == (200, LARGE), "it is as good as ever when the fault is over"


@ON_FOLDERS
async def test_a_killed_process_keeps_nobody_out(site: Files, database: str, tmp_path: Path) -> None:
    """Its client is cut off, its turn ends by itself, and another process fetches; nothing half is kept."""
    path = (await site.page())[BIG]
    fault = site.fault(BIG, held=len(LARGE) // 2)
    command = [sys.executable, "-m", "tests.support.reading_process", database, str(tmp_path), "5"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, env=environment)
    try:
        assert process.stdout is not None
        async with asyncio.timeout(30):
            url = (await process.stdout.readline()).decode().strip()
        async with httpx2.AsyncClient(base_url=url, timeout=30) as client, client.stream("GET", path) as answer:
            chunks = answer.aiter_raw()
            await anext(chunks)
            process.kill()
            with pytest.raises(httpx2.HTTPError):
                [_ async for _ in chunks]
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
        await process.wait()
    fault.times = 0
    assert await site.rows() == {}
    assert (await site.get(path)).content == LARGE
    assert site.upstream.asked[UP] == 2
    fault.go.set()


async def test_credentials_go_to_the_mirrors_own_place_alone(site: Files) -> None:
    """A file elsewhere is asked for without them."""
    elsewhere = Upstream()
    elsewhere.add("thing", NEW, b"elsewhere")
    async with served(elsewhere) as url:
        site.upstream.add("thing", NEW, b"elsewhere", fields={"url": f"{url}/files/{NEW}"})
        reading = open_reading(
            site.engine,
            site.family.stores,
            download_limits=LIMITS,
            mirrors=Mirrors(credentials={"root/pypi": SecretStr(site.url.replace("://", "://user:secret@"))}),
        )
        site.family.reading, site.client = reading, reading.client()
        paths = await site.page()
        for name in (WHEEL, NEW):
            assert (await site.client.get(paths[name])).status_code == 200
    assert "authorization" in site.upstream.requests[-1]
    assert "authorization" not in elsewhere.requests[-1]
    assert elsewhere.requests[-1]["user-agent"].startswith("countermark-server/")
