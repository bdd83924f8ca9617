"""Pages of mirrors, asked directly and through an index that is based on one. Contract python-index section 5."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from services.index import mirroring
from shared.catalogue import fetches
from shared.catalogue.tables import Audit, Fetch, IndexRow, MirrorPage
from shared.objects.interface import ObjectStores
from tests.integration.reading.constants import JSON, WHEEL
from tests.integration.reading.mirror_site import BASED, DIRECT, MIRRORS, NEW, OLD, STALE, Site, mirrored
from tests.support.factories import now
from tests.support.reading import counted_queries, open_reading, served
from tests.support.upstream import Fault, Upstream


@pytest.fixture
async def site(engine: AsyncEngine, stores: ObjectStores) -> AsyncIterator[Site]:
    """An upstream with one project."""
    upstream = Upstream()
    upstream.add("thing", WHEEL, metadata=b"Name: thing")
    upstream.add("thing", OLD, fields={"yanked": "broken", "requires-python": ">=3.9"})
    async with mirrored(Site, engine, open_reading(engine, stores, mirrors=MIRRORS), upstream) as site:
        yield site


async def test_every_field_arrives(site: Site) -> None:
    """Directly and through a base, in JSON and HTML; the links are this registry's own."""
    for path, origin in ((DIRECT, None), (BASED, "root/pypi")):
        page = (await site.get(path)).json()
        wheel, sdist = page["files"]
        expected = site.upstream.projects["thing"][WHEEL].entry()
        for key in ("hashes", "size", "upload-time", "core-metadata"):
            assert wheel[key] == expected[key]
        sha256 = expected["hashes"]["sha256"]
        assert (wheel["url"], wheel.get("_origin")) == (f"../../+f/{sha256[:3]}/{sha256[3:16]}/{WHEEL}", origin)
        assert (sdist["yanked"], sdist["requires-python"]) == ("broken", ">=3.9")
        assert page["versions"] == ["1.0", "0.9"]
        html = (await site.get(path, "text/html")).text
        assert 'data-yanked="broken"' in html
    assert site.upstream.asked["/simple/thing/"] == 1


async def test_one_question_for_many(site: Site) -> None:
    """A crowd of clients in two processes causes one request upstream."""
    site.upstream.faults["/simple/thing/"] = Fault(delay=0.3)
    other = open_reading(site.engine, site.family.stores, mirrors=MIRRORS)
    await other.news()
    async with other.client() as there:
        asking = [client.get(DIRECT, headers={"accept": JSON}) for client in [site.client, there] * 10]
        answers = await asyncio.gather(*asking)
    assert {answer.status_code for answer in answers} == {200}
    assert site.upstream.asked["/simple/thing/"] == 1


async def test_a_page_that_is_new_takes_two_questions(site: Site) -> None:
    """One looks and takes the turn, one keeps what came and ends it; a page that is kept takes none but the look."""
    with counted_queries(site.engine) as queries:
        names = await site.names()
    assert len([query for query in queries if "fetch" in query]) == 2
    assert len([query for query in queries if "mirror_page" in query]) == 2
    there = open_reading(site.engine, site.family.stores, mirrors=MIRRORS)
    await there.news()
    async with there.client() as client:
        with counted_queries(site.engine) as queries:
            page = (await client.get(DIRECT, headers={"accept": JSON})).text
        assert len([query for query in queries if "mirror_page" in query]) == 1
    assert all(name in page for name in names)
    async with site.engine.connect() as connection:
        assert (await connection.scalars(select(Fetch.what))).all() == [], "nobody holds a turn that was not needed"


