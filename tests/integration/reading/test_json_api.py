"""The JSON API as mirrors, bots and badges read it."""

from __future__ import annotations

import asyncio

import httpx2
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.digest import sha256_of
from tests.integration.reading.constants import METADATA, WHEEL
from tests.support.factories import make_default, make_token, now
from tests.support.published import Published
from tests.support.reading import Reading, counted_queries

PROJECT = "/root/stable/pypi/thing/json"
FIELDS = {
    "name": "Thing",
    "summary": "Does things",
    "description": "# Thing\n",
    "description_content_type": "text/markdown",
    "keywords": ["one", "two"],
    "classifiers": ["Typing :: Typed"],
    "platforms": ["any"],
    "requires_dist": ["six>=1"],
    "requires_python": ">=3.9",
    "license_expression": "MIT",
    "license_files": ["LICENSE"],
    "project_urls": {"Source": "https://code.test/thing"},
    "dynamic": ["version"],
}


class TestDocuments:
    """Contract python-index section 1.9, items 2, 3 and 5."""

    async def test_project(self, client: httpx2.AsyncClient, stable: Published) -> None:
        """The project's document has the latest release's metadata and files, and the files of all releases."""
        await stable.describe(stable.visible[WHEEL], **FIELDS)
        answer = await client.get(PROJECT)
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-pypi-last-serial"] == "1"
        assert answer.headers["cache-control"] == "public, max-age=0, must-revalidate"
        assert answer.headers["access-control-allow-origin"] == "*"
        document = answer.json()
        assert set(document) == {"info", "last_serial", "releases", "urls", "vulnerabilities", "ownership"}
        assert (document["last_serial"], document["vulnerabilities"]) == (1, [])
        assert document["ownership"] == {"roles": [{"role": "Owner", "user": "root"}], "organization": None}
        assert document["releases"] == {"1.0": document["urls"]}
        info = document["info"]
        assert info.items() >= {
            "name": "thing", "version": "1.0", "summary": "Does things", "keywords": "one,two", "platform": "any",
            "requires_python": ">=3.9", "license_expression": "MIT", "license": None, "author": None,
            "home_page": None, "docs_url": None, "yanked": False, "yanked_reason": None,
        }.items()  # fmt: skip
        for key in ("description", "classifiers", "requires_dist", "license_files", "project_urls", "dynamic"):
            assert info[key] == FIELDS[key], key
        assert info["downloads"] == {"last_day": -1, "last_month": -1, "last_week": -1}
        assert info["release_url"].endswith("/root/stable/pypi/thing/1.0/json")

    async def test_file(self, client: httpx2.AsyncClient, stable: Published) -> None:
        """A file has every digest and both spellings of its time, and its absolute URL leads to its bytes."""
        made = stable.visible[WHEEL]
        [file] = (await client.get(PROJECT)).json()["urls"]
        assert file["digests"]["sha256"] == made.sha256
        assert file["digests"]["md5"] == file["md5_digest"]
        assert len(file["digests"]["blake2b_256"]) == 64
        assert (file["packagetype"], file["python_version"], file["size"]) == ("bdist_wheel", "py3", 12)
        assert (file["has_sig"], file["comment_text"], file["downloads"]) == (False, "", -1)
        assert file["upload_time_iso_8601"] == f"{file['upload_time']}.000000Z"
        assert (file["yanked"], file["yanked_reason"], file["requires_python"]) == (False, None, ">=3.9")
        assert file["core-metadata"] == {"sha256": sha256_of(METADATA)}
        url = httpx2.URL(file["url"])
        assert url.is_absolute_url
        assert (await client.get(url.path)).content == b"wheel of 1.0"

    async def test_latest(self, client: httpx2.AsyncClient, reading: Reading, stable: Published) -> None:
        """Latest is the newest final release that is not yanked, else the newest one not yanked, else the newest."""

        async def latest() -> str:
            await reading.news()
            return str((await client.get(PROJECT)).json()["info"]["version"])

        sdists = [await stable.upload(f"thing-{version}.tar.gz") for version in ("1.10", "1.9", "2.0rc1", "3.0.dev1")]
        await stable.publish(*sdists)
        assert await latest() == "1.10"
        stable.yanked |= {"thing-1.10.tar.gz": "broken", "thing-1.9.tar.gz": ""}
        await stable.publish(again=sdists)
        assert await latest() == "1.0"
        stable.yanked[WHEEL] = ""
        await stable.publish(again=sdists)
        assert await latest() == "3.0.dev1"
        stable.yanked |= {"thing-3.0.dev1.tar.gz": "", "thing-2.0rc1.tar.gz": "all of it"}
        await stable.publish(again=sdists)
        assert await latest() == "3.0.dev1"
        one = (await client.get("/root/stable/pypi/thing/1.10/json")).json()
        assert (one["info"]["yanked"], one["info"]["yanked_reason"]) == (True, "broken")
        assert (one["urls"][0]["yanked"], one["urls"][0]["yanked_reason"]) == (True, "broken")
        assert one["urls"][0]["python_version"] == "source"

    async def test_release(self, client: httpx2.AsyncClient, reading: Reading, stable: Published) -> None:
        """A release's document has its own metadata and files alone; an equal version means the same one."""
        sdist = await stable.upload("thing-2.0.tar.gz")
        await stable.describe(sdist, summary="Second")
        await stable.publish(sdist)
        await reading.news()
        document = (await client.get("/root/stable/pypi/thing/1.0/json")).json()
        assert "releases" not in document
        assert [file["filename"] for file in document["urls"]] == [WHEEL]
        assert (document["info"]["version"], document["info"]["summary"]) == ("1.0", None)
        other = (await client.get("/root/stable/pypi/thing/2.0.0/json")).json()
        assert (other["info"]["version"], other["info"]["summary"]) == ("2.0", "Second")
        whole = (await client.get(PROJECT)).json()
        assert {version: [file["filename"] for file in files] for version, files in whole["releases"].items()} == {
            "1.0": [WHEEL],
            "2.0": ["thing-2.0.tar.gz"],
        }

    async def test_local_version(self, client: httpx2.AsyncClient, reading: Reading, stable: Published) -> None:
        """A version with a `+` is found in both spellings, and so is the file at its URL."""
        local = await stable.upload("thing-4.0+local-py3-none-any.whl", b"local")
        await stable.publish(local)
        await reading.news()
        for version in ("4.0+local", "4.0%2Blocal"):
            [file] = (await client.get(f"/root/stable/pypi/thing/{version}/json")).json()["urls"]
            assert (await client.get(httpx2.URL(file["url"]).raw_path.decode())).content == b"local"


