"""Files of mirrors: fetched once, checked, kept, held back. Contract python-index section 5.1; architecture 11.6."""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import httpx2
import pytest
from pydantic import SecretStr
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from services.download.evicting import Eviction
from services.download.settings import Limits
from shared.catalogue.tables import Audit, MirrorFault, MirrorFile, MirrorPage
from shared.fetching.fetching import Fetching
from shared.fetching.flight import SUFFIX
from shared.fetching.receiving import FetchLimits
from shared.objects.filesystem import FolderStore
from shared.objects.interface import IfMatch, Key, LocalFile, ObjectInfo, ObjectStoreError, ObjectStores, Put
from shared.outgoing import Patience
from shared.settings import Mirrors
from tests.integration.reading.constants import LARGE, WHEEL
from tests.integration.reading.family import Family
from tests.integration.reading.test_mirrors import Site
from tests.integration.reading.test_redirect import SigningFolder
from tests.support.factories import now
from tests.support.reading import Reading, open_reading, open_stores, served
from tests.support.s3_server import S3Server
from tests.support.upstream import Fault, Upstream

ROOT = Path(__file__).parents[3]
MIRRORS = Mirrors(patience=0.3)
FETCHING = FetchLimits(Patience(connect=2, read=2, head=2), slow_seconds=0.5, slow_bytes=8 << 10, others=20, wait=25)
LIMITS = Limits(fetching=FETCHING, absent_seconds=0.0, page_seconds=0.2)
BIG, OLD, NEW = "thing-3.0.tar.gz", "thing-0.9.tar.gz", "thing-2.0.tar.gz"
UP = f"/files/{BIG}"
ON_FOLDERS = pytest.mark.parametrize("stores", ["folder"], indirect=True)
"""Marks what has nothing to do with the store."""


@dataclass(slots=True)
class Files(Site):
    """A site whose files are asked for."""

    others: list[Reading] = field(default_factory=list)

    def reopen(self) -> None:
        """Go on with another process."""
        self.family.reading = opened(self)
        self.client = self.family.reading.client()

    async def page(self, index: str = "root/pypi") -> dict[str, str]:
        """Read the project's page; returns the path of each file."""
        page = (await self.get(f"/{index}/+simple/thing/")).json()
        return {file["filename"]: f"/{index}/{file['url'].removeprefix('../../')}" for file in page["files"]}

    def fault(self, name: str, **fault: object) -> Fault:
        """Let something be wrong with a file."""
        made = Fault(**fault)  # type: ignore[arg-type]
        self.upstream.faults[f"/files/{name}"] = made
        return made

    async def alarms(self) -> int:
        """Return how many alarms are on record."""
        async with self.engine.connect() as connection:
            rows = select(func.count()).where(Audit.action == "mirror.wrong-bytes")
            return await connection.scalar(rows) or 0

    async def settled(self, count: int) -> None:
        """Wait until so many files are kept: clients have the bytes before they are stored."""
        async with asyncio.timeout(10):
            while len(await self.rows()) != count:
                await asyncio.sleep(0.02)

    async def rows(self) -> dict[str, int]:
        """Return what is kept: key -> length."""
        async with self.engine.connect() as connection:
            found = await connection.execute(select(MirrorFile.key, MirrorFile.length))
            return {row.key: row.length for row in found}

    def left_over(self) -> list[str]:
        """Return arriving files that lie around."""
        folder = self.family.reading.resources.settings.data / "staging"
        return [path.name for path in folder.glob(f"*{SUFFIX}")] if folder.is_dir() else []

    @asynccontextmanager
    async def listening(self, reading: Reading | None = None) -> AsyncIterator[httpx2.AsyncClient]:
        """Serve a process as it really is; gives a client."""
        reading = reading or self.family.reading
        await reading.news()
        async with served(reading.app) as url, httpx2.AsyncClient(base_url=url, timeout=30) as client:
            yield client


def opened(site: Files | None, engine: AsyncEngine | None = None, stores: ObjectStores | None = None) -> Reading:
    """Return another process."""
    if site is not None:
        engine, stores = site.engine, site.family.stores
    assert engine is not None
    assert stores is not None
    return open_reading(engine, stores, download_limits=LIMITS, mirrors=MIRRORS)


@pytest.fixture(params=["folder", "plain_s3"])
async def stores(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ObjectStores]:
    """Both sides of a store: of folders, then of buckets of a real S3 server."""
    if request.param == "folder":
        yield open_stores(tmp_path)
        return
    server: S3Server = request.getfixturevalue(request.param)
    async with server.connect() as connection:
        yield ObjectStores(connection.store(server.make_bucket()), connection.store(server.make_bucket()))


