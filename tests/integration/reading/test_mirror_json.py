"""The JSON API on mirrors, asked directly and through an index that is based on one.

Contract python-index sections 1.9 and 5.1 item 9.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import httpx2
import pytest
from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.names import parse_index_name
from services.index import mirrored_json
from shared.catalogue.mirror_json import MOST_VERSIONS
from shared.catalogue.tables import IndexRow, MirrorJson, MirrorPage
from shared.objects.interface import ObjectStores
from shared.settings import Mirrors
from tests.integration.reading.constants import JSON, WHEEL
from tests.integration.reading.family import Family
from tests.support.factories import now
from tests.support.reading import open_reading, served
from tests.support.upstream import Fault, Upstream

OLD, NEW = "thing-0.9.tar.gz", "thing-2.0.tar.gz"
WHOLE, RELEASE, UP = "/root/pypi/pypi/thing/json", "/root/pypi/pypi/thing/0.9/json", "/pypi/thing/json"
BASED = "/a/top/pypi/thing/json"
STALE = "x-countermark-stale-since"
MIRRORS = Mirrors(patience=0.3, page_bytes=1 << 20)
BUG = {"id": "PYSEC-1", "aliases": ["CVE-2026-1"], "details": "bad", "fixed_in": ["1.0"], "withdrawn": None, "x": 1}

INFO = {
    "summary": "First",
    "classifiers": ["Topic :: A"],
    "requires_dist": ["other>1"],
    "keywords": "a,b",
    "description": "# Thing",
    "project_urls": {"Home": "https://thing.test"},
    "license": "",
    "new_key": "kept",
    "package_url": "https://upstream.test/thing",
    "yanked": True,
    "_private": "x",
    "author": 7,
}


@dataclass(slots=True)
class Site:
    """A mirror of an upstream, and a stage based on it."""

    engine: AsyncEngine
    family: Family
    upstream: Upstream
    client: httpx2.AsyncClient
    url: str

    async def set(self, name: str, **settings: object) -> None:
        """Change settings of an index."""
        index = parse_index_name(name)
        row = (IndexRow.owner == index.owner, IndexRow.name == index.name)
        async with self.engine.begin() as connection:
            old = (await connection.scalars(select(IndexRow.settings).where(*row))).one()
            await connection.execute(update(IndexRow).where(*row).values(settings=old | settings))
        await self.family.reading.news()

    async def expire(self, *, pages: bool = True) -> None:
        """Let the time pass for which what is kept is fresh, and go on with another process."""
        past = now() - timedelta(hours=1)
        old = {"fresh_until": past, "checked_at": past, "retry_at": None}
        async with self.engine.begin() as connection:
            for table in (MirrorJson, MirrorPage) if pages else (MirrorJson,):
                await connection.execute(update(table).values(**old))
        self.reopen()

    def reopen(self) -> None:
        """Go on with another process."""
        self.family.reading = open_reading(self.engine, self.family.stores, mirrors=MIRRORS)
        self.client = self.family.reading.client()

    async def get(self, path: str = WHOLE) -> httpx2.Response:
        """Ask."""
        await self.family.reading.news()
        return await self.client.get(path, headers={"accept": "application/json"})

    async def document(self, path: str = WHOLE) -> dict[str, Any]:
        """Return a document."""
        answer = await self.get(path)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def kept(self) -> int:
        """Return how many documents the catalogue keeps."""
        async with self.engine.connect() as connection:
            return await connection.scalar(select(func.count()).select_from(MirrorJson)) or 0


@pytest.fixture
async def site(engine: AsyncEngine, stores: ObjectStores) -> AsyncIterator[Site]:
    """An upstream with one project, a mirror of it and a stage based on the mirror."""
    upstream = Upstream()
    upstream.add("thing", WHEEL, metadata=b"Name: thing")
    upstream.add("thing", OLD, fields={"yanked": "broken", "requires-python": ">=3.9"})
    upstream.infos["thing", "1.0"] = INFO.copy()
    upstream.infos["thing", "0.9"] = {"summary": "Old"}
    upstream.vulnerabilities["thing", "0.9"] = [BUG, "nonsense", {"details": "nameless"}]
    reading = open_reading(engine, stores, mirrors=MIRRORS)
    family = Family(engine, reading, stores)
    await family.make("root/pypi", kind="mirror")
    await family.make("a/top", "root/pypi")
    async with served(upstream) as url, reading.client() as client:
        site = Site(engine, family, upstream, client, url)
        await site.set("root/pypi", mirror_url=f"{url}/simple/")
        yield site


def fresh(moment: datetime | None = None) -> dict[str, str]:
    """Return the fields of a file that its upstream got a moment ago."""
    return {"upload-time": (moment or now()).isoformat().replace("+00:00", "Z")}


class TestWhatIsSaid:
    """Of projects and of releases."""

    async def test_of_a_project(self, site: Site) -> None:
        """What the upstream says of its newest release, and of its files; the addresses are this registry's own."""
        for path, root in ((WHOLE, "root/pypi"), (BASED, "a/top")):
            document = await site.document(path)
            info = document["info"]
            assert (info["name"], info["version"], info["summary"]) == ("thing", "1.0", "First")
            assert (info["classifiers"], info["requires_dist"]) == (["Topic :: A"], ["other>1"])
            assert (info["description"], info["keywords"], info["new_key"]) == ("# Thing", "a,b", "kept")
            assert (info["license"], info["author"], info["docs_url"], info["yanked"]) == (None, None, None, False)
            assert info["project_urls"] == {"Home": "https://thing.test"}
            assert info["package_url"] == f"http://127.0.0.1:3141/{root}/+simple/thing/"
            assert "_private" not in info
            assert list(document["releases"]) == ["0.9", "1.0"]
            [wheel] = document["urls"]
            assert wheel == document["releases"]["1.0"][0]
            content = WHEEL.encode()
            sha256 = hashlib.sha256(content).hexdigest()
            assert wheel["digests"] == {
                "md5": hashlib.md5(content, usedforsecurity=False).hexdigest(),
                "sha256": sha256,
                "blake2b_256": hashlib.blake2b(content, digest_size=32).hexdigest(),
            }
            assert wheel["url"] == f"http://127.0.0.1:3141/{root}/+f/{sha256[:3]}/{sha256[3:16]}/{WHEEL}"
            assert (wheel["packagetype"], wheel["python_version"], wheel["size"]) == ("bdist_wheel", "py3", len(WHEEL))
            assert wheel["upload_time_iso_8601"] == "2020-01-02T03:04:05.678901Z"
            [sdist] = document["releases"]["0.9"]
            assert (sdist["yanked"], sdist["yanked_reason"], sdist["requires_python"]) == (True, "broken", ">=3.9")
            assert document["vulnerabilities"] == []
            assert document["last_serial"] == 2
        assert site.upstream.asked[UP] == 1
        assert site.upstream.asked["/simple/thing/"] == 1

    async def test_of_a_release(self, site: Site) -> None:
        """Its own metadata, its files alone and its known vulnerabilities, as far as they have that shape."""
        document = await site.document(RELEASE)
        assert (document["info"]["summary"], document["info"]["yanked"]) == ("Old", True)
        assert document["info"]["yanked_reason"] == "broken"
        assert [file["filename"] for file in document["urls"]] == [OLD]
        assert document["urls"][0]["md5_digest"]
        assert document["vulnerabilities"] == [BUG]
        assert "releases" not in document
        assert (await site.get("/root/pypi/pypi/thing/3.0/json")).status_code == 404
        assert (await site.get("/root/pypi/pypi/nothing/json")).status_code == 404
        assert [path for path in site.upstream.asked if path.startswith("/pypi")] == ["/pypi/thing/0.9/json"]

    async def test_a_private_name_is_not_asked_for(self, site: Site) -> None:
        """A stage that holds a name says all of it by itself."""
        file = await site.family.publish("a/top", NEW, b"private")
        await site.family.indexes["a/top"].describe(file, summary="private")
        document = await site.document(BASED)
        assert (document["info"]["summary"], list(document["releases"])) == ("private", ["2.0"])
        assert not [path for path in site.upstream.asked if "thing" in path]

    async def test_hosted_and_mirrored_together(self, site: Site) -> None:
        """Where a mirror is opened for a name, each release is described by the index that it comes from."""
        file = await site.family.publish("a/top", "thing-0.8.tar.gz", b"private")
        await site.family.indexes["a/top"].describe(file, summary="private")
        await site.family.make("a/top", "root/pypi", mirror_whitelist=["thing"])
        await site.family.reading.news()
        document = await site.document(BASED)
        assert (document["info"]["summary"], list(document["releases"])) == ("First", ["0.8", "0.9", "1.0"])
        assert all(file["md5_digest"] for files in document["releases"].values() for file in files)
        own = await site.document("/a/top/pypi/thing/0.8/json")
        assert (own["info"]["summary"], own["ownership"]["roles"]) == ("private", [{"role": "Owner", "user": "a"}])


