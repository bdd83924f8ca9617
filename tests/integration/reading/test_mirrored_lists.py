"""Lists of the projects of mirrors, and of indexes that are based on them. Contracts devpi §8, 14, python-index §5."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator

import brotli
import httpx2
import pytest
import zstandard
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from services.index.settings import Limits
from shared.catalogue.tables import MirrorPage, Project
from shared.formats.python.packed_lists import joined_rows, unpack_rows
from shared.objects.interface import ObjectStores
from tests.integration.reading.constants import JSON, WHEEL
from tests.integration.reading.mirror_site import MIRRORS, STALE, Site, mirrored
from tests.support.devpi_reading import register
from tests.support.factories import make_project
from tests.support.reading import open_reading
from tests.support.upstream import Fault, Upstream

MIRROR, BASED = "/root/pypi/+simple/", "/a/top/+simple/"
UPSTREAM = "/simple/"
FAULTS = {
    "no JSON": Fault(status=200, headers={"content-type": JSON}, body=b"{"),
    "another type": Fault(status=200, headers={"content-type": "text/plain"}, body=b"x"),
    "no list": Fault(status=200, headers={"content-type": JSON}, body=b'{"meta":{"api-version":"1.0"}}'),
    "depth": Fault(status=200, headers={"content-type": JSON}, body=b"[" * 10_000),
    "private address": Fault(status=302, headers={"location": "http://10.0.0.1/"}),
    "broken off": Fault(cut=10),
    "away": Fault(status=503),
}


@pytest.fixture
async def site(engine: AsyncEngine, stores: ObjectStores) -> AsyncIterator[Site]:
    """An upstream with a list of three, a mirror of it and a stage based on the mirror."""
    upstream = Upstream()
    upstream.add("thing", WHEEL)
    upstream.more_names = ["Zope.Interface", "acme-tool", "zope-interface", "not a name", ""]
    async with mirrored(Site, engine, open_reading(engine, stores, mirrors=MIRRORS), upstream) as site:
        yield site


async def names(site: Site, path: str = BASED) -> list[str]:
    """Return the names that a list has."""
    answer = await site.get(path)
    assert answer.status_code == 200, answer.text
    return [project["name"] for project in answer.json()["projects"]]


async def test_the_upstreams_list(site: Site) -> None:
    """Normalised, sorted, each once, in both forms, of the mirror and of what is based on it: for one question."""
    site.upstream.list_serial = 77
    for path in (MIRROR, BASED):
        answer = await site.get(path)
        assert answer.json() == {
            "meta": {"api-version": "1.4", "_last-serial": 77},
            "projects": [{"name": "acme-tool"}, {"name": "thing"}, {"name": "zope-interface"}],
        }
        assert (answer.headers["x-pypi-last-serial"], STALE in answer.headers) == ("77", False)
        html = (await site.get(path, "text/html")).text
        assert [part.partition('"')[0] for part in html.split('href="')[1:]] == [
            "acme-tool/",
            "thing/",
            "zope-interface/",
        ]
    assert site.upstream.asked[UPSTREAM] == 1


async def test_one_question_for_many(site: Site) -> None:
    """A crowd of clients in two processes causes one request upstream."""
    site.upstream.faults[UPSTREAM] = Fault(delay=0.3)
    other = open_reading(site.engine, site.family.stores, mirrors=MIRRORS)
    await other.news()
    async with other.client() as there:
        answers = await asyncio.gather(*(one.get(MIRROR) for one in [site.client, there] * 10))
    assert {answer.status_code for answer in answers} == {200}
    assert site.upstream.asked[UPSTREAM] == 1


async def test_an_unchanged_list_is_confirmed(site: Site) -> None:
    """With its entity tag; a changed one shows."""
    first = await site.get(MIRROR)
    await site.expire()
    again = await site.get(MIRROR)
    assert (again.content, again.headers["etag"]) == (first.content, first.headers["etag"])
    assert "if-none-match" in site.upstream.requests[-1]
    site.upstream.more_names.append("new")
    await site.expire()
    assert "new" in await names(site)


async def test_a_list_never_goes_back(site: Site) -> None:
    """A node that is behind is asked again later."""
    site.upstream.list_serial = 77
    await names(site)
    site.upstream.list_serial = 76
    site.upstream.more_names = []
    await site.expire()
    assert len(await names(site)) == 3
    await site.set("root/pypi", mirror_ignore_serial_header=True)
    await site.expire()
    assert await names(site) == ["thing"]


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
async def test_a_dead_or_hostile_upstream(site: Site, fault: Fault) -> None:
    """The list that is kept is served and said to be stale, of the mirror and of what is based on it."""
    before = await names(site)
    await site.expire()
    site.upstream.more_names.append("new")
    site.upstream.faults[UPSTREAM] = fault
    for path in (MIRROR, BASED):
        answer = await site.get(path)
        assert [project["name"] for project in answer.json()["projects"]] == before
        assert STALE in answer.headers


async def test_nothing_is_pretended(site: Site) -> None:
    """Where no list is kept, the mirror itself says when to come again; a stage lists what it knows."""
    await site.family.publish("a/top", "own-1.0.tar.gz", b"own")
    await site.get("/root/pypi/+simple/thing/")
    site.upstream.faults[UPSTREAM] = Fault(status=503, headers={"retry-after": "60"})
    answer = await site.get(MIRROR)
    assert (answer.status_code, int(answer.headers["retry-after"]) > 30) == (503, True)
    assert await names(site) == ["own", "thing"]


async def test_a_slow_list_is_not_waited_for(site: Site) -> None:
    """The old one is served at once, and the new one as soon as it is there."""
    await names(site)
    site.upstream.more_names.append("new")
    await site.expire()
    site.upstream.faults[UPSTREAM] = Fault(delay=1.0)
    assert "new" not in await names(site)
    await asyncio.sleep(1.2)
    site.reopen()
    assert "new" in await names(site)


@pytest.mark.parametrize("how", ["set", "404"])
async def test_an_upstream_without_a_list(site: Site, how: str) -> None:
    """What the mirror keeps a page of is listed; where it is said that there is none, none is asked for."""
    if how == "set":
        await site.set("root/pypi", mirror_no_project_list=True)
    else:
        site.upstream.faults[UPSTREAM] = Fault(status=404)
    for path in (MIRROR, BASED):
        assert await names(site, path) == []
    await site.get("/root/pypi/+simple/thing/")
    await site.get("/root/pypi/+simple/nothing/")
    site.reopen()
    for path in (MIRROR, BASED):
        assert await names(site, path) == ["thing"]
    assert site.upstream.asked[UPSTREAM] == (0 if how == "set" else 1)


class TestRules:
    """Listed is what has a page with files: names as pages are judged."""

    @pytest.mark.parametrize(
        ("policy", "shown"),
        [
            ({"reserved": ["acme-"]}, ["thing", "zope-interface"]),
            ({"denied": {"*-interface": "no"}}, ["acme-tool", "thing"]),
            ({"allowed": ["thing"]}, ["thing"]),
            ({"quarantined": {"thing": "bad"}}, ["acme-tool", "zope-interface"]),
            ({"reserved": 7}, []),
        ],
    )
    async def test_policies(self, site: Site, policy: dict[str, object], shown: list[str]) -> None:
        """Of the index that was asked, and of the mirror; a damaged one shows nothing."""
        await site.set("a/top", policy=policy)
        assert await names(site) == shown
        assert len(await names(site, MIRROR)) == 3
        await site.set("root/pypi", policy=policy)
        assert await names(site, MIRROR) == shown

    async def test_names_of_stages(self, site: Site) -> None:
        """What a stage holds without files hides the mirror's, unless a whitelist opens it; with files it is listed."""
        await site.family.publish("a/top", "own-1.0.tar.gz", b"own")
        await site.family.publish("a/top", "thing-9.0.tar.gz", b"own")
        await register(site.engine, site.family.indexes["a/top"], "acme-tool", "1.0")
        answer = (await site.get(BASED)).json()["projects"]
        assert [one["name"] for one in answer] == ["own", "thing", "zope-interface"]
        assert ["_last-serial" in one for one in answer] == [True, True, False]
        await site.set("a/top", mirror_whitelist=["acme-tool"])
        assert await names(site) == ["acme-tool", "own", "thing", "zope-interface"]

    async def test_quarantine(self, site: Site) -> None:
        """A project that a stage put into quarantine is not listed from further away."""
        await make_project(site.engine, site.family.indexes["a/top"].index, "acme-tool")
        await site.set("a/top", mirror_whitelist=["*"])
        assert "acme-tool" in await names(site)
        async with site.engine.begin() as connection:
            await connection.execute(update(Project).values(status="quarantined"))
        site.reopen()
        assert await names(site) == ["thing", "zope-interface"]