@pytest.fixture
async def site(
    engine: AsyncEngine, stores: ObjectStores, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Files]:
    """An upstream with a small and a large file, a mirror of it and a stage based on the mirror."""
    monkeypatch.chdir(tmp_path_factory.mktemp("work"))
    upstream = Upstream()
    upstream.add("thing", WHEEL, b"wheel", metadata=b"Name: thing")
    upstream.add("thing", BIG, LARGE)
    reading = opened(None, engine, stores)
    family = Family(engine, reading, stores)
    await family.make("root/pypi", kind="mirror")
    await family.make("a/top", "root/pypi")
    async with served(upstream) as url, reading.client() as client:
        site = Files(engine, family, upstream, client, url)
        await site.set("root/pypi", mirror_url=f"{url}/simple/")
        yield site


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
    other = opened(site)
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
        addresses = [_path(b"new", NEW), _path(b"other", "other-1.0.tar.gz")]
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
            assert (await site.get(f"/{index}/+f/{_path(LARGE, BIG)}")).content == LARGE
        assert site.upstream.asked["/simple/thing/"] == 1
        for name in ("ghost-1.0.tar.gz", "ghost-2.0.tar.gz"):
            assert (await site.get(f"/a/top/+f/{_path(b'x', name)}")).status_code == 404
        assert site.upstream.asked["/simple/ghost/"] == 1
        await site.family.publish("a/top", "private-1.0.tar.gz", b"private")
        assert (await site.get(f"/a/top/+f/{_path(b'x', 'private-2.0.tar.gz')}")).status_code == 404
        assert site.upstream.asked["/simple/private/"] == 0
        site.upstream.add("thing", NEW, b"new")
        await site.get(f"/root/pypi/+f/{_path(b'new', NEW)}")
        async with site.engine.begin() as connection:
            await connection.execute(update(MirrorPage).values(fresh_until=now(), checked_at=now()))
        other = open_reading(site.engine, site.family.stores, mirrors=MIRRORS)
        await other.news()
        also = asyncio.create_task(other.resources.listener.run())
        try:
            await asyncio.sleep(0.3)
            assert (await other.client().get(f"/root/pypi/+f/{_path(b'new', NEW)}")).content == b"new"
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
            with _limited(reading, 1):
                await Eviction(reading.resources, Limits(evict_grace=-1), Fetching(reading.resources)).evict()
            assert [info async for info in site.family.stores.private.list("mirror/")] == []


async def test_a_store_that_takes_nothing(site: Files, tmp_path: Path) -> None:
    """Clients of a large file get it all the same; nothing is said to be kept."""
    private = FullFolder(tmp_path / "full", private=True)
    stores = ObjectStores(site.family.stores.public, private)
    reading = open_reading(site.engine, stores, download_limits=LIMITS, mirrors=MIRRORS)
    site.family.reading, site.client = reading, reading.client()
    paths = await site.page()
    assert (await site.client.get(paths[BIG])).content == LARGE
    assert (await site.client.get(paths[WHEEL])).status_code == 503
    assert await site.rows() == {}
    private.full = False
    await asyncio.sleep(2.1)
    for name, content in ((BIG, LARGE), (WHEEL, b"wheel")):
        assert (await site.client.get(paths[name])).content == content
    await site.settled(2)


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