class TestAddresses:
    """Contract python-index section 1.9.1."""

    async def test_aliases(self, client: httpx2.AsyncClient) -> None:
        """A slash may follow, and `/pypi/` is the default index's."""
        one = await client.get(PROJECT)
        for path in (f"{PROJECT}/", "/pypi/thing/json", "/pypi/thing/json/", "/legacy/pypi/thing/json"):
            assert (await client.get(path)).content == one.content, path
        assert (await client.get("/pypi/thing/1.0/json/")).json()["urls"] == one.json()["urls"]

    @pytest.mark.parametrize(
        ("path", "there"),
        [
            ("/root/stable/pypi/Thing/json", "/root/stable/pypi/thing/json"),
            ("/pypi/th_.ing/json/?x=1", "/pypi/th-ing/json?x=1"),
            ("/pypi/thing/v1.00/json", "/pypi/thing/1.0/json"),
            ("/pypi/Thing/1.0-LOCAL/json/", None),
            ("/pypi/Thing/1.0%2BLOCAL/json/", "/pypi/thing/1.0%2Blocal/json"),
            ("/pypi/thing/1!02/json", "/pypi/thing/1%212/json"),
        ],
    )
    async def test_one_canonical_address(self, client: httpx2.AsyncClient, path: str, there: str | None) -> None:
        """Other spellings of name or version are answered 301 to the normalised one; what is no version is nothing."""
        answer = await client.get(path)
        assert answer.status_code == (404 if there is None else 301)
        if there is not None:
            assert str(httpx2.URL(f"http://i.test{path}").join(answer.headers["location"])) == f"http://i.test{there}"

    @pytest.mark.parametrize(
        "rest",
        [
            "thing/9.9/json",
            "other/json",
            "thing/x/json",
            "thing/1.0/json/x",
            f"thing/{'1' * 999}/json",
        ],
    )
    async def test_nothing_there(self, client: httpx2.AsyncClient, rest: str) -> None:
        """What does not exist is 404 with words, cold and from memory, and no cache keeps that."""
        for _ in range(2):
            answer = await client.get(f"/root/stable/pypi/{rest}")
            assert answer.status_code == 404
            assert "There is no" in answer.text
            assert answer.headers["cache-control"] == "no-store"

    async def test_hidden_projects(self, client: httpx2.AsyncClient, reading: Reading, stable: Published) -> None:
        """A quarantined project and one without files are 404, and back when they are back."""
        wheel = stable.visible[WHEEL]
        paths = (PROJECT, "/root/stable/pypi/thing/1.0/json")
        for status, expected in (("quarantined", 404), ("archived", 200), ("active", 200)):
            stable.status = status
            await stable.publish(again=[wheel])
            await reading.news()
            assert {(await client.get(path)).status_code for path in paths} == {expected}, status
        await stable.publish(hidden=[wheel])
        await reading.news()
        assert {(await client.get(path)).status_code for path in paths} == {404}


