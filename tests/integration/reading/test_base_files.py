"""Indexes with bases: their files and documents through one merged view. Contract devpi section 15."""

from __future__ import annotations

import httpx2
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.integration.reading.constants import JSON, LARGE, METADATA, WHEEL
from tests.integration.reading.family import PAGE, SDIST, Family, listed
from tests.support.factories import make_token, now


class TestFiles:
    """Whose bytes are served at an address below an index with bases."""

    async def test_inherited_files(self, family: Family, top: httpx2.AsyncClient, engine: AsyncEngine) -> None:
        """A base's file is served below the index that was asked: whole, in parts, HEAD, 304 and its metadata."""
        file = await family.publish("a/low", WHEEL, b"far away", METADATA)
        url = f"/a/top/+f/{file.path}"
        whole = await top.get(url)
        assert (whole.content, whole.headers["etag"]) == (b"far away", f'"{file.sha256}"')
        assert whole.headers["cache-control"].startswith("public")
        assert (await top.get(f"{url}.metadata")).content == METADATA
        part = await top.get(url, headers={"range": "bytes=4-"})
        assert (part.status_code, part.content) == (206, b"away")
        assert (await top.head(url)).headers["content-length"] == "8"
        assert (await top.get(url, headers={"if-none-match": whole.headers["etag"]})).status_code == 304
        assert (await top.get(f"/a/top/+tuf/files/{file.sha256[:2]}/{file.sha256[2:]}/{WHEEL}")).status_code == 404

    async def test_large_files(self, family: Family, engine: AsyncEngine) -> None:
        """A large file of a private base is streamed, whole and in parts."""
        await family.make("b/secret", public=False)
        await family.make("a/shut", "b/secret", public=False)
        file = await family.publish("b/secret", WHEEL, LARGE)
        url = f"/a/shut/+f/{file.path}"
        token = await make_token(engine, "a")
        await family.reading.news()
        async with family.reading.client(token=token) as reader:
            assert (await reader.get(url)).content == LARGE
            part = await reader.get(url, headers={"range": "bytes=-1000"})
        assert (part.status_code, part.content) == (206, LARGE[-1000:])

    async def test_other_bytes_of_a_nearer_index(self, family: Family, top: httpx2.AsyncClient) -> None:
        """Under a name that a nearer index shows with other bytes, a base's file is not served; memory forgets it."""
        far = await family.publish("a/low", WHEEL, b"far")
        assert (await top.get(f"/a/top/+f/{far.path}")).content == b"far"
        near = await family.publish("a/mid", WHEEL, b"near")
        assert (await top.get(f"/a/top/+f/{far.path}")).status_code == 404
        assert (await top.get(f"/a/top/+f/{near.path}")).content == b"near"
        assert (await top.get(f"/a/low/+f/{far.path}")).content == b"far"
        await family.hide("a/mid", near, removed_at=now())
        assert (await top.get(f"/a/top/+f/{far.path}")).content == b"far"
        assert (await top.get(f"/a/top/+f/{near.path}")).status_code == 404, "it never was a/top's own"

    async def test_removed_from_the_index_itself(self, family: Family, top: httpx2.AsyncClient) -> None:
        """What was removed is 410; what a base still shows under the same address is a file of the view again."""
        own = await family.publish("a/top", WHEEL, b"same")
        await family.hide("a/top", own, removed_at=now())
        assert (await top.get(f"/a/top/+f/{own.path}")).status_code == 410
        assert await listed(top) == []
        await family.publish("a/low", WHEEL, b"same")
        assert await listed(top) == [WHEEL]
        assert (await top.get(f"/a/top/+f/{own.path}")).content == b"same"

    async def test_replaced_in_the_index_itself(self, family: Family, top: httpx2.AsyncClient) -> None:
        """The old bytes of a replaced file stay 410, also when a base has exactly these."""
        old = await family.publish("a/top", WHEEL, b"old")
        await family.publish("a/low", WHEEL, b"old")
        await family.hide("a/top", old, removed_at=now())
        await family.publish("a/top", WHEEL, b"new")
        assert (await top.get(f"/a/top/+f/{old.path}")).status_code == 410
        assert (await top.get(f"/a/low/+f/{old.path}")).content == b"old"

    async def test_held_by_the_index_itself(self, family: Family, top: httpx2.AsyncClient) -> None:
        """A name that the index holds for review is on no page and served from nowhere, until it is let go."""
        far = await family.publish("a/low", WHEEL, b"far")
        own = await family.publish("a/top", WHEEL, b"own")
        await family.hide("a/top", own, held_at=now(), held_reason="suspicious")
        answer = await top.get(f"/a/top/+f/{own.path}")
        assert (answer.status_code, "suspicious" in answer.text) == (403, True)
        assert (await top.get(f"/a/top/+f/{far.path}")).status_code == 404
        assert await listed(top) == []
        await family.indexes["a/top"].mark(own, held_at=None, held_reason=None)
        await family.indexes["a/top"].publish(own)
        await family.reading.news()
        assert (await top.get(f"/a/top/+f/{own.path}")).content == b"own"

    async def test_a_pending_file_holds_no_name(self, family: Family, top: httpx2.AsyncClient) -> None:
        """A file that was uploaded and held before it ever showed hides nothing of a base."""
        far = await family.publish("a/low", WHEEL, b"far")
        pending = await family.indexes["a/top"].upload(WHEEL, b"pending")
        await family.indexes["a/top"].mark(pending, held_at=now(), held_reason="review")
        assert await listed(top) == [WHEEL]
        assert (await top.get(f"/a/top/+f/{far.path}")).content == b"far"
        assert (await top.get(f"/a/top/+f/{pending.path}")).status_code == 403

    async def test_held_in_devpis_documents(self, family: Family, top: httpx2.AsyncClient) -> None:
        """A name that the index itself holds is in no document either, whoever has it; page and document agree."""
        await family.publish("a/low", WHEEL, b"far")
        await family.publish("a/low", SDIST, b"old")
        own = await family.publish("a/top", WHEEL, b"near")
        documents = "/a/top/thing"
        for _ in range(2):
            assert await _documented(top, documents) == [("a/low", SDIST), ("a/low", WHEEL), ("a/top", WHEEL)]
            await family.hide("a/top", own, held_at=now(), held_reason="suspicious")
            assert await _documented(top, documents) == [("a/low", SDIST)]
            assert await listed(top) == [SDIST]
            assert (await top.get(f"{documents}/1.0", headers={"accept": "application/json"})).status_code == 404
            await family.indexes["a/top"].mark(own, held_at=None, held_reason=None)
            await family.indexes["a/top"].publish(own)
            await family.reading.news()

    async def test_held_by_a_base(self, family: Family, top: httpx2.AsyncClient) -> None:
        """What a base holds does not show, and is not there: holds are told by the index that was asked alone."""
        file = await family.publish("a/mid", WHEEL, b"near")
        assert (await top.get(f"/a/top/+f/{file.path}")).status_code == 200
        await family.hide("a/mid", file, held_at=now(), held_reason="suspicious")
        assert await listed(top) == []
        assert (await top.get(f"/a/top/+f/{file.path}")).status_code == 404
        assert (await top.get(f"/a/mid/+f/{file.path}")).status_code == 403

    async def test_quarantine(self, family: Family, top: httpx2.AsyncClient) -> None:
        """Where a nearer index has a project in quarantine, nothing of it comes from behind that index."""
        far = await family.publish("a/low", WHEEL, b"far")
        near = await family.publish("a/mid", SDIST, b"near")
        own = await family.publish("a/top", "thing-2.0.tar.gz", b"own")
        await family.quarantine("a/mid", "malware")
        assert await listed(top) == ["thing-2.0.tar.gz"]
        assert [(await top.get(f"/a/top/+f/{file.path}")).status_code for file in (far, near, own)] == [404, 404, 200]
        await family.quarantine("a/top", "also here")
        page = (await top.get(PAGE, headers={"accept": JSON})).json()
        assert (page["files"], page["project-status"]["status"]) == ([], "quarantined")
        assert "thing" not in (await top.get("/a/top/+simple/")).text
        refused = [await top.get(f"/a/top/+f/{file.path}") for file in (far, own)]
        assert [(answer.status_code, "also here" in answer.text) for answer in refused] == [(403, True)] * 2
        await family.release("a/top", own)
        await family.release("a/mid", near)
        assert await listed(top) == ["thing-2.0.tar.gz", SDIST, WHEEL]
        assert (await top.get(f"/a/top/+f/{far.path}")).content == b"far"


async def _documented(client: httpx2.AsyncClient, path: str) -> list[tuple[str, str]]:
    """Return index and name of each file that devpi's document of a project has, shadowed ones included."""
    result = (await client.get(path, headers={"accept": "application/json"})).json()["result"]
    shown = [one for version in result.values() for one in (version, *version.get("+shadowing", ()))]
    hrefs = [link["href"] for one in shown for link in one.get("+links", ())]
    return sorted(("/".join(href.split("/")[3:5]), href.rpartition("/")[2]) for href in hrefs)