@ON_FOLDERS
class TestHolds:
    """What is held back on pages is held back at its address."""

    async def test_a_file_that_is_too_new(self, site: Files) -> None:
        """403 with the rule, whose it is and until when; for the file, its metadata, HEAD and every spelling."""
        moment = now()
        site.upstream.add(
            "thing",
            "thing-2.0-py3-none-any.whl",
            b"new",
            metadata=b"new",
            fields={"upload-time": moment.isoformat().replace("+00:00", "Z")},
        )
        paths = await site.page("a/top")
        path = paths["thing-2.0-py3-none-any.whl"]
        assert (await site.get(path)).content == b"new"
        await site.set("a/top", policy={"min_age": 3600})
        for spelling in (path, path.replace("+f", "%2Bf"), f"{path}.metadata"):
            answer = await site.get(spelling)
            assert (answer.status_code, answer.headers["content-type"]) == (403, "application/problem+json")
            problem = answer.json()
            assert (problem["rule"], problem["index"]) == ("too-new", "a/top")
            assert (
                problem["until"] == f"{(moment + timedelta(hours=1)).replace(tzinfo=None).isoformat('T', 'seconds')}Z"
            )
            assert problem["until"] in problem["detail"]
            assert (await site.client.head(spelling)).status_code == 403
            ranged = await site.client.get(spelling, headers={"range": "bytes=0-1"})
            assert ranged.status_code == 403
        assert (await site.get(path.replace("a/top", "root/pypi"))).content == b"new"

    async def test_the_clock_ends_a_hold(self, site: Files) -> None:
        """Without anybody telling."""
        moment = now() - timedelta(seconds=3600) + timedelta(seconds=1.5)
        fields = {"upload-time": moment.isoformat().replace("+00:00", "Z")}
        site.upstream.add("thing", NEW, b"new", fields=fields)
        await site.set("root/pypi", policy={"min_age": 3600})
        path = f"/root/pypi/+f/{_path(b'new', NEW)}"
        assert NEW not in await site.page()
        assert (await site.get(path)).status_code == 403
        await asyncio.sleep(1.6)
        assert (await site.get(path)).content == b"new"
        assert NEW in await site.page()

    async def test_a_name_that_is_denied(self, site: Files) -> None:
        """Is told with its reason, though nothing is known of the file."""
        await site.set("root/pypi", policy={"denied": {"thing": "malware"}})
        answer = await site.get(f"/a/top/+f/{_path(b'x', BIG)}")
        assert (answer.status_code, answer.json()["rule"]) == (403, "denied")
        assert "malware" in answer.json()["detail"]
        assert site.upstream.asked["/simple/thing/"] == 0

    async def test_a_stage_hides_the_mirror(self, site: Files) -> None:
        """A name that it holds is not served from elsewhere, unless the whitelist opens it."""
        path = (await site.page("a/top"))[BIG]
        await site.family.publish("a/top", OLD, b"private")
        assert (await site.get(path)).status_code == 404
        await site.family.make("a/top", "root/pypi", mirror_whitelist=["thing"])
        await site.family.reading.news()
        assert (await site.get(path)).content == LARGE


class TestMetadata:
    """Core metadata beside a file."""

    async def test_it_is_fetched_on_demand_and_kept(self, site: Files) -> None:
        """With the digest that the page says; files without it have none."""
        paths = await site.page()
        for _ in range(2):
            answer = await site.get(f"{paths[WHEEL]}.metadata")
            assert (answer.status_code, answer.content) == (200, b"Name: thing")
        assert site.upstream.asked[f"/files/{WHEEL}.metadata"] == 1
        assert site.upstream.asked[f"/files/{WHEEL}"] == 0
        assert (await site.get(f"{paths[BIG]}.metadata")).status_code == 404

    @pytest.mark.parametrize("fault", [Fault(body=b"not the wheel's"), Fault(status=404), Fault(status=500)])
    async def test_what_cannot_be_had_is_not_announced(self, site: Files, fault: Fault) -> None:
        """Who asked is told of the upstream; the next page does not say that it is there, the one after may."""
        paths = await site.page("a/top")
        site.upstream.faults[f"/files/{WHEEL}.metadata"] = fault
        answer = await site.get(f"{paths[WHEEL]}.metadata")
        assert (answer.status_code, answer.headers["content-type"]) == (
            503 if fault.status == 500 else 502,
            "application/problem+json",
        )
        assert "not announced any more" in answer.json()["detail"]
        site.reopen()
        page = await site.get("/a/top/+simple/thing/")
        assert "metadata" not in page.text
        assert WHEEL in page.text
        assert "metadata" not in (await site.get("/a/top/+simple/thing/", "text/html")).text
        assert (await site.get(f"{paths[WHEEL]}.metadata")).status_code == 404
        assert (await site.get(paths[WHEEL])).content == b"wheel"
        async with site.engine.begin() as connection:
            await connection.execute(update(MirrorFault).values(until=now()))
        site.upstream.faults.clear()
        site.reopen()
        assert "core-metadata" in (await site.get("/a/top/+simple/thing/")).text
        assert (await site.get(f"{paths[WHEEL]}.metadata")).content == b"Name: thing"


