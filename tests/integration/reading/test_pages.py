"""Pages and project lists as clients read them."""

from __future__ import annotations

import asyncio
import gzip

import brotli
import httpx2
import orjson
import pytest
import zstandard
from sqlalchemy.ext.asyncio import AsyncEngine

from services.index.settings import Limits as IndexLimits
from shared.objects.interface import ObjectStores
from tests.integration.reading.constants import JSON, PAGE, PIP, V1_HTML, WHEEL
from tests.support.factories import make_index
from tests.support.published import Published
from tests.support.reading import Reading, counted_queries, open_reading


class TestPages:
    """Contract python-index sections 1.1 to 1.4."""

    async def test_json_is_the_signed_document(self, client: httpx2.AsyncClient, stable: Published) -> None:
        """The JSON page is byte for byte what was signed, with the headers that installers and mirrors read."""
        answer = await client.get(PAGE, headers={"accept": PIP})
        assert answer.status_code == 200
        assert answer.content == stable.pages["thing"]
        assert answer.headers["content-type"] == JSON
        assert answer.headers["x-pypi-last-serial"] == "1"
        assert answer.headers["vary"] == "Accept, Accept-Encoding"
        assert answer.headers["cache-control"] == "public, max-age=0, must-revalidate"
        assert answer.headers["access-control-allow-origin"] == "*"
        assert answer.headers["access-control-expose-headers"] == "X-PyPI-Last-Serial"
        assert answer.headers["content-length"] == str(len(answer.content))

    @pytest.mark.parametrize(
        ("accept", "content_type"),
        [
            (None, "text/html; charset=utf-8"),
            ("*/*", "text/html; charset=utf-8"),
            ("application/vnd.pypi.simple.latest+json", JSON),
            ("application/vnd.pypi.simple.latest+html", V1_HTML),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "text/html; charset=utf-8"),
        ],
    )
    async def test_form(self, client: httpx2.AsyncClient, accept: str | None, content_type: str) -> None:
        """The form is the one the client likes best, by its concrete type; browsers and scripts get text/html."""
        answer = await client.get(PAGE, headers={} if accept is None else {"accept": accept})
        assert answer.headers["content-type"] == content_type
        if "html" in content_type:
            assert f">{WHEEL}</a>" in answer.text
            assert "<!--SERIAL 1-->" in answer.text
            assert answer.headers["content-security-policy"].startswith("default-src 'none'")

    async def test_every_coding_holds_the_same_page(self, client: httpx2.AsyncClient, stable: Published) -> None:
        """gzip, br and zstd decode to the signed bytes, and each has a strong tag of its own."""
        decode = {
            "gzip": gzip.decompress,
            "br": brotli.decompress,
            "zstd": lambda body: zstandard.ZstdDecompressor().decompress(body),
        }
        tags = set()
        for coding, decoded in decode.items():
            for _ in range(2):
                headers = {"accept": JSON, "accept-encoding": f"{coding}, deflate"}
                async with client.stream("GET", PAGE, headers=headers) as answer:
                    raw = b"".join([chunk async for chunk in answer.aiter_raw()])
                assert answer.headers["content-encoding"] == coding
                assert decoded(raw) == stable.pages["thing"]
                assert answer.headers["etag"].startswith('"')
                tags.add(answer.headers["etag"])
        assert len(tags) == 3

    async def test_not_modified(self, client: httpx2.AsyncClient) -> None:
        """A page that the client has is answered 304 with the headers caches need, cold and from memory."""
        tag = (await client.get(PAGE, headers={"accept": JSON})).headers["etag"]
        for match in (tag, f"W/{tag}", f'"other", {tag}', "*"):
            answer = await client.get(PAGE, headers={"accept": JSON, "if-none-match": match})
            assert answer.status_code == 304, match
            assert answer.content == b""
            assert answer.headers["etag"] == tag
            assert answer.headers["vary"] == "Accept, Accept-Encoding"
            assert "cache-control" in answer.headers
        html = await client.get(PAGE, headers={"accept": "text/html", "if-none-match": tag})
        assert html.status_code == 200, "another form is another representation"

    async def test_head_equals_get(self, client: httpx2.AsyncClient) -> None:
        """HEAD has the headers of GET and no body."""
        for path in (PAGE, "/simple/", "/root/stable/+simple/unknown/", "/root/stable/+simple/Thing"):
            got, head = await client.get(path), await client.head(path)
            assert (head.status_code, dict(head.headers)) == (got.status_code, dict(got.headers))
            assert head.content == b""

    @pytest.mark.parametrize(
        ("path", "location"),
        [
            ("/root/stable/+simple/thing", "thing/"),
            ("/root/stable/+simple/Thing/", "../thing/"),
            ("/root/stable/+simple/th_.ing", "th-ing/"),
            ("/root/stable/+simple", "+simple/"),
            ("/root/stable/%2Bsimple/thing", "thing/"),
            ("/simple/Thing?format=text/html&x=1", "../simple/thing/?format=text/html&x=1"),
        ],
    )
    async def test_one_canonical_address(self, client: httpx2.AsyncClient, path: str, location: str) -> None:
        """Other spellings of a page's address are answered 301 to the canonical one on this host, with the query."""
        answer = await client.get(path)
        assert answer.status_code == 301
        there = httpx2.URL("http://index.test").join(path).join(answer.headers["location"])
        assert there == httpx2.URL("http://index.test").join(path).join(location)
        assert there.host == "index.test"

    async def test_aliases_are_the_default_index(self, client: httpx2.AsyncClient, stable: Published) -> None:
        """`/simple/`, `/+simple/` and `/legacy/+simple/` answer for the default index, and links below them work."""
        for base in ("/simple/thing/", "/+simple/thing/", "/legacy/+simple/thing/"):
            answer = await client.get(base, headers={"accept": JSON})
            assert answer.content == stable.pages["thing"]
            link = answer.json()["files"][0]["url"]
            assert (await client.get(str(httpx2.URL(f"http://index.test{base}").join(link)))).content == b"wheel of 1.0"

    async def test_plus_may_be_encoded(self, client: httpx2.AsyncClient, reading: Reading, stable: Published) -> None:
        """pip encodes a `+` in a path, uv does not: both get the same bytes, also of a file with one in its name."""
        local = await stable.upload("thing-1.0+local-py3-none-any.whl", b"local")
        await stable.publish(local)
        await reading.news()
        for plus in ("+", "%2B"):
            page = await client.get(f"/root/stable/{plus}simple/thing/", headers={"accept": JSON})
            assert page.content == stable.pages["thing"]
            assert (await client.get(f"/root/stable/{plus}f/{local.path.replace('+', plus)}")).content == b"local"
        link = next(file["url"] for file in orjson.loads(stable.pages["thing"])["files"] if "local" in file["url"])
        assert (await client.get(str(httpx2.URL(f"http://index.test{PAGE}").join(link)))).content == b"local"

    async def test_unknown_project(self, client: httpx2.AsyncClient) -> None:
        """Who may read gets 404 for a project that is not there, twice: also from memory."""
        for _ in range(2):
            answer = await client.get("/root/stable/+simple/nothing/", headers={"accept": JSON})
            assert answer.status_code == 404
            assert "no project nothing" in answer.text
            assert answer.headers["cache-control"] == "no-store"
        for path in ("/root/stable/+simple/a/b/", "/root/none/+simple/", "/root/stable/+simple/%00/", "/x/+simple/"):
            assert (await client.get(path)).status_code == 404, path

    async def test_not_acceptable(self, client: httpx2.AsyncClient) -> None:
        """A client that takes none of the forms is told their names; `?format=` beats the header."""
        answer = await client.get(PAGE, headers={"accept": "image/png"})
        assert answer.status_code == 406
        assert JSON in answer.text
        assert answer.headers["content-type"].startswith("text/plain")
        asked = await client.get(PAGE, params={"format": JSON}, headers={"accept": "text/html"})
        assert asked.headers["content-type"] == JSON
        assert (await client.get(f"{PAGE}?format={JSON}")).headers["content-type"] == JSON
        assert (await client.get(f"{PAGE}?format=image/png", headers={"accept": JSON})).status_code == 406
        assert (await client.get(f"{PAGE}?other=1", headers={"accept": JSON})).status_code == 200

    async def test_other_methods(self, client: httpx2.AsyncClient) -> None:
        """Nothing can be written at a page's address; a preflight of a browser is allowed to read."""
        answer = await client.request("DELETE", PAGE)
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
        preflight = await client.options(PAGE)
        assert preflight.status_code == 204
        assert preflight.headers["access-control-allow-origin"] == "*"
        allowed = {name.strip() for name in preflight.headers["access-control-allow-headers"].split(",")}
        assert allowed >= {
            "Content-Type", "If-Match", "If-Modified-Since", "If-None-Match", "If-Unmodified-Since",
        }  # fmt: skip