async def test_a_page_is_put_together_once(site: Site) -> None:
    """Its notification has the process that asked read nothing again; what another process found is read."""
    told: asyncio.Queue[str] = asyncio.Queue()
    listener = site.family.reading.resources.listener
    # After the process's own subscribers: what it gives, they know.
    listener.subscribe(fetches.CHANNEL, told.put)
    listening = asyncio.create_task(listener.run())
    try:
        assert await told.get() == ""
        with counted_queries(site.engine) as queries:
            names = await site.names()
            while fetches.changed_page(await told.get()) is None:
                pass
            assert await site.names() == names
        assert len([query for query in queries if "FROM mirror_page" in query]) == 1
        site.upstream.add("thing", NEW)
        there = open_reading(site.engine, site.family.stores, mirrors=MIRRORS)
        await there.news()
        async with there.client() as client:
            assert (await client.post("/root/pypi/+simple/thing/refresh")).status_code == 302
        while fetches.changed_page(await told.get()) is None:
            pass
        assert len(await site.names()) == len(names) + 1
    finally:
        listening.cancel()
        await asyncio.wait([listening])


async def test_an_unchanged_page_is_confirmed(site: Site) -> None:
    """With its entity tag; nothing else is sent."""
    first = await site.get()
    await site.expire()
    again = await site.get()
    assert (again.content, again.headers["etag"]) == (first.content, first.headers["etag"])
    assert "if-none-match" in site.upstream.requests[-1]
    assert STALE not in again.headers


async def test_a_dead_upstream_is_not_a_dead_build(site: Site) -> None:
    """What is kept is served and said to be stale; what is not known is not "not found"."""
    names = await site.names(BASED)
    await site.expire()
    site.upstream.down = Fault(status=503, headers={"retry-after": "60"})
    for path in (DIRECT, BASED):
        answer = await site.get(path)
        assert [file["filename"] for file in answer.json()["files"]] == names
        assert STALE in answer.headers
        unknown = await site.get(path.replace("thing", "other"))
        assert (unknown.status_code, int(unknown.headers["retry-after"]) > 30) == (503, True)
    assert site.upstream.asked["/simple/other/"] == 0, "it was told to be left alone"
    site.upstream.down = None
    await site.expire()
    assert STALE not in (await site.get()).headers


async def test_a_slow_upstream_is_not_waited_for(site: Site) -> None:
    """The old page is served at once, and the new one as soon as it is there."""
    await site.get()
    site.upstream.add("thing", NEW)
    await site.expire()
    site.upstream.faults["/simple/thing/"] = Fault(delay=1.0)
    answer = await site.get()
    assert STALE in answer.headers
    assert NEW not in answer.text
    await asyncio.sleep(1.2)
    site.reopen()
    assert NEW in await site.names()


async def test_an_answer_to_no_question(site: Site) -> None:
    """An upstream that says "not modified" to whoever has nothing gives no usable answer."""
    site.upstream.faults["/simple/thing/"] = Fault(status=304)
    answer = await site.get()
    assert (answer.status_code, "it answers 304" in answer.text) == (503, True)


async def test_another_upstream_is_asked_at_once(site: Site) -> None:
    """What was kept says nothing of it, nor does its tag or serial; while it is away, what was kept is shown as old."""
    site.upstream.serials["thing"] = 100
    assert await site.names() == [WHEEL, OLD]
    listed = (await site.get("/root/pypi/+simple/")).json()["projects"]
    assert [project["name"] for project in listed] == ["thing"]
    another = Upstream()
    another.page_headers["etag"] = site.upstream.page_headers["etag"] = '"the same"'
    another.add("thing", NEW)
    another.more_names = ["other"]
    another.down = Fault(status=503, times=1)
    async with served(another) as url:
        await site.set("root/pypi", mirror_url=f"{url}/simple/")
        old = await site.get()
        assert (STALE in old.headers, WHEEL in old.text) == (True, True)
        async with site.engine.begin() as connection:
            await connection.execute(update(MirrorPage).values(retry_at=None))
        site.reopen()
        for path in (DIRECT, BASED):
            assert await site.names(path) == [NEW]
        listed = (await site.get("/root/pypi/+simple/")).json()["projects"]
        assert [project["name"] for project in listed] == ["other", "thing"]
        site.reopen()
        assert await site.names() == [NEW]
    assert another.asked["/simple/thing/"] == 2
    assert all("if-none-match" not in request for request in another.requests)