class TestFreshness:
    """Architecture section 9."""

    async def test_warm_reads_make_no_query(
        self, client: httpx2.AsyncClient, reading: Reading, stable: Published, engine: AsyncEngine
    ) -> None:
        """Memory answers until a publication touches the project; then what is new shows at once."""
        paths = (PROJECT, "/root/stable/pypi/thing/1.0/json", "/pypi/thing/9.9/json")
        cold = [(await client.get(path)).content for path in paths]
        with counted_queries(engine) as queries:
            assert [(await client.get(path)).content for path in paths] == cold
        assert queries == []
        await stable.publish(await stable.upload("other-1.0.tar.gz"))
        await reading.news()
        with counted_queries(engine) as queries:
            assert (await client.get(PROJECT)).content == cold[0]
        assert queries == []
        await stable.publish(await stable.upload("thing-9.9.tar.gz"))
        await reading.news()
        document = await client.get(PROJECT)
        assert (document.json()["info"]["version"], document.headers["x-pypi-last-serial"]) == ("9.9", "3")
        assert (await client.get(paths[2])).status_code == 200
        assert (await client.get(paths[1])).json()["last_serial"] == 3

    async def test_crowd_makes_it_once(self, reading: Reading, stable: Published, engine: AsyncEngine) -> None:
        """A hundred clients at once cost the page, the files, the metadata and the advisories one query each."""
        await reading.news()
        async with reading.client() as client:
            with counted_queries(engine) as queries:
                answers = await asyncio.gather(*(client.get(PROJECT) for _ in range(100)))
        assert len({answer.content for answer in answers}) == 1
        assert len(queries) == 4

    async def test_nothing_shows_before_its_publication(
        self, client: httpx2.AsyncClient, reading: Reading, stable: Published
    ) -> None:
        """An upload and a mark that no publication shows yet are not shown here either."""
        await stable.upload("thing-2.0.tar.gz")
        await stable.mark(stable.visible[WHEEL], yanked_at=now(), yanked_by="root", yanked_reason="later")
        document = (await client.get(PROJECT)).json()
        assert list(document["releases"]) == ["1.0"]
        assert document["urls"][0]["yanked"] is False

    async def test_conditional_and_compressed(self, client: httpx2.AsyncClient) -> None:
        """A document that the client has is 304; HEAD says what GET says; codings have tags of their own."""
        got = await client.get(PROJECT)
        for headers in ({"if-none-match": got.headers["etag"]}, {"if-none-match": "*"}):
            again = await client.get(PROJECT, headers=headers)
            assert (again.status_code, again.content) == (304, b"")
            assert again.headers["x-pypi-last-serial"] == "1"
        head = await client.head(PROJECT)
        assert (dict(head.headers), head.content) == (dict(got.headers), b"")
        packed = await client.get(PROJECT, headers={"accept-encoding": "gzip", "accept": "image/png"})
        assert packed.headers["content-encoding"] == "gzip"
        assert packed.json() == got.json()
        assert packed.headers["etag"] != got.headers["etag"]


class TestRights:
    """Architecture section 11.5."""

    async def test_private_index(self, reading: Reading, secret: Published, engine: AsyncEngine) -> None:
        """Of a private index only its readers get documents, and no cache of others keeps them."""
        token = await make_token(engine)
        await make_default(engine, secret.index)
        await reading.news()
        path = "/root/secret/pypi/thing/json"
        async with reading.client(token=token) as client:
            for _ in range(2):
                answer = await client.get(path)
                assert answer.status_code == 200
                assert answer.headers["cache-control"].startswith("private")
                assert "Authorization" in answer.headers["vary"]
            assert (await client.get("/pypi/thing/json")).status_code == 404
        async with reading.client() as stranger:
            for there in (path, "/root/secret/pypi/nothing/json", "/root/secret/pypi/Thing/json"):
                assert (await stranger.get(there)).status_code == 401