async def test_a_publication_shows_at_once(site: Site) -> None:
    """Though the mirror's list is fresh; the upstream is not asked again."""
    await names(site)
    await site.family.publish("a/top", "own-1.0.tar.gz", b"own")
    assert "own" in await names(site)
    assert site.upstream.asked[UPSTREAM] == 1


async def test_it_is_kept_packed(site: Site) -> None:
    """In one row, which is no project."""
    await names(site)
    async with site.engine.connect() as connection:
        row = (await connection.execute(select(MirrorPage.project, MirrorPage.document))).one()
    assert row.project == ""
    rows = list(joined_rows(unpack_rows(row.document)))
    assert rows == [("acme-tool", None), ("thing", None), ("zope-interface", None)]


class TestLongLists:
    """Lists above the bound: rendered in parts, and kept compressed alone."""

    @pytest.fixture
    async def long(self, site: Site) -> AsyncIterator[httpx2.AsyncClient]:
        """A process for which a list of three is long."""
        limits = Limits(big_list=2, list_seconds=2.0)
        reading = open_reading(site.engine, site.family.stores, limits, mirrors=MIRRORS)
        site.family.reading = reading
        await reading.news()
        async with reading.client() as client:
            site.client = client
            yield client

    @pytest.mark.parametrize("accept", [JSON, "text/html"])
    async def test_every_coding(self, long: httpx2.AsyncClient, accept: str) -> None:
        """Says the same, has a tag of its own, and is not sent to who has it."""
        unpack = {
            "identity": bytes,
            "gzip": gzip.decompress,
            "br": brotli.decompress,
            "zstd": lambda body: zstandard.ZstdDecompressor().decompressobj().decompress(body),
        }
        bodies, tags = set(), set()
        for coding, how in unpack.items():
            headers = {"accept": accept, "accept-encoding": coding}
            for _ in range(2):
                async with long.stream("GET", BASED, headers=headers) as answer:
                    raw = b"".join([part async for part in answer.aiter_raw()])
                assert (answer.status_code, answer.headers["content-length"]) == (200, str(len(raw)))
                assert answer.headers.get("content-encoding", "identity") == coding
                bodies.add(how(raw))
            tags.add(answer.headers["etag"])
            same = await long.get(BASED, headers=headers | {"if-none-match": answer.headers["etag"]})
            assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", answer.headers["etag"])
            head = await long.head(BASED, headers=headers)
            assert (head.status_code, head.content) == (200, b"")
            assert head.headers["content-length"] == answer.headers["content-length"]
        assert (len(bodies), len(tags)) == (1, 4)
        assert b"zope-interface" in bodies.pop()

    async def test_the_same_as_a_short_one(self, site: Site, long: httpx2.AsyncClient) -> None:
        """Byte for byte, with the same tag."""
        for accept in (JSON, "text/html"):
            answer = await long.get(BASED, headers={"accept": accept})
            site.reopen()
            short = await site.get(BASED, accept)
            assert (answer.content, answer.headers["etag"]) == (short.content, short.headers["etag"])

    async def test_it_lags_and_follows(self, site: Site, long: httpx2.AsyncClient) -> None:
        """A publication shows after a while, and the upstream's news once they are asked for."""
        await site.family.publish("a/top", "first-1.0.tar.gz", b"own")
        assert "first" in await names(site)
        await site.family.publish("a/top", "second-1.0.tar.gz", b"own")
        assert "second" not in await names(site)
        await asyncio.sleep(2.05)
        assert "second" in await names(site)
        assert site.upstream.asked[UPSTREAM] == 1

    async def test_a_mirrors_news_end_it(self, site: Site, long: httpx2.AsyncClient) -> None:
        """Another process that found another list says so."""
        listening = asyncio.create_task(site.family.reading.resources.listener.run())
        try:
            await names(site)
            site.upstream.more_names.append("new")
            async with site.engine.begin() as connection:
                await connection.execute(update(MirrorPage).values(fresh_until=MirrorPage.checked_at))
            other = open_reading(site.engine, site.family.stores, mirrors=MIRRORS)
            await other.news()
            async with other.client() as there, asyncio.timeout(10):
                assert "new" in (await there.get(MIRROR)).text
                while "new" not in await names(site):
                    await asyncio.sleep(0.05)
        finally:
            listening.cancel()
            await asyncio.wait([listening])
