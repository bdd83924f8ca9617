"""Indexes with bases: pages and lists through one merged view. Contract devpi section 15."""

from __future__ import annotations

import httpx2
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.catalogue.tables import Page, Project
from shared.objects.interface import ObjectStores
from tests.integration.reading.constants import JSON, METADATA, PIP, V1_HTML, WHEEL
from tests.integration.reading.family import PAGE, SDIST, Family, listed
from tests.support.factories import MadeFile, make_project, make_token, now
from tests.support.reading import counted_queries


class TestPages:
    """What a merged page shows."""

    async def test_nearest_first_with_its_origin(self, family: Family, top: httpx2.AsyncClient) -> None:
        """Each name once, the nearest index wins, versions are united, links stay under the index that was asked."""
        await family.publish("a/low", WHEEL, b"far")
        await family.publish("a/low", SDIST, b"old")
        await family.publish("a/top", "thing-2.0.tar.gz", b"new")
        near = await family.publish("a/mid", WHEEL, b"near")
        page = (await top.get(PAGE, headers={"accept": PIP})).json()
        assert [(file["filename"], file.get("_origin")) for file in page["files"]] == [
            ("thing-2.0.tar.gz", None), (WHEEL, "a/mid"), (SDIST, "a/low"),
        ]  # fmt: skip
        assert page["versions"] == ["2.0", "1.0", "0.9"]
        assert page["files"][1]["hashes"] == {"sha256": near.sha256}
        assert {file["url"][:9] for file in page["files"]} == {"../../+f/"}
        html = await top.get(PAGE, headers={"accept": "text/html"})
        assert html.text.count("<a href=") == 3
        assert f"{near.sha256[3:16]}/{WHEEL}#sha256={near.sha256}" in html.text

    async def test_headers_and_codings(self, family: Family, top: httpx2.AsyncClient) -> None:
        """A merged page has the headers of any other: strong tags, a serial that is the members' sum, every coding."""
        await family.publish("a/low", WHEEL, b"far")
        await family.publish("a/low", SDIST, b"old")
        await family.publish("a/mid", "thing-2.0.tar.gz", b"new")
        for coding in ("identity", "gzip", "br", "zstd"):
            for accept in (JSON, V1_HTML, "text/html"):
                headers = {"accept": accept, "accept-encoding": coding}
                answer = await top.get(PAGE, headers=headers)
                assert answer.headers["etag"].startswith('"')
                assert answer.headers["x-pypi-last-serial"] == "3"
                assert answer.headers["cache-control"] == "public, max-age=0, must-revalidate"
                same = await top.get(PAGE, headers=headers | {"if-none-match": answer.headers["etag"]})
                assert (same.status_code, same.content) == (304, b"")
        assert (await top.head(PAGE)).headers["content-length"] == str(len((await top.get(PAGE)).content))

    async def test_serials_never_fall_with_a_removal(
        self, family: Family, top: httpx2.AsyncClient, engine: AsyncEngine
    ) -> None:
        """A base's project that is removed, and even every member's, leaves the page a larger serial than before."""

        async def serials() -> list[int]:
            page = await top.get(PAGE, headers={"accept": JSON})
            listing = (await top.get("/a/top/+simple/", headers={"accept": JSON})).json()
            listed = [project["_last-serial"] for project in listing["projects"]]
            if page.status_code == 200:
                assert page.headers["x-pypi-last-serial"] == str(page.json()["meta"]["_last-serial"])
            return [int(page.headers.get("x-pypi-last-serial", 0)), listing["meta"]["_last-serial"], *listed]

        async def remove(name: str, file: MadeFile) -> None:
            """Remove the whole project, which is published as gone."""
            await family.hide(name, file, removed_at=now())
            index = family.indexes[name].index.id
            newest = (Page.index_id == index, Page.serial == family.indexes[name].serial)
            async with engine.begin() as connection:
                await connection.execute(update(Page).where(*newest).values(gone=True))
                await connection.execute(update(Project).where(Project.index_id == index).values(removed_at=now()))

        low, mid = await family.publish("a/low", WHEEL, b"far"), await family.publish("a/mid", SDIST, b"near")
        assert await serials() == [2, 2, 2]
        await remove("a/low", low)
        assert await serials() == [3, 3, 3]
        await remove("a/mid", mid)
        async with engine.begin() as connection:
            # Registered again, without files.
            await connection.execute(update(Project).values(removed_at=None))
        assert await serials() == [4, 4]
        plain = await top.get("/a/low/+simple/thing/", headers={"accept": JSON})
        assert plain.json()["meta"]["_last-serial"] == 2

    async def test_alone_it_is_the_signed_document(self, family: Family, top: httpx2.AsyncClient) -> None:
        """A project that no base has is answered as it was signed."""
        await family.publish("a/top", WHEEL, b"own")
        answer = await top.get(PAGE, headers={"accept": JSON})
        assert answer.content == family.indexes["a/top"].pages["thing"]

    async def test_names_that_nobody_has(self, family: Family, top: httpx2.AsyncClient) -> None:
        """404 twice, also from memory, and found as soon as a base publishes it."""
        for _ in range(2):
            answer = await top.get(PAGE)
            assert (answer.status_code, answer.headers["cache-control"]) == (404, "no-store")
        await family.publish("a/low", WHEEL, b"far")
        assert await listed(top) == [WHEEL]

    async def test_a_name_that_is_registered_only(
        self, family: Family, top: httpx2.AsyncClient, engine: AsyncEngine
    ) -> None:
        """A project without files has an empty page, merged or not: nobody is to look for the name elsewhere."""
        await make_project(engine, family.indexes["a/mid"].index, "Thing")
        for path in (PAGE, "/a/mid/+simple/thing/"):
            answer = await top.get(path, headers={"accept": JSON})
            assert (answer.status_code, answer.json()["files"], answer.json()["versions"]) == (200, [], [])
        await make_project(engine, family.indexes["a/low"].index, "Other")
        assert (await top.get("/a/low/+simple/other/")).status_code == 200

    async def test_the_list_is_the_union(self, family: Family, top: httpx2.AsyncClient) -> None:
        """Every project with a page of files is listed once, by name; changes of any member show at once."""
        await family.publish("a/low", WHEEL, b"far")
        await family.publish("a/mid", WHEEL, b"near")
        await family.publish("a/mid", "alpha-1.0.tar.gz", b"alpha")
        listing = await top.get("/a/top/+simple/", headers={"accept": JSON})
        assert listing.json() == {
            "meta": {"api-version": "1.4", "_last-serial": 3},
            "projects": [{"name": "alpha", "_last-serial": 2}, {"name": "thing", "_last-serial": 2}],
        }
        zulu = await family.publish("a/low", "zulu-1.0.tar.gz", b"zulu")
        names = (await top.get("/a/top/+simple/", headers={"accept": JSON})).json()["projects"]
        assert [project["name"] for project in names] == ["alpha", "thing", "zulu"]
        await family.hide("a/low", zulu, removed_at=now())
        assert "zulu" not in (await top.get("/a/top/+simple/")).text

    async def test_json_api(self, family: Family, top: httpx2.AsyncClient) -> None:
        """The JSON API lists what the page lists, and describes a release as the nearest index that shows it does."""
        far = await family.publish("a/low", WHEEL, b"far")
        await family.publish("a/low", SDIST, b"old")
        near = await family.publish("a/mid", "thing-1.0.tar.gz", b"near")
        await family.indexes["a/low"].describe(far, summary="far away")
        await family.indexes["a/mid"].describe(near, summary="near by")
        document = (await top.get("/a/top/pypi/thing/json")).json()
        assert document["info"]["summary"] == "near by"
        assert {version: len(files) for version, files in document["releases"].items()} == {"1.0": 2, "0.9": 1}
        assert {file["url"].rpartition("/+f/")[0] for file in document["urls"]} == {"http://127.0.0.1:3141/a/top"}
        assert document["ownership"]["roles"] == [{"role": "Owner", "user": "a"}]
        older = (await top.get("/a/top/pypi/thing/0.9/json")).json()
        assert [file["filename"] for file in older["urls"]] == [SDIST]
        assert (await top.get("/a/top/pypi/thing/3.0/json")).status_code == 404
        await family.publish("a/low", "thing-3.0.tar.gz", b"newest")
        assert (await top.get("/a/top/pypi/thing/3.0/json")).status_code == 200


