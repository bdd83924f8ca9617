"""devpi's documents over mirrors, and its request to read a page anew. Contract devpi sections 4, 7, 14 and 23."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.digest import sha256_of
from services.index import refreshing
from shared.objects.interface import ObjectStores
from tests.integration.reading.constants import WHEEL
from tests.integration.reading.mirror_site import BASED, DIRECT, MIRRORS, NEW, OLD, STALE, Site, mirrored
from tests.support.devpi_reading import DEVPI, HOST, register
from tests.support.factories import now
from tests.support.reading import open_reading
from tests.support.upstream import Fault, Upstream

MIRROR, TOP = "/root/pypi/thing", "/a/top/thing"
PAGE = "/simple/thing/"
TOO_NEW = {"upload-time": now().isoformat().replace("+00:00", "Z")}
"""Fields of a file that the upstream got now."""


@pytest.fixture
async def site(engine: AsyncEngine, stores: ObjectStores) -> AsyncIterator[Site]:
    """An upstream with one project, a mirror of it and a stage based on the mirror."""
    upstream = Upstream()
    upstream.add("thing", WHEEL, metadata=b"Name: thing")
    upstream.add("thing", OLD, fields={"yanked": "broken", "requires-python": ">=3.9"})
    async with mirrored(Site, engine, open_reading(engine, stores, mirrors=MIRRORS), upstream) as site:
        yield site


async def asked(site: Site, path: str) -> httpx2.Response:
    """Ask as the devpi client does."""
    await site.family.reading.news()
    return await site.client.get(path, headers=DEVPI)


async def result(site: Site, path: str) -> Any:
    """Return what a document says."""
    answer = await asked(site, path)
    assert answer.status_code == 200, answer.text
    return answer.json()["result"]


def link(name: str, content: bytes = b"") -> dict[str, Any]:
    """Return how documents link to a file of the mirror."""
    sha256 = sha256_of(content or name.encode())
    href = f"{HOST}/root/pypi/+f/{sha256[:3]}/{sha256[3:16]}/{name}"
    return {"rel": "releasefile", "href": href, "hash_spec": f"sha256={sha256}", "hashes": {"sha256": sha256}}


class TestDocuments:
    """Of projects and versions."""

    async def test_what_a_mirror_says(self, site: Site) -> None:
        """Name, version, what the page says of the files, links without a log; the same through a base."""
        expected = {
            "1.0": {"name": "thing", "version": "1.0", "+links": [link(WHEEL)]},
            "0.9": {
                "name": "thing",
                "version": "0.9",
                "requires_python": ">=3.9",
                "yanked": "broken",
                "+links": [link(OLD)],
            },
        }
        for path in (MIRROR, TOP):
            answer = await asked(site, path)
            assert answer.json() == {"type": "projectconfig", "result": expected}
            for version in ("0.9", "0.9.0"):
                one = (await asked(site, f"{path}/{version}")).json()
                assert one == {"type": "versiondata", "result": expected["0.9"]}
        assert await result(site, f"{MIRROR}?ignore_bases=") == expected
        assert site.upstream.asked[PAGE] == 1

    async def test_what_is_not_there(self, site: Site) -> None:
        """404 in devpi's words, and {} where only bases are left out."""
        for path in ("/root/pypi/other", "/a/top/other", f"{MIRROR}/7.0", f"{TOP}/7.0", f"{TOP}/1.0?ignore_bases="):
            answer = await asked(site, path)
            assert (answer.status_code, "message" in answer.json()) == (404, True), path
        assert await result(site, f"{TOP}?ignore_bases=") == {}
        assert (await asked(site, "/a/top/other?ignore_bases=")).status_code == 404

    async def test_a_project_without_files(self, site: Site) -> None:
        """It is there, and has no versions."""
        site.upstream.projects["bare"] = {}
        site.upstream.serials["bare"] = 1
        for path in ("/root/pypi/bare", "/a/top/bare"):
            assert await result(site, path) == {}

    async def test_a_nearer_name_hides_it(self, site: Site) -> None:
        """The upstream is not asked; a whitelist opens the name, and the same version is shadowed."""
        await site.family.publish("a/top", WHEEL.replace("-1.0-", "-7.0-"), b"own")
        await register(site.engine, site.family.indexes["a/top"], "thing", "0.9", name="thing")
        assert set(await result(site, TOP)) == {"7.0", "0.9"}
        assert site.upstream.asked[PAGE] == 0
        await site.set("a/top", mirror_whitelist=["thing"])
        found = await result(site, TOP)
        assert set(found) == {"7.0", "0.9", "1.0"}
        assert "+links" not in found["0.9"]
        assert found["0.9"]["+shadowing"] == [(await result(site, MIRROR))["0.9"]]
        assert await result(site, f"{TOP}/0.9") == found["0.9"]

    async def test_rules_count(self, site: Site) -> None:
        """What a page hides is in no document: too new, held by its own index, denied by name."""
        site.upstream.add("thing", NEW, fields=TOO_NEW)
        await site.set("a/top", policy={"min_age": 3600})
        assert set(await result(site, TOP)) == {"1.0", "0.9"}
        assert (await asked(site, f"{TOP}/2.0")).status_code == 404
        assert set(await result(site, MIRROR)) == {"2.0", "1.0", "0.9"}
        await site.set("a/top", policy={"denied": {"thing": "no"}})
        for path in (TOP, f"{TOP}/1.0"):
            assert (await asked(site, path)).status_code == 404

    async def test_it_follows_the_page(self, site: Site) -> None:
        """What is in memory is never older than the page, and warm documents ask nobody."""
        assert "2.0" not in await result(site, TOP)
        site.upstream.add("thing", NEW)
        await site.expire()
        assert "2.0" in await result(site, TOP)
        count = site.upstream.asked[PAGE]
        for _ in range(3):
            assert "2.0" in await result(site, TOP)
        assert site.upstream.asked[PAGE] == count

    async def test_long_ones(self, site: Site) -> None:
        """Every version is there, however many parts are written."""
        for number in range(600):
            site.upstream.add("thing", f"thing-3.{number}.tar.gz")
        assert len(await result(site, TOP)) == len(await result(site, MIRROR)) == 602

    async def test_a_dead_upstream(self, site: Site) -> None:
        """What is kept is served and said to be stale; what is not known is 502, of a stage as well."""
        before = await result(site, TOP)
        await site.expire()
        site.upstream.down = Fault(status=503, headers={"retry-after": "60"})
        for path in (MIRROR, TOP, f"{MIRROR}/1.0"):
            answer = await asked(site, path)
            assert (answer.status_code, STALE in answer.headers) == (200, True)
        assert await result(site, TOP) == before
        for path in ("/root/pypi/other", "/a/top/other", "/a/top/other/1.0"):
            answer = await asked(site, path)
            assert answer.status_code == 502
            assert "upstream of root/pypi gives no answer" in answer.json()["message"]
        assert await result(site, "/a/top/other?ignore_bases=") == {}


