"""How an upstream is asked for JSON documents. Contract python-index section 5.1 item 9."""

from __future__ import annotations

import asyncio

import pytest

from services.index import mirrored_json
from shared.catalogue.mirror_json import MOST_VERSIONS
from tests.integration.reading.constants import JSON, WHEEL
from tests.integration.reading.mirror_json.site import MIRRORS, RELEASE, UP, WHOLE, Documents
from tests.integration.reading.mirror_site import STALE
from tests.support.reading import open_reading, served
from tests.support.upstream import Fault


class TestAsking:
    """Of the upstream: seldom, once, and never so that a page waits for it."""

    async def test_unchanged(self, site: Documents) -> None:
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

    async def test_once_for_many(self, site: Documents) -> None:
        """A crowd of clients in two processes causes one request upstream."""
        site.upstream.faults[UP] = Fault(delay=0.3)
        other = open_reading(site.engine, site.family.stores, mirrors=MIRRORS)
        await other.news()
        async with other.client() as there:
            answers = await asyncio.gather(*(client.get(WHOLE) for client in [site.client, there] * 10))
        assert {answer.json()["info"]["summary"] for answer in answers} == {"First"}
        assert site.upstream.asked[UP] == 1

    async def test_no_such_api(self, site: Documents) -> None:
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
    async def test_where_it_is(self, site: Documents, simple: str, asked: int) -> None:
        """Beside a simple index that is called so; elsewhere nobody is asked, and the page says what it can."""
        site.upstream.simple = simple
        await site.set("root/pypi", mirror_url=f"{site.url}/{simple}/")
        assert (await site.document())["info"]["summary"] == ("First" if asked else None)
        assert sum(number for path, number in site.upstream.asked.items() if path.startswith("/pypi")) == asked

    async def test_another_upstream(self, site: Documents) -> None:
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

    async def test_dead(self, site: Documents) -> None:
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

    async def test_slow(self, site: Documents, monkeypatch: pytest.MonkeyPatch) -> None:
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

    async def test_failures_do_not_touch_pages(self, site: Documents) -> None:
        """However often the JSON API fails, pages are asked for as ever."""
        for name in ("one", "two", "three", "four", "five"):
            site.upstream.add(name, f"{name}-1.0.tar.gz")
            site.upstream.faults[f"/pypi/{name}/json"] = Fault(status=503, headers={"retry-after": "600"})
            assert (await site.get(f"/root/pypi/pypi/{name}/json")).status_code == 200
        assert sum(number for path, number in site.upstream.asked.items() if path.startswith("/pypi")) < 5
        site.upstream.add("six", "six-1.0.tar.gz")
        page = await site.client.get("/root/pypi/+simple/six/", headers={"accept": JSON})
        assert (page.status_code, STALE in page.headers) == (200, False)

    async def test_versions_are_bounded(self, site: Documents) -> None:
        """Of a project so many documents of versions are kept, those asked for last."""
        for number in range(MOST_VERSIONS + 5):
            site.upstream.add("thing", f"thing-3.{number}.tar.gz")
        for number in range(MOST_VERSIONS + 5):
            await site.document(f"/root/pypi/pypi/thing/3.{number}/json")
        assert await site.kept() == MOST_VERSIONS