class TestMirrors:
    """Mirrors without an upstream: contract devpi section 14; the guard of python-index section 5.3."""

    async def test_asked_directly(self, family: Family, top: httpx2.AsyncClient, engine: AsyncEngine) -> None:
        """There is nothing in it while no upstream is set."""
        for path in ("/root/pypi/+simple/thing/", "/root/pypi/pypi/thing/json"):
            for _ in range(2):
                answer = await top.get(path)
                assert (answer.status_code, answer.headers["cache-control"]) == (404, "no-store")
                assert "in index root/pypi." in answer.text
        listing = await top.get("/root/pypi/+simple/", headers={"accept": JSON})
        assert (listing.status_code, listing.json()["projects"]) == (200, [])
        answer = await top.get(f"/root/pypi/+f/012/3456789abcdef/{WHEEL}")
        assert (answer.status_code, "has no file" in answer.text) == (404, True)

    async def test_asked_through_a_base(self, family: Family, top: httpx2.AsyncClient) -> None:
        """A mirror that cannot be reached is skipped: the page has what the others have."""
        await family.publish("a/low", WHEEL, b"far")
        assert await listed(top) == [WHEEL]
        assert (await top.get("/a/top/+simple/unknown/")).status_code == 404


class TestFreshness:
    """Architecture sections 5 (items 1 and 7), 9 and 11.5."""

    async def test_warm_reads_make_no_query(self, family: Family, top: httpx2.AsyncClient, engine: AsyncEngine) -> None:
        """Pages, lists, the JSON API and files of an index with bases come from memory in every form."""
        file = await family.publish("a/low", WHEEL, b"far", METADATA)
        await family.publish("a/mid", SDIST, b"near")
        paths = [PAGE, "/a/top/+simple/", "/a/top/pypi/thing/json", f"/a/top/+f/{file.path}"]
        paths += [f"/a/top/+f/{file.path}.metadata", "/a/top/+simple/nothing/"]
        for accept in (PIP, JSON, V1_HTML, "text/html"):
            for coding in ("identity", "gzip", "br", "zstd"):
                headers = {"accept": accept, "accept-encoding": coding}
                cold = [await top.get(path, headers=headers) for path in paths]
                with counted_queries(engine) as queries:
                    warm = [await top.get(path, headers=headers) for path in paths]
                assert queries == []
                assert [answer.status_code for answer in warm] == [200] * 5 + [404]
                assert [answer.content for answer in warm] == [answer.content for answer in cold]

    async def test_warm_pages_are_answered_before_the_framework(self, family: Family, top: httpx2.AsyncClient) -> None:
        """The hot reader itself has the merged page, file and list."""
        file = await family.publish("a/low", WHEEL, b"far")
        readers = (*family.reading.index.hot, *family.reading.download.hot)
        for path in (PAGE, "/a/top/+simple/", f"/a/top/+f/{file.path}"):
            await top.get(path, headers={"accept": JSON})
            headers = [(b"accept", JSON.encode())]
            scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": headers}
            assert any(reader(scope) is not None for reader in readers), path

    async def test_a_cold_page_costs_few_queries(
        self, family: Family, top: httpx2.AsyncClient, engine: AsyncEngine
    ) -> None:
        """However many members there are, a page costs two look-ups and a file three at the most."""
        for number in range(20):
            await family.make(f"a/more{number}")
        await family.make("a/top", "a/mid", *(f"a/more{number}" for number in range(20)))
        file = await family.publish("a/low", WHEEL, b"far")
        await family.publish("a/top", SDIST, b"own")
        with counted_queries(engine) as queries:
            assert len(await listed(top)) == 2
        assert len(queries) == 2
        with counted_queries(engine) as queries:
            assert (await top.get(f"/a/top/+f/{file.path}")).status_code == 200
        assert len(queries) == 3

    async def test_other_projects_stay_in_memory(
        self, family: Family, top: httpx2.AsyncClient, engine: AsyncEngine
    ) -> None:
        """A publication of a base costs the merged pages of what it touches, a new token or right none."""
        await family.publish("a/low", WHEEL, b"far")
        await listed(top)
        await family.publish("a/low", "other-1.0.tar.gz", b"other")
        await make_token(engine)
        await family.reading.news()
        with counted_queries(engine) as queries:
            assert await listed(top) == [WHEEL]
        assert queries == []

    async def test_bases_change(self, family: Family, top: httpx2.AsyncClient, engine: AsyncEngine) -> None:
        """Other bases, circles, and a base that is gone show with the next look at the directory."""
        file = await family.publish("a/low", WHEEL, b"far")
        near = await family.publish("a/mid", SDIST, b"near")
        assert await listed(top) == [SDIST, WHEEL]
        assert (await top.get(f"/a/top/+f/{file.path}")).status_code == 200
        await family.make("a/top", "a/mid", "a/none", "a/top")
        await family.make("a/mid", "a/top")
        await family.reading.news()
        assert await listed(top) == [SDIST]
        assert (await top.get(f"/a/top/+f/{file.path}")).status_code == 404
        await family.make("a/top")
        await family.reading.news()
        assert (await top.get(PAGE)).status_code == 404
        assert (await top.get(f"/a/top/+f/{near.path}")).status_code == 404
        await family.make("a/top", "a/low")
        await family.reading.news()
        assert await listed(top) == [WHEEL]

    async def test_a_circle_of_fifty(self, family: Family, top: httpx2.AsyncClient) -> None:
        """Fifty indexes in a circle all show the one file that the last of them has."""
        for number in range(50):
            await family.make(f"a/ring{number}", f"a/ring{(number + 1) % 50}")
        file = await family.publish("a/ring49", WHEEL, b"round")
        for number in (0, 25, 49):
            assert await listed(top, f"/a/ring{number}/+simple/thing/") == [WHEEL]
            assert (await top.get(f"/a/ring{number}/+f/{file.path}")).content == b"round"

    async def test_big_lists_lag(self, family: Family, stores: ObjectStores, engine: AsyncEngine) -> None:
        """Nothing of a merged list is older than what the process knows, unless it is a big one."""
        await family.publish("a/low", WHEEL, b"far")
        async with family.reading.client() as client:
            assert "thing" in (await client.get("/a/top/+simple/")).text
            with counted_queries(engine) as queries:
                await client.get("/a/top/+simple/")
            assert queries == []


