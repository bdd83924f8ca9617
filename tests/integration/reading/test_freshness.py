"""What memory may answer, and for how long."""

from __future__ import annotations

import asyncio

import httpx2
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.digest import sha256_of
from countermark.core.names import page_target
from shared.objects.interface import ObjectStores, Put
from shared.objects.keys import target_key
from tests.integration.reading.constants import JSON, PAGE, PIP, V1_HTML, WHEEL
from tests.support.factories import make_token
from tests.support.published import Published
from tests.support.reading import Reading, basic, counted_queries


class TestFreshness:
    """Architecture sections 5 (items 1 and 7), 9 and 11.2."""

    async def test_warm_reads_make_no_query(
        self, client: httpx2.AsyncClient, reading: Reading, stable: Published, engine: AsyncEngine, secret: Published
    ) -> None:
        """What was read once is answered from memory, in every form and also for those who must show a token."""
        token = await make_token(engine)
        await reading.news()
        paths = [PAGE, "/simple/", "/root/stable/+simple/nothing/", f"/root/stable/+f/{stable.visible[WHEEL].path}"]
        paths += ["/root/stable/+tuf/metadata/timestamp.json", "/root/stable/+tuf/metadata/1.snapshot.json"]
        paths += ["/root/stable/+tuf/metadata/2.root.json", "/root/secret/+simple/thing/"]
        headers = {"accept": PIP, "accept-encoding": "gzip, deflate", "authorization": basic("anybody", token)}
        cold = [await client.get(path, headers=headers) for path in paths]
        with counted_queries(engine) as queries:
            warm = [await client.get(path, headers=headers) for path in paths]
        assert queries == []
        assert [answer.status_code for answer in warm] == [200, 200, 404, 200, 200, 200, 404, 200]
        assert [answer.content for answer in warm] == [answer.content for answer in cold]

    @pytest.mark.parametrize("accept", [JSON, V1_HTML, "text/html", PIP])
    @pytest.mark.parametrize("coding", ["identity", "gzip", "br", "zstd"])
    async def test_warm_pages_in_every_form(
        self,
        client: httpx2.AsyncClient,
        engine: AsyncEngine,
        secret: Published,
        reading: Reading,
        accept: str,
        coding: str,
    ) -> None:
        """Each form and compression of a page, public and private, whole and as 304, comes from memory: no query."""
        await reading.news()
        credentials = {"authorization": basic("anybody", await make_token(engine))}
        headers = {"accept": accept, "accept-encoding": coding} | credentials
        for path in (PAGE, "/simple/", "/root/secret/+simple/thing/", "/root/secret/+simple/"):
            cold = await client.get(path, headers=headers)
            with counted_queries(engine) as queries:
                warm = await client.get(path, headers=headers)
                same = await client.get(path, headers=headers | {"if-none-match": warm.headers["etag"]})
            assert (path, queries) == (path, [])
            assert (warm.status_code, same.status_code, same.content) == (200, 304, b"")
            assert warm.content == cold.content

    async def test_warm_files_in_every_way(
        self, client: httpx2.AsyncClient, reading: Reading, stable: Published, engine: AsyncEngine, secret: Published
    ) -> None:
        """A file, its metadata, a part of it, HEAD and 304, public and private: no query once it was read."""
        await reading.news()
        credentials = {"authorization": basic("anybody", await make_token(engine))}
        for path in (f"/root/stable/+f/{stable.visible[WHEEL].path}", f"/root/secret/+f/{secret.visible[WHEEL].path}"):
            for url in (path, f"{path}.metadata"):
                cold = await client.get(url, headers=credentials)
                with counted_queries(engine) as queries:
                    answers = [
                        await client.get(url, headers=credentials),
                        await client.head(url, headers=credentials),
                        await client.get(url, headers=credentials | {"if-none-match": cold.headers["etag"]}),
                        await client.get(url, headers=credentials | {"range": "bytes=1-3"}),
                    ]
                assert (url, queries) == (url, [])
                assert [answer.status_code for answer in answers] == [200, 200, 304, 206]
                assert answers[3].content == cold.content[1:4]

    async def test_crowd_on_a_cold_page_loads_it_once(
        self, reading: Reading, stable: Published, engine: AsyncEngine
    ) -> None:
        """A hundred clients that ask for the same page at once cost one look-up."""
        await reading.news()
        async with reading.client() as client:
            with counted_queries(engine) as queries:
                answers = await asyncio.gather(*(client.get(PAGE, headers={"accept": JSON}) for _ in range(100)))
        assert {answer.content for answer in answers} == {stable.pages["thing"]}
        assert len(queries) == 1

    async def test_nothing_shows_before_its_publication(
        self, client: httpx2.AsyncClient, reading: Reading, stable: Published
    ) -> None:
        """An uploaded file is on no page and at no address until its publication, and from then on at both."""
        new = await stable.upload("thing-2.0-py3-none-any.whl", b"wheel of 2.0")
        path = f"/root/stable/+f/{new.path}"
        assert new.file_name not in (await client.get(PAGE)).text
        assert (await client.get(path)).status_code == 404
        await stable.publish(new)
        await reading.news()
        assert new.file_name in (await client.get(PAGE)).text
        assert (await client.get(path)).content == b"wheel of 2.0"

    async def test_absence_ends_with_a_publication(
        self, client: httpx2.AsyncClient, reading: Reading, stable: Published
    ) -> None:
        """A project that was looked for in vain is found as soon as it is published."""
        assert (await client.get("/simple/other/")).status_code == 404
        await stable.publish(await stable.upload("other-1.0.tar.gz"))
        await reading.news()
        assert (await client.get("/simple/other/")).status_code == 200

    async def test_pages_of_other_projects_stay_in_memory(
        self, client: httpx2.AsyncClient, reading: Reading, stable: Published, engine: AsyncEngine
    ) -> None:
        """A publication costs the pages it touches and no others."""
        await client.get(PAGE)
        await stable.publish(await stable.upload("other-1.0.tar.gz"))
        await reading.news()
        with counted_queries(engine) as queries:
            await client.get(PAGE)
        assert queries == []

    async def test_first_head_after_the_page(self, reading: Reading, stable: Published) -> None:
        """A page read before the process knew any head is not kept past the first one it learns of."""
        await reading.resources.directory.refresh()
        async with reading.client() as client:
            await client.get(PAGE, headers={"accept": JSON})
            await stable.publish(await stable.upload("thing-2.0.tar.gz"))
            await reading.resources.heads.wake("")
            assert (await client.get(PAGE, headers={"accept": JSON})).content == stable.pages["thing"]

    async def test_damaged_page_is_not_served(
        self, client: httpx2.AsyncClient, stable: Published, stores: ObjectStores
    ) -> None:
        """A stored page with other bytes than were signed gives 503 until it is repaired, never those bytes."""
        document = stable.pages["thing"]
        key = target_key(stable.index.name, page_target(stable.visible[WHEEL].project), sha256_of(document))
        await stores.public.put(key, document.replace(b"1.0", b"6.6"), Put.REPLACE)
        answer = await client.get(PAGE)
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "5"
        await stores.public.delete(key)
        assert (await client.get(PAGE)).status_code == 503
        await stores.public.put(key, document)
        assert (await client.get(PAGE)).status_code == 200