class TestAsking:
    """Of the upstream: seldom, once, and never so that a page waits for it."""

    async def test_unchanged(self, site: Site) -> None:
        """A document is confirmed with its entity tag, and is fresh again then."""
        first = await site.get()
        await site.expire()
        again = await site.get()
        assert (again.content, STALE in again.headers) == (first.content, False)
        assert "if-none-match" in next(one for one in site.upstream.requests[::-1] if one[":path"] == UP)
        await site.get()
        site.reopen()
        await site.get()
        assert site.upstream.asked[UP] == 2

    async def test_once_for_many(self, site: Site) -> None:
        """A crowd of clients in two processes causes one request upstream."""
        site.upstream.faults[UP] = Fault(delay=0.3)
        other = open_reading(site.engine, site.family.stores, mirrors=MIRRORS)
        await other.news()
        async with other.client() as there:
            answers = await asyncio.gather(*(client.get(WHOLE) for client in [site.client, there] * 10))
        assert {answer.json()["info"]["summary"] for answer in answers} == {"First"}
        assert site.upstream.asked[UP] == 1

    async def test_no_such_api(self, site: Site) -> None:
        """Then a document is made from the page: what is not known is null or empty, and it is asked again later."""
        site.upstream.json_api = False
        for _ in range(2):
            document = await site.document()
            assert (document["info"]["version"], document["info"]["summary"]) == ("1.0", None)
            assert (document["info"]["description"], document["info"]["classifiers"]) == ("", [])
            assert document["ownership"] == {"roles": [], "organization": None}
            [wheel] = document["urls"]
            assert (wheel["digests"]["md5"], wheel["packagetype"], wheel["size"]) == (None, "bdist_wheel", len(WHEEL))
            site.reopen()
        assert (await site.document(RELEASE))["info"]["requires_python"] == ">=3.9"
        assert site.upstream.asked[UP] == 1
        site.upstream.json_api = True
        await site.expire(pages=False)
        assert (await site.document())["info"]["summary"] == "First"

    @pytest.mark.parametrize(("simple", "asked"), [("+simple", 1), ("index", 0), ("not-simple", 0)])
    async def test_where_it_is(self, site: Site, simple: str, asked: int) -> None:
        """Beside a simple index that is called so; elsewhere nobody is asked, and the page says what it can."""
        site.upstream.simple = simple
        await site.set("root/pypi", mirror_url=f"{site.url}/{simple}/")
        assert (await site.document())["info"]["summary"] == ("First" if asked else None)
        assert sum(number for path, number in site.upstream.asked.items() if path.startswith("/pypi")) == asked

    async def test_another_upstream(self, site: Site) -> None:
        """What the former one said is not fresh any more, and the new one is held to neither its serial nor its tag."""
        site.upstream.serials["thing"] = 100
        assert (await site.document())["info"]["summary"] == "First"
        async with served(site.upstream) as url:
            site.upstream.serials["thing"] = 1
            asked = site.upstream.asked[UP]
            await site.set("root/pypi", mirror_url=f"{url}/simple/")
            assert (await site.document())["info"]["summary"] == "First"
            assert site.upstream.asked[UP] == asked + 1
            assert "if-none-match" not in next(
                request for request in reversed(site.upstream.requests) if request.get("accept") == "application/json"
            )

    async def test_dead(self, site: Site) -> None:
        """What is kept is served and said to be stale; where nothing is, the page says what it can."""
        site.upstream.faults["/pypi/thing/0.9/json"] = Fault(status=500)
        first = await site.document()
        await site.expire()
        site.upstream.down = Fault(status=503)
        answer = await site.get()
        assert (answer.json(), STALE in answer.headers) == (first, True)
        release = await site.get(RELEASE)
        assert (release.status_code, release.json()["info"]["summary"]) == (200, None)
        assert release.json()["urls"][0]["md5_digest"], "the project's own document names it"
        newest = await site.get("/root/pypi/pypi/thing/1.0/json")
        assert (newest.json()["info"]["summary"], STALE in newest.headers) == ("First", True)

    async def test_slow(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        """An old document is served at once, and the new one when it is there; pages do not wait for either."""
        monkeypatch.setattr(mirrored_json, "FIRST_WAIT", 0.3)
        site.upstream.faults[UP] = Fault(never=True)
        assert (await site.document())["info"]["summary"] is None
        page = await site.client.get("/root/pypi/+simple/thing/", headers={"accept": JSON})
        assert (page.status_code, STALE in page.headers) == (200, False)
        site.upstream.faults[UP].go.set()
        for _ in range(100):
            if await site.kept():
                break
            await asyncio.sleep(0.05)
        del site.upstream.faults[UP]
        site.reopen()
        assert (await site.document())["info"]["summary"] == "First"
        site.upstream.infos["thing", "1.0"]["summary"] = "Later"
        await site.expire(pages=False)
        site.upstream.faults[UP] = Fault(delay=0.8)
        answer = await site.get()
        assert (answer.json()["info"]["summary"], STALE in answer.headers) == ("First", True)
        await asyncio.sleep(1.0)
        site.reopen()
        assert (await site.document())["info"]["summary"] == "Later"

    async def test_failures_do_not_touch_pages(self, site: Site) -> None:
        """However often the JSON API fails, pages are asked for as ever."""
        for name in ("one", "two", "three", "four", "five"):
            site.upstream.add(name, f"{name}-1.0.tar.gz")
            site.upstream.faults[f"/pypi/{name}/json"] = Fault(status=503, headers={"retry-after": "600"})
            assert (await site.get(f"/root/pypi/pypi/{name}/json")).status_code == 200
        assert sum(number for path, number in site.upstream.asked.items() if path.startswith("/pypi")) < 5
        site.upstream.add("six", "six-1.0.tar.gz")
        page = await site.client.get("/root/pypi/+simple/six/", headers={"accept": JSON})
        assert (page.status_code, STALE in page.headers) == (200, False)

    async def test_versions_are_bounded(self, site: Site) -> None:
        """Of a project so many documents of versions are kept, those asked for last."""
        for number in range(MOST_VERSIONS + 5):
            site.upstream.add("thing", f"thing-3.{number}.tar.gz")
        for number in range(MOST_VERSIONS + 5):
            await site.document(f"/root/pypi/pypi/thing/3.{number}/json")
        assert await site.kept() == MOST_VERSIONS


class TestHidden:
    """What the policy hides on the page is hidden here."""

    async def test_too_new(self, site: Site) -> None:
        """From releases, urls and info; the release that stands for the project is the newest one that is shown."""
        site.upstream.add("thing", NEW, fields=fresh())
        site.upstream.infos["thing", "2.0"] = {"summary": "poisoned"}
        await site.set("a/top", policy={"min_age": 3600})
        document = await site.document(BASED)
        assert (document["info"]["version"], document["info"]["summary"]) == ("1.0", "First")
        assert list(document["releases"]) == ["0.9", "1.0"]
        answer = await site.get("/a/top/pypi/thing/2.0/json")
        assert answer.status_code == 404
        assert "poisoned" not in json.dumps(document)
        open_ = await site.document(WHOLE)
        assert (open_["info"]["version"], open_["info"]["summary"]) == ("2.0", "poisoned")
        assert (await site.get("/root/pypi/pypi/thing/2.0/json")).status_code == 200

    async def test_a_file_of_a_release(self, site: Site) -> None:
        """Of a release that is old enough a file may be too new."""
        late = "thing-1.0.tar.gz"
        site.upstream.add("thing", late, fields=fresh())
        await site.set("root/pypi", policy={"min_age": 3600})
        assert [file["filename"] for file in (await site.document())["urls"]] == [WHEEL]
        assert late not in (await site.get("/root/pypi/pypi/thing/1.0/json")).text

    async def test_it_shows_when_the_time_has_come(self, site: Site) -> None:
        """By the clock alone, in the same process."""
        site.upstream.add("thing", NEW, fields=fresh(now() - timedelta(seconds=3600 - 3)))
        await site.set("a/top", policy={"min_age": 3600})
        assert (await site.document(BASED))["info"]["version"] == "1.0"
        assert (await site.get("/a/top/pypi/thing/2.0/json")).status_code == 404
        await asyncio.sleep(3.2)
        assert (await site.document(BASED))["info"]["version"] == "2.0"
        assert (await site.get("/a/top/pypi/thing/2.0/json")).status_code == 200

    @pytest.mark.parametrize(
        "policy",
        [
            {"denied": {"thi*": "no"}},
            {"allowed": ["other"]},
            {"quarantined": {"thing": "bad"}},
            {"reserved": ["thing"]},
        ],
        ids=["denied", "not allowed", "quarantined", "reserved"],
    )
    async def test_names(self, site: Site, policy: dict[str, object]) -> None:
        """A name that is hidden has no documents, and is not asked for."""
        await site.set("a/top", policy=policy)
        for path in (BASED, "/a/top/pypi/thing/1.0/json"):
            assert (await site.get(path)).status_code == 404
        assert not site.upstream.asked
        await site.document(WHOLE)
        assert (await site.get(BASED)).status_code == 404

    async def test_upstream_quarantine(self, site: Site) -> None:
        """A project that is in quarantine at its upstream has no document."""
        site.upstream.heads["thing"] = {"project-status": {"status": "quarantined", "reason": "bad"}}
        assert (await site.get()).status_code == 404
        assert site.upstream.asked[UP] == 0


AS_JSON = {"content-type": "application/json"}
BODIES = {
    "no JSON": b"{",
    "depth": b"[" * 10_000,
    "depth of objects": b'{"info":' * 10_000,
    "a number without end": b'{"info":{"name":"thing","version":"1.0","size":1' + b"0" * 400 + b"}}",
    "a list": b"[]",
    "no info": b'{"info":[]}',
    "another project": b'{"info":{"name":"other","version":"1.0"}}',
    "no name": b'{"info":{"version":"1.0"}}',
    "a name of another type": b'{"info":{"name":["thing"],"version":"1.0"}}',
    "a version of another type": b'{"info":{"name":"thing","version":1}}',
    "too large": b" " * ((1 << 20) + 1),
}
HOSTILE: dict[str, Fault] = {
    **{name: Fault(status=200, headers=AS_JSON, body=body) for name, body in BODIES.items()},
    "another type": Fault(status=200, headers={"content-type": "text/html"}, body=b"<html>"),
    "private address": Fault(status=302, headers={"location": "http://10.0.0.1/"}),
    "another scheme": Fault(status=302, headers={"location": "ftp://127.0.0.1/"}),
    "broken off": Fault(cut=10),
    "forbidden": Fault(status=403),
}


@pytest.mark.parametrize("fault", HOSTILE.values(), ids=HOSTILE.keys())
async def test_a_hostile_document_is_refused_and_the_old_one_stays(site: Site, fault: Fault) -> None:
    """Whatever is wrong with it; where there is no old one, the page says what it can."""
    first = await site.document()
    site.upstream.infos["thing", "1.0"]["summary"] = "Later"
    await site.expire()
    site.upstream.faults[UP] = fault
    answer = await site.get()
    assert (answer.json(), STALE in answer.headers) == (first, True)
    async with site.engine.begin() as connection:
        await connection.execute(delete(MirrorJson))
    site.reopen()
    asked = site.upstream.asked[UP]
    for _ in range(2):
        unknown = await site.document()
        assert (unknown["info"]["version"], unknown["info"]["summary"]) == ("1.0", None)
        site.reopen()
    assert site.upstream.asked[UP] == asked + 1, "a failure is noted, so that not every request tries again"


async def test_a_serial_never_goes_back(site: Site) -> None:
    """A node that is behind is asked again later; the newer document stays."""
    site.upstream.add("thing", "thing-0.8.tar.gz")
    first = await site.document()
    site.upstream.infos["thing", "1.0"]["summary"] = "Behind"
    site.upstream.json_heads[UP] = {"last_serial": 1}
    await site.expire()
    answer = await site.get()
    assert (answer.json(), STALE in answer.headers) == (first, True)
    await site.set("root/pypi", mirror_ignore_serial_header=True)
    await site.expire()
    assert (await site.document())["info"]["summary"] == "Behind"


async def test_wrong_types_are_left_out(site: Site) -> None:
    """Key by key, also what is so deep that it could not be written again; the rest is used."""
    deep: dict[str, Any] = {}
    for _ in range(600):
        deep = {"a": deep}
    site.upstream.json_heads[UP] = {
        "info": {
            "name": "Thing",
            "version": "1.0",
            "summary": ["x"],
            "classifiers": "x",
            "requires_dist": [1],
            "project_urls": {"a": 1},
            "description": None,
            "keywords": ["a"],
            "author": "Ann",
            "odd": {"a": {}},
            "requires_python": {},
            "deep": deep,
        },
        "releases": {"1.0": {"no": "list"}, "0.9": [7, {"filename": 1}, {"filename": OLD, "digests": "x"}]},
        "urls": "none",
        "vulnerabilities": [{"id": "x", "deep": deep, "link": [deep], "aliases": ["y"]}, deep],
        "ownership": {"roles": "x"},
        "last_serial": "2",
    }
    document = await site.document()
    info = document["info"]
    assert (info["name"], info["author"], info["summary"], info["classifiers"]) == ("Thing", "Ann", None, [])
    assert (info["project_urls"], info["keywords"], info["requires_dist"]) == (None, None, None)
    assert not {"odd", "deep"} & set(info)
    assert document["vulnerabilities"] == [{"id": "x", "aliases": ["y"]}]
    assert document["ownership"] == {"roles": [], "organization": None}
    assert document["urls"][0]["md5_digest"] is None


async def test_the_pages_digest_wins(site: Site) -> None:
    """What a document says of other bytes than the page names is not said of these; nor is a file it alone has."""
    entry = {
        "filename": WHEEL,
        "url": "https://evil.test/x",
        "digests": {"sha256": "0" * 64, "md5": "0" * 32},
        "packagetype": "sdist",
        "yanked": True,
    }
    more = {"filename": "thing-9.0.tar.gz", "url": "https://evil.test/y", "digests": {"sha256": "1" * 64}}
    site.upstream.json_heads[UP] = {"releases": {"1.0": [entry], "9.0": [more]}, "urls": [entry]}
    answer = await site.get()
    document = answer.json()
    assert list(document["releases"]) == ["0.9", "1.0"]
    [wheel] = document["urls"]
    assert wheel["digests"]["sha256"] == hashlib.sha256(WHEEL.encode()).hexdigest()
    assert (wheel["md5_digest"], wheel["packagetype"], wheel["yanked"]) == (None, "bdist_wheel", False)
    assert "evil" not in answer.text


async def test_the_version_of_another_is_refused(site: Site) -> None:
    """A release's document that is about another release says nothing of this one."""
    site.upstream.json_heads["/pypi/thing/0.9/json"] = {"info": {"name": "thing", "version": "1.0", "summary": "First"}}
    assert (await site.document(RELEASE))["info"]["summary"] is None


async def test_a_version_without_a_file(site: Site) -> None:
    """A page may name one, and so do documents; it never stands for the project while another has files."""
    site.upstream.heads["thing"] = {"versions": ["5.0", "1.0", "0.9", "no version/at all"]}
    for index in ("root/pypi", "a/top"):
        document = await site.document(f"/{index}/pypi/thing/json")
        assert document["info"]["version"] == "1.0"
        assert document["releases"]["5.0"] == []
        release = await site.document(f"/{index}/pypi/thing/5.0/json")
        assert (release["urls"], release["info"]["yanked"]) == ([], False)