class TestRights:
    """Architecture section 11.5: rights are decided on the index that was asked."""

    async def test_a_private_base(self, family: Family, top: httpx2.AsyncClient, engine: AsyncEngine) -> None:
        """Who may read an index reads what its bases show there, and nothing at the bases' own addresses."""
        await family.make("b/secret", public=False)
        file = await family.publish("b/secret", WHEEL, b"secret")
        await family.make("a/shut", "b/secret", public=False)
        token = await make_token(engine, "a")
        await family.reading.news()
        paths = ("+simple/thing/", f"+f/{file.path}", "pypi/thing/json", "thing", "thing/1.0")
        async with family.reading.client(token=token) as reader:
            assert await listed(reader, "/a/shut/+simple/thing/") == [WHEEL]
            assert (await reader.get(f"/a/shut/+f/{file.path}")).content == b"secret"
            assert {(await reader.get(f"/a/shut/{path}")).status_code for path in paths} == {200}
            assert {(await reader.get(f"/b/secret/{path}")).status_code for path in paths} == {403}
        assert {
            (await top.get(f"/{index}/{path}")).status_code for index in ("a/shut", "b/secret") for path in paths
        } == {401}

    async def test_a_private_base_of_a_public_index(self, family: Family, top: httpx2.AsyncClient) -> None:
        """It cannot be set; where an import of a name that was free brought it, nothing of it shows."""
        await family.make("a/top", "b/secret", "a/mid")
        await family.publish("a/mid", SDIST, b"open")
        await family.make("b/secret", public=False)
        file = await family.publish("b/secret", WHEEL, b"secret")
        assert await listed(top) == [SDIST]
        assert (await top.get(f"/a/top/+f/{file.path}")).status_code == 404
        assert (await top.get("/a/top/thing/1.0")).status_code == 404
        assert WHEEL not in (await top.get("/a/top/pypi/thing/json")).text
        await family.publish("b/secret", "hidden-1.0.tar.gz", b"secret")
        assert "hidden" not in (await top.get("/a/top/+simple/")).text

    async def test_a_private_index(self, family: Family, top: httpx2.AsyncClient, engine: AsyncEngine) -> None:
        """What a private index shows of an open base is for its readers, and marked as private."""
        await family.make("b/secret", "a/low", public=False)
        file = await family.publish("a/low", WHEEL, b"open")
        token = await make_token(engine, "b")
        await family.reading.news()
        paths = ("/b/secret/+simple/thing/", f"/b/secret/+f/{file.path}")
        async with family.reading.client(token=token) as reader:
            for path in (*paths, *paths):
                answer = await reader.get(path)
                assert answer.status_code == 200
                assert answer.headers["cache-control"].startswith("private")
        assert {(await top.get(path)).status_code for path in paths} == {401}

    async def test_knowing_a_digest_gives_nothing(self, family: Family, top: httpx2.AsyncClient) -> None:
        """A file of an index that is no base is not served, whatever is asked."""
        await family.make("a/else")
        file = await family.publish("a/else", WHEEL, b"else")
        assert (await top.get(f"/a/top/+f/{file.path}")).status_code == 404