async def refreshed(site: Site, path: str = DIRECT) -> httpx2.Response:
    """Have a page read anew."""
    await site.family.reading.news()
    return await site.client.post(f"{path}refresh", headers=DEVPI)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pages be read anew without a pause."""
    monkeypatch.setattr(refreshing, "PAUSE", 0.0)


class TestRefresh:
    """Pages that are read anew because somebody asks."""

    @pytest.mark.parametrize("path", [DIRECT, BASED])
    async def test_it_is_read_anew(self, site: Site, path: str) -> None:
        """Though the page is fresh, by anybody who may read, whole, and shown by the page that the answer leads to."""
        assert NEW not in await site.names(path)
        site.upstream.add("thing", NEW)
        assert NEW not in await site.names(path)
        answer = await refreshed(site, path)
        assert (answer.status_code, answer.headers["location"]) == (302, f"{HOST}{path}")
        assert "if-none-match" not in site.upstream.requests[-1]
        assert NEW in await site.names(path)
        assert "2.0" in await result(site, TOP)

    async def test_strangers_cannot_flood_the_upstream(self, site: Site) -> None:
        """A page is read once in a while, however often that is asked for, through whichever index."""
        for path in (DIRECT, BASED) * 5:
            assert (await refreshed(site, path)).status_code == 302
        assert site.upstream.asked[PAGE] == 1

    async def test_few_at_a_time(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        """The others are told to come again; in all, no more than so many in a minute."""
        monkeypatch.setattr(refreshing, "MOST_AT_ONCE", 1)
        site.upstream.faults[PAGE] = Fault(delay=0.5)
        first = asyncio.create_task(refreshed(site))
        await asyncio.sleep(0.2)
        busy = await refreshed(site, DIRECT.replace("thing", "other"))
        assert (busy.status_code, busy.headers["retry-after"]) == (429, "2")
        assert (await first).status_code == 302
        monkeypatch.setattr(refreshing, "MOST_A_MINUTE", 2)
        assert [(await refreshed(site, f"/root/pypi/+simple/{name}/")).status_code for name in "ab"] == [302, 429]

    async def test_private_names_go_nowhere(self, site: Site, at_once: None) -> None:
        """Neither what a stage holds nor what a rule keeps here; and a stage alone has nothing to read anew."""
        await site.family.publish("a/top", NEW, b"private")
        assert (await refreshed(site, BASED)).status_code == 302
        await site.set("root/pypi", policy={"reserved": ["other"]})
        assert (await refreshed(site, DIRECT.replace("thing", "other"))).status_code == 302
        await site.family.make("a/alone")
        assert (await refreshed(site, "/a/alone/+simple/thing/")).status_code == 302
        assert not site.upstream.asked

    async def test_a_digest_is_not_forgotten(self, site: Site, at_once: None) -> None:
        """Reading anew lets no other bytes in."""
        names = await site.names()
        site.upstream.add("thing", WHEEL, b"other bytes")
        await refreshed(site)
        files = (await site.get()).json()["files"]
        assert [file["filename"] for file in files] == names
        assert files[0]["hashes"]["sha256"] == sha256_of(WHEEL.encode())

    async def test_a_dead_upstream(self, site: Site, at_once: None) -> None:
        """What is kept stays; of what is not known it is said that nobody can know it now."""
        names = await site.names()
        site.upstream.down = Fault(status=503)
        assert (await refreshed(site)).status_code == 302
        assert await site.names() == names
        for path in (DIRECT, BASED):
            answer = await refreshed(site, path.replace("thing", "other"))
            assert (answer.status_code, "gives no answer" in answer.json()["message"]) == (502, True)