async def test_provenance_passes_through(site: Files) -> None:
    """Byte for byte, at an absolute address of this registry below the index that was asked; it is fetched once."""
    provenance = b'{"version": 1,  "attestation_bundles": []}'
    site.upstream.add("thing", NEW, b"new", provenance=provenance)
    for index in ("a/top", "root/pypi"):
        page = (await site.get(f"/{index}/+simple/thing/")).json()
        [url] = [file["provenance"] for file in page["files"] if "provenance" in file]
        assert url == f"http://127.0.0.1:3141/{index}/+f/{_path(b'new', NEW)}.provenance"
        assert f'data-provenance="{url}"' in (await site.get(f"/{index}/+simple/thing/", "text/html")).text
        answer = await site.get(url.removeprefix("http://127.0.0.1:3141"))
        assert (answer.status_code, answer.content) == (200, provenance)
        assert answer.headers["content-type"] == "application/vnd.pypi.integrity.v1+json"
        assert answer.headers["cache-control"] == "public, max-age=600"
    assert site.upstream.asked[f"/files/{NEW}.provenance"] == 1
    assert (await site.get(f"/a/top/+f/{_path(LARGE, BIG)}.provenance")).status_code == 404


class TestEviction:
    """What is too much goes."""

    async def test_what_was_used_longest_ago_goes_first(self, site: Files) -> None:
        """And comes again when it is asked for; hosted bytes are never touched."""
        hosted = await site.family.publish("a/top", "other-1.0.tar.gz", b"hosted")
        paths = await site.page()
        for name in (BIG, WHEEL):
            assert (await site.get(paths[name])).status_code == 200
        await site.settled(2)
        async with site.engine.begin() as connection:
            old = update(MirrorFile).where(MirrorFile.length == len(LARGE))
            await connection.execute(old.values(used_at=now() - timedelta(days=1)))
        reading = site.family.reading
        with _limited(reading, 1000):
            limits = Limits(evict_grace=-1)
            await Eviction(reading.resources, limits, Fetching(reading.resources)).evict()
        assert list((await site.rows()).values()) == [5]
        stored = [info async for info in site.family.stores.private.list("mirror/")]
        assert [info.length for info in stored] == [5]
        assert (await site.get(f"/a/top/+f/{hosted.path}")).content == b"hosted"
        assert (await site.get(paths[BIG])).content == LARGE
        assert site.upstream.asked[UP] == 2

    async def test_who_is_reading_reads_on(self, site: Files) -> None:
        """A file that goes while it is read arrives whole."""
        path = (await site.page())[BIG]
        await site.get(path)
        await site.settled(1)
        reading = site.family.reading
        async with site.listening() as client, client.stream("GET", path) as answer:
            chunks = answer.aiter_raw()
            got = await anext(chunks)
            with _limited(reading, 1):
                await Eviction(reading.resources, Limits(evict_grace=-1), Fetching(reading.resources)).evict()
            assert await site.rows() == {}
            assert got + b"".join([chunk async for chunk in chunks]) == LARGE

    async def test_a_mark_is_taken_back_by_use(self, site: Files) -> None:
        """A file that is asked for between the mark and the removal stays."""
        path = (await site.page())[BIG]
        await site.get(path)
        await site.settled(1)
        reading = site.family.reading
        eviction = Eviction(reading.resources, Limits(evict_grace=3600), Fetching(reading.resources))
        with _limited(reading, 1):
            await eviction.evict()
        site.reopen()
        assert (await site.get(path)).content == LARGE
        assert site.upstream.asked[UP] == 1

    async def test_what_is_missing_or_damaged_is_fetched_again(self, site: Files) -> None:
        """Whatever the rows say; a damaged large file is broken off once."""
        paths = await site.page()
        for name in (BIG, WHEEL):
            await site.get(paths[name])
        await site.settled(2)
        keys = {length: Key(key) for key, length in (await site.rows()).items()}
        store = site.family.stores.private
        await store.delete(keys[len(LARGE)])
        await store.delete(keys[5])
        site.reopen()
        for name, content in ((BIG, LARGE), (WHEEL, b"wheel")):
            assert (await site.get(paths[name])).content == content
            assert site.upstream.asked[f"/files/{name}"] == 2


def _path(content: bytes, name: str) -> str:
    sha256 = hashlib.sha256(content).hexdigest()
    return f"{sha256[:3]}/{sha256[3:16]}/{name}"


@contextmanager
def _limited(reading: Reading, cache_bytes: int) -> Iterator[None]:
    """Let a process keep less."""
    settings = reading.resources.settings
    limited = settings.model_copy(update={"mirrors": settings.mirrors.model_copy(update={"cache_bytes": cache_bytes})})
    object.__setattr__(reading.resources, "settings", limited)
    try:
        yield
    finally:
        object.__setattr__(reading.resources, "settings", settings)
