"""Simple pages at devpi's other addresses: without a slash, at the project's own address, with absolute links."""

from __future__ import annotations

import gc

import httpx2
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from services.index.documents import Document
from tests.integration.reading.constants import JSON, PAGE, PIP
from tests.support.factories import make_token
from tests.support.published import Published
from tests.support.reading import Reading

UV = {"user-agent": "uv/0.13.8", "accept": JSON}
PIPS = {"user-agent": 'pip/26.3 {"ci":null}', "accept": PIP}
SCRIPT = {"user-agent": "curl/8", "accept": "*/*"}
ABSOLUTE = {"x-devpi-absolute-urls": ""}
BROWSER = {"user-agent": "Mozilla/5.0", "accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


def joined(answer: httpx2.Response, link: str) -> str:
    """Return what a link of a page means."""
    return str(answer.request.url.join(link))


class TestAddresses:
    """Contract devpi sections 1 (items 11 and 12), 7 and 8."""

    @pytest.mark.parametrize("headers", [UV, PIPS, SCRIPT | {"accept": JSON}])
    @pytest.mark.parametrize("path", ["/root/stable/Thing", "/root/stable/thing/", "/root/stable/th%69ng"])
    async def test_installers_at_a_project(
        self, client: httpx2.AsyncClient, stable: Published, path: str, headers: dict[str, str]
    ) -> None:
        """An installer that was given the index's own address is sent to the simple page, on this host."""
        answer = await client.get(f"{path}?x=1", headers=headers)
        assert answer.status_code == 302
        assert joined(answer, answer.headers["location"]) == f"http://index.test{PAGE}?x=1"
        assert "User-Agent" in answer.headers["vary"]
        there = await client.get(joined(answer, answer.headers["location"]), headers=headers)
        assert there.content == stable.pages["thing"]

    async def test_documents_are_left_to_devpi(self, client: httpx2.AsyncClient) -> None:
        """Who names devpi's JSON, or nothing that pages have, is not sent to a page, nor is anybody at a release."""
        for headers in (SCRIPT, BROWSER, PIPS | {"accept": "application/json"}, {"accept": "application/json"}):
            assert (await client.get("/root/stable/thing", headers=headers)).status_code != 302
        assert (await client.get("/root/stable/thing/1.0", headers=PIPS)).status_code != 302

    async def test_rights_are_checked_first(self, reading: Reading, secret: Published, engine: AsyncEngine) -> None:
        """A stranger is not sent to the page of a private index, nor told what it has."""
        token = await make_token(engine)
        await reading.news()
        async with reading.client() as stranger:
            for path in ("/root/secret/thing/", "/root/secret/+simple/thing"):
                assert (await stranger.get(path, headers=PIPS)).status_code == 401
        async with reading.client(token=token) as reader:
            assert (await reader.get("/root/secret/thing/", headers=PIPS)).status_code == 302
            page = await reader.get("/root/secret/+simple/thing", headers=PIPS)
            assert (page.status_code, page.headers["cache-control"]) == (200, "private, max-age=0, must-revalidate")

    @pytest.mark.parametrize("headers", [UV, PIPS, SCRIPT | {"accept": JSON}, UV | {"accept": "text/html"}])
    async def test_without_a_slash(self, client: httpx2.AsyncClient, headers: dict[str, str]) -> None:
        """Installers and readers of JSON get the page at once, with links that lead to the files from there."""
        for _ in range(2):
            page = await client.get("/root/stable/+simple/thing", headers=headers)
            assert page.status_code == 200
            link = _first_link(page)
            assert link.startswith("../+f/")
            assert (await client.get(joined(page, link))).content == b"wheel of 1.0"
        assert page.headers["etag"] != (await client.get(PAGE, headers=headers)).headers["etag"]
        same = await client.get("/root/stable/+simple/thing", headers=headers | {"if-none-match": page.headers["etag"]})
        assert same.status_code == 304

    async def test_without_a_slash_for_others(self, client: httpx2.AsyncClient) -> None:
        """Everybody else is sent to the one address, and so is an installer that writes the name in another way."""
        for headers in (SCRIPT, BROWSER):
            answer = await client.get("/root/stable/+simple/thing", headers=headers)
            assert (answer.status_code, answer.headers["location"]) == (301, "thing/")
        assert (await client.get("/root/stable/+simple/Thing", headers=UV)).status_code == 301
        assert (await client.get("/root/stable/+simple/unknown", headers=UV)).status_code == 404

    async def test_absolute_links(self, client: httpx2.AsyncClient, reading: Reading, stable: Published) -> None:
        """On demand links are absolute; the address comes from the request, and no other client sees these pages."""
        for headers in (UV, BROWSER):
            plain = await client.get(PAGE, headers=headers)
            page = await client.get(PAGE, headers=headers | {"x-devpi-absolute-urls": ""})
            assert _first_link(page).startswith("http://index.test/root/stable/+f/")
            assert (await client.get(_first_link(page))).content == b"wheel of 1.0"
            elsewhere = headers | {"x-devpi-absolute-urls": "1", "host": "other.test:8080"}
            other = await client.get(PAGE, headers=elsewhere)
            assert _first_link(other).startswith("http://other.test:8080/root/stable/+f/")
            assert (page.headers["cache-control"], other.headers["cache-control"]) == ("no-store", "no-store")
            assert (await client.get(PAGE, headers=headers)).content == plain.content
        await stable.publish(await stable.upload("thing-2.0.tar.gz"))
        await reading.news()
        assert "thing-2.0.tar.gz" in (await client.get(PAGE, headers=UV | {"x-devpi-absolute-urls": ""})).text
        missing = await client.get("/root/stable/+simple/unknown/", headers={"x-devpi-absolute-urls": ""})
        assert missing.status_code == 404

    async def test_absolute_pages_are_kept_nowhere(self, client: httpx2.AsyncClient, reading: Reading) -> None:
        """However many hosts a client names, nothing of their pages stays in memory, here or in a cache in between."""
        await client.get(PAGE, headers=UV)
        documents = [client.get(PAGE, headers=UV | ABSOLUTE | {"host": f"h{number}.test"}) for number in range(50)]
        answers = [await asked for asked in documents]
        kept = [found for found in gc.get_objects() if isinstance(found, Document) and b"h0.test" in found.body]
        assert kept == []
        assert {answer.status_code for answer in answers} == {200}
        assert {answer.headers["cache-control"] for answer in answers} == {"no-store"}
        assert {answer.headers["vary"] for answer in answers} == {"Accept, Accept-Encoding, X-Devpi-Absolute-Urls"}
        assert (await client.head(PAGE, headers=UV | ABSOLUTE)).headers["cache-control"] == "no-store"

    async def test_absolute_pages_of_a_private_index(
        self, reading: Reading, secret: Published, engine: AsyncEngine
    ) -> None:
        """They are for those who may read it, and are kept nowhere either."""
        token = await make_token(engine)
        await reading.news()
        async with reading.client() as stranger:
            assert (await stranger.get("/root/secret/+simple/thing/", headers=UV | ABSOLUTE)).status_code == 401
        async with reading.client(token=token) as reader:
            page = await reader.get("/root/secret/+simple/thing/", headers=UV | ABSOLUTE)
        assert (page.status_code, page.headers["cache-control"]) == (200, "no-store")
        assert page.headers["vary"] == "Accept, Accept-Encoding, Authorization, X-Devpi-Absolute-Urls"

    @pytest.mark.parametrize("host", ['a"b\\<i>', "a b", "", "a@b", "a/b", "[::1", "a:99999", "a:b", "a" * 300, "ä"])
    async def test_a_host_that_is_none(self, client: httpx2.AsyncClient, host: str) -> None:
        """What cannot be a host is refused before a page or a document is written with it."""
        headers = [(b"x-devpi-absolute-urls", b""), (b"host", host.encode("latin-1"))]
        answer = await client.get(PAGE, headers=headers)
        assert (answer.status_code, answer.text) == (400, "The Host header of the request names no host.\n")
        document = await client.get("/root/stable/thing", headers=[(b"accept", b"application/json"), *headers])
        assert (document.status_code, document.json()["message"]) == (400, answer.text.strip())

    @pytest.mark.parametrize("host", ["index.test", "INDEX.test:8080", "[::1]:3141", "10.0.0.1", "my_host"])
    async def test_a_host_that_is_one(self, client: httpx2.AsyncClient, host: str) -> None:
        """Names, addresses and ports are taken as they are."""
        page = await client.get(PAGE, headers=UV | ABSOLUTE | {"host": host})
        assert _first_link(page).startswith(f"http://{host}/root/stable/+f/")


def _first_link(page: httpx2.Response) -> str:
    if "json" in page.headers["content-type"]:
        return str(page.json()["files"][0]["url"])
    return page.text.partition('<a href="')[2].partition("#")[0]