async def test_a_crowd_of_names(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks for more pages than are asked for at the same time is told to come again; what is kept is served."""
    monkeypatch.setattr(mirroring, "_MOST_FLIGHTS", 5)
    assert await site.names() == [WHEEL, OLD]
    await site.expire()
    fault = site.upstream.down = Fault(never=True)
    asking = [asyncio.create_task(site.client.get(f"/root/pypi/+simple/x{number}/")) for number in range(20)]
    while sum(site.upstream.asked.values()) < 6:
        await asyncio.sleep(0.01)
    assert STALE in (await site.get()).headers
    fault.go.set()
    site.upstream.down = None
    told = [await answer for answer in asking]
    refused = [answer for answer in told if answer.status_code == 503 and "too many pages" in answer.text]
    assert len(refused) == 15
    assert all(answer.headers["retry-after"] for answer in refused)
    assert sum(site.upstream.asked.values()) == 6


async def test_empty_pages_leave_nothing_behind(site: Site) -> None:
    """An upstream that answers for every name lets nobody fill the catalogue with names; one that loses its files does
    not make them forgotten.
    """
    for number in range(3):
        site.upstream.projects[f"x{number}"], site.upstream.serials[f"x{number}"] = {}, 1
        assert await site.names(f"/root/pypi/+simple/x{number}/") == []
    assert await site.names() == [WHEEL, OLD]
    await site.expire()
    site.upstream.projects["thing"] = {}
    assert await site.names() == []
    async with site.engine.connect() as connection:
        assert (await connection.scalars(select(MirrorPage.project))).all() == ["thing"]


async def test_another_upstream_is_set_while_one_is_asked(site: Site) -> None:
    """Who asks after the change does not get the answer that is on its way as if it were the new one's."""
    fault = site.upstream.faults["/simple/thing/"] = Fault(never=True)
    before = asyncio.create_task(site.get())
    while not site.upstream.asked["/simple/thing/"]:
        await asyncio.sleep(0.01)
    another = Upstream()
    another.add("thing", NEW)
    async with served(another) as url:
        await site.set("root/pypi", mirror_url=f"{url}/simple/")
        after = asyncio.create_task(site.get())
        await asyncio.sleep(0.2)
        fault.go.set()
        assert (await before).status_code == 200
        answer = await after
        assert STALE in answer.headers or NEW in answer.text
        site.reopen()
        assert await site.names() == [NEW]


async def test_a_tag_that_cannot_be_sent_is_forgotten(site: Site) -> None:
    """Bytes beyond ASCII in an upstream's entity tag take no page away: it is asked for whole the next time."""
    site.upstream.page_headers["etag"] = '"\xe9"'
    for _ in range(2):
        assert await site.names() == [WHEEL, OLD]
        await site.expire()
    assert site.upstream.asked["/simple/thing/"] == 2
    assert all("if-none-match" not in request for request in site.upstream.requests)


async def test_the_same_page_of_another_upstream(site: Site) -> None:
    """Is taken over though nothing of it differs: from then on it is the other's, with its serials."""
    site.upstream.serials["thing"] = 100
    assert await site.names() == [WHEEL, OLD]
    async with served(site.upstream) as url:
        site.upstream.serials["thing"] = 1
        for _ in range(2):
            await site.set("root/pypi", mirror_url=f"{url}/simple/")
            assert await site.names() == [WHEEL, OLD]
            site.upstream.add("thing", NEW)
            await site.expire()
            assert NEW in await site.names()
            del site.upstream.projects["thing"][NEW]
            await site.expire()
            assert await site.names() == [WHEEL, OLD]


async def test_a_serial_never_goes_back(site: Site) -> None:
    """A node that is behind is asked again later; the newer page stays."""
    site.upstream.add("thing", NEW)
    assert NEW in await site.names()
    await site.expire()
    del site.upstream.projects["thing"][NEW]
    site.upstream.serials["thing"] = 1
    assert NEW in await site.names()


async def test_a_changed_digest_is_an_alarm(site: Site) -> None:
    """The file stays as it was first seen, and the change is on record, once."""
    first = (await site.get()).json()["files"][0]["hashes"]
    site.upstream.add("thing", WHEEL, b"other bytes")
    await site.expire()
    page = (await site.get()).json()
    assert next(file["hashes"] for file in page["files"] if file["filename"] == WHEEL) == first
    async with site.engine.connect() as connection:
        alarms = select(func.count()).where(Audit.action == "mirror.digest-changed")
        assert await connection.scalar(alarms) == 1
    metrics = site.family.reading.resources.metrics.text().decode()
    assert 'countermark_upstream_alarms_total{kind="digest-changed"} 1.0' in metrics


async def test_a_volatile_mirror_follows(site: Site) -> None:
    """Without an alarm; made strict again, it holds what it has now. That is how an operator takes other bytes over."""

    async def shown() -> str:
        files = (await site.get()).json()["files"]
        return next(str(file["hashes"]["sha256"]) for file in files if file["filename"] == WHEEL)

    digests = [await shown()]
    for volatile, content in ((False, b"second"), (True, b"third"), (False, b"fourth")):
        async with site.engine.begin() as connection:
            mirror = (IndexRow.owner == "root", IndexRow.name == "pypi")
            await connection.execute(update(IndexRow).where(*mirror).values(volatile=volatile))
        site.upstream.add("thing", WHEEL, content)
        await site.expire()
        digests.append(await shown())
    third = hashlib.sha256(b"third").hexdigest()
    assert digests == [digests[0], digests[0], third, third]
    async with site.engine.connect() as connection:
        alarms = select(func.count()).where(Audit.action == "mirror.digest-changed")
        assert await connection.scalar(alarms) == 2


async def test_what_the_upstream_removes_is_gone(site: Site) -> None:
    """Within one refresh; what never was there leaves nothing behind."""
    await site.get()
    del site.upstream.projects["thing"]
    await site.expire()
    assert (await site.get()).status_code == 404
    assert (await site.get(BASED)).status_code == 404
    assert (await site.get(DIRECT.replace("thing", "nothing"))).status_code == 404
    async with site.engine.connect() as connection:
        assert list(await connection.scalars(select(MirrorPage.project))) == ["thing"]


async def test_a_nearer_name_hides_the_upstream(site: Site) -> None:
    """The upstream is not even asked for a private name."""
    await site.family.publish("a/top", NEW, b"private")
    assert await site.names(BASED) == [NEW]
    assert site.upstream.asked["/simple/thing/"] == 0


class TestPolicies:
    """What is held back."""

    async def test_what_is_too_new_is_hidden(self, site: Site) -> None:
        """From the page and its versions; by the rule of the index or of the mirror."""
        site.upstream.add("thing", NEW, fields={"upload-time": now().isoformat().replace("+00:00", "Z")})
        site.upstream.add("thing", "thing-3.0.tar.gz", fields={"upload-time": None})
        await site.set("a/top", policy={"min_age": 3600})
        page = (await site.get(BASED)).json()
        assert [file["filename"] for file in page["files"]] == [WHEEL, OLD]
        assert page["versions"] == ["1.0", "0.9"]
        assert NEW in await site.names(DIRECT)
        await site.set("root/pypi", policy={"min_age": 3600})
        assert await site.names(DIRECT) == [WHEEL, OLD]

    async def test_names_that_belong_here_never_leave(self, site: Site) -> None:
        """A reserved prefix is not asked for, by whichever index."""
        await site.set("a/top", policy={"reserved": ["thing"]})
        assert (await site.get(BASED)).status_code == 404
        assert site.upstream.asked["/simple/thing/"] == 0
        await site.set("root/pypi", policy={"reserved": ["thing"]})
        assert (await site.get(DIRECT)).status_code == 404
        assert site.upstream.asked["/simple/thing/"] == 0