class TestProjectList:
    """Contract python-index section 1.2.4."""

    async def test_forms(self, client: httpx2.AsyncClient) -> None:
        """The list names every project with a file, with its serial, in both forms."""
        listed = await client.get("/root/stable/+simple/", headers={"accept": JSON})
        assert listed.json() == {
            "meta": {"api-version": "1.4", "_last-serial": 1},
            "projects": [{"name": "thing", "_last-serial": 1}],
        }
        assert listed.headers["x-pypi-last-serial"] == "1"
        assert '<a href="thing/">thing</a>' in (await client.get("/simple/")).text

    async def test_follows_the_head(
        self, client: httpx2.AsyncClient, reading: Reading, stable: Published, engine: AsyncEngine
    ) -> None:
        """A change shows at once; without one the list is not even looked up."""
        await client.get("/simple/", headers={"accept": JSON})
        other = await stable.upload("other-1.0.tar.gz")
        await stable.publish(other)
        await reading.news()
        names = (await client.get("/simple/", headers={"accept": JSON})).json()["projects"]
        assert [project["name"] for project in names] == ["other", "thing"]
        with counted_queries(engine) as queries:
            assert (await client.get("/simple/", headers={"accept": JSON})).status_code == 200
        assert queries == []
        await stable.publish(hidden=[other])
        await reading.news()
        names = (await client.get("/simple/", headers={"accept": JSON})).json()["projects"]
        assert [project["name"] for project in names] == ["thing"]

    async def test_big_lists_lag(self, engine: AsyncEngine, stores: ObjectStores, stable: Published) -> None:
        """Above the bound a list is rendered at most every so often, and only after a change."""
        reading = open_reading(engine, stores, IndexLimits(big_list=1, list_seconds=0.4))
        await stable.publish(await stable.upload("other-1.0.tar.gz"))
        await reading.news()
        async with reading.client() as client:

            async def names() -> list[str]:
                answer = await client.get("/simple/", headers={"accept": JSON})
                return [project["name"] for project in answer.json()["projects"]]

            assert await names() == ["other", "thing"]
            await stable.publish(await stable.upload("third-1.0.tar.gz"))
            await reading.news()
            assert await names() == ["other", "thing"]
            await asyncio.sleep(0.45)
            assert await names() == ["other", "thing", "third"]
            await asyncio.sleep(0.45)
            with counted_queries(engine) as queries:
                assert await names() == ["other", "thing", "third"]
            assert queries == []

    async def test_index_without_publication(self, reading: Reading, engine: AsyncEngine) -> None:
        """An index that never published has an empty list and no metadata, and says so."""
        await make_index(engine, "root/new")
        await reading.news()
        async with reading.client() as client:
            listed = await client.get("/root/new/+simple/", headers={"accept": JSON})
            assert listed.json()["projects"] == []
            metadata = await client.get("/root/new/+tuf/metadata/timestamp.json")
            assert metadata.status_code == 404
            assert "no publication yet" in metadata.text
            assert metadata.headers["cache-control"] == "no-store"
