"""Core metadata and provenance of mirrored files. Contract python-index section 5.1 items 4 and 5."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import delete, update

from countermark.core.names import IndexName
from shared.catalogue.fetches import CHANGED, CHANNEL, announce, what_page
from shared.catalogue.tables import MirrorFault, MirrorFile
from shared.fetching.flight import SMALL
from shared.objects.filesystem import FolderStore
from shared.objects.interface import IfMatch, Key, LocalFile, ObjectInfo, ObjectStores, Put
from tests.integration.reading.constants import LARGE, WHEEL
from tests.integration.reading.mirror_site import NEW
from tests.integration.reading.mirrored_files.site import BIG, ON_FOLDERS, Files, path_of
from tests.support.factories import now
from tests.support.reading import counted_queries
from tests.support.upstream import Fault


class SlowFolder(FolderStore):
    """A folder that takes nothing before `go` is set, and says how often something was looked for in it."""

    def __init__(self, root: Path, *, private: bool) -> None:
        super().__init__(root, private=private)
        self.go = asyncio.Event()
        self.looked = 0

    async def put(
        self, key: Key, body: bytes | LocalFile, condition: Put | IfMatch = Put.ABSENT, *, durable: bool = True
    ) -> ObjectInfo:
        """Store it late."""
        await self.go.wait()
        return await super().put(key, body, condition, durable=durable)

    async def head(self, key: Key) -> ObjectInfo | None:
        """Count."""
        self.looked += 1
        return await super().head(key)


@pytest.fixture
def slow(site: Files, tmp_path: Path) -> SlowFolder:
    """What the site keeps mirrored bytes in from now on."""
    private = SlowFolder(tmp_path / "slow", private=True)
    site.family.stores = ObjectStores(site.family.stores.public, private)
    site.reopen()
    return private


class TestMetadata:
    """Core metadata beside a file."""

    async def test_it_is_fetched_on_demand_and_kept(self, site: Files) -> None:
        """With the digest that the page says; files without it have none."""
        paths = await site.page()
        for _ in range(2):
            answer = await site.get(f"{paths[WHEEL]}.metadata")
            assert (answer.status_code, answer.content) == (200, b"Name: thing")
        assert site.upstream.asked[f"/files/{WHEEL}.metadata"] == 1
        assert site.upstream.asked[f"/files/{WHEEL}"] == 0
        assert (await site.get(f"{paths[BIG]}.metadata")).status_code == 404

    @ON_FOLDERS
    async def test_it_is_answered_before_it_is_stored(self, site: Files, slow: SlowFolder) -> None:
        """A client waits for bytes that are right, and not for the store; one question to the catalogue before, one
        after, and none for where the file is, whose page was answered a moment ago."""
        path = f"{(await site.page())[WHEEL]}.metadata"
        with counted_queries(site.engine) as queries:
            assert (await site.client.get(path)).content == b"Name: thing"
            assert await site.rows() == {}
            slow.go.set()
            await site.settled(1)
        about = [
            query for query in queries if "mirror_page" in query or "INTO mirror_file" in query or "fetch" in query
        ]
        assert len(about) == 2, about
        assert slow.looked == 0
        site.upstream.down = Fault(status=500)
        site.reopen()
        assert (await site.client.get(path)).content == b"Name: thing"

    async def test_what_lies_there_unnoted_is_found_when_it_cannot_be_had(self, site: Files) -> None:
        """A catalogue that was restored from a copy knows less than the store."""
        paths = await site.page()
        for name in (f"{paths[WHEEL]}.metadata", paths[WHEEL]):
            assert (await site.client.get(name)).status_code == 200
        await site.settled(2)
        async with site.engine.begin() as connection:
            await connection.execute(delete(MirrorFile))
        site.upstream.down = Fault(status=500)
        site.reopen()
        assert (await site.client.get(f"{paths[WHEEL]}.metadata")).content == b"Name: thing"
        assert (await site.client.get(paths[WHEEL])).content == b"wheel"
        await site.settled(2)

    @pytest.mark.parametrize(("project", "looks"), [("other", 1), ("thing", 2)])
    async def test_pages_of_others_have_no_look_done_again(self, site: Files, project: str, looks: int) -> None:
        """While an installer's many pages come in, each file is looked for once; with a new page of its own, again."""
        resources, told = site.family.reading.resources, asyncio.Queue[str]()
        resources.listener.subscribe(CHANNEL, told.put)
        listening = asyncio.create_task(resources.listener.run())
        try:
            assert await told.get() == ""
            path = f"{(await site.page())[WHEEL]}.metadata"
            mirror = resources.directory.index(IndexName("root", "pypi"))
            assert mirror is not None
            # What the page itself had said may come later than the page: it would have the look done again.
            while not (await told.get()).startswith(f"{CHANGED}{what_page(mirror.id, 'thing')}"):
                pass
            notice = f"{CHANGED}{what_page(mirror.id, project)}"
            site.forget()
            fault = site.fault(f"{WHEEL}.metadata", never=True)
            with counted_queries(site.engine) as queries:
                asking = asyncio.create_task(site.client.get(path))
                while not site.upstream.asked[f"/files/{WHEEL}.metadata"]:
                    await asyncio.sleep(0.01)
                async with site.engine.begin() as connection:
                    await announce(connection, notice)
                while await told.get() != notice:
                    pass
                fault.go.set()
                assert (await asking).content == b"Name: thing"
            assert len([query for query in queries if "mirror_page.origins" in query]) == looks
        finally:
            listening.cancel()
            await asyncio.wait([listening])

    @pytest.mark.parametrize("fault", [Fault(body=b"not the wheel's"), Fault(status=404), Fault(status=500)])
    async def test_what_cannot_be_had_is_not_announced(self, site: Files, fault: Fault) -> None:
        """Who asked is told of the upstream; the next page does not say that it is there, the one after may."""
        paths = await site.page("a/top")
        site.upstream.faults[f"/files/{WHEEL}.metadata"] = fault
        answer = await site.get(f"{paths[WHEEL]}.metadata")
        assert (answer.status_code, answer.headers["content-type"]) == (
            503 if fault.status == 500 else 502,
            "application/problem+json",
        )
        assert "not announced any more" in answer.json()["detail"]
        site.reopen()
        page = await site.get("/a/top/+simple/thing/")
        assert "metadata" not in page.text
        assert WHEEL in page.text
        assert "metadata" not in (await site.get("/a/top/+simple/thing/", "text/html")).text
        assert (await site.get(f"{paths[WHEEL]}.metadata")).status_code == 404
        assert (await site.get(paths[WHEEL])).content == b"wheel"
        async with site.engine.begin() as connection:
            await connection.execute(update(MirrorFault).values(until=now()))
        site.upstream.faults.clear()
        site.reopen()
        assert "core-metadata" in (await site.get("/a/top/+simple/thing/")).text
        assert (await site.get(f"{paths[WHEEL]}.metadata")).content == b"Name: thing"


async def test_provenance_passes_through(site: Files) -> None:
    """Byte for byte, at an absolute address of this registry below the index that was asked; it is fetched once."""
    provenance = b'{"version": 1,  "attestation_bundles": []}'
    site.upstream.add("thing", NEW, b"new", provenance=provenance)
    for index in ("a/top", "root/pypi"):
        page = (await site.get(f"/{index}/+simple/thing/")).json()
        [url] = [file["provenance"] for file in page["files"] if "provenance" in file]
        assert url == f"http://127.0.0.1:3141/{index}/+f/{path_of(b'new', NEW)}.provenance"
        assert f'data-provenance="{url}"' in (await site.get(f"/{index}/+simple/thing/", "text/html")).text
        answer = await site.get(url.removeprefix("http://127.0.0.1:3141"))
        assert (answer.status_code, answer.content) == (200, provenance)
        assert answer.headers["content-type"] == "application/vnd.pypi.integrity.v1+json"
        assert answer.headers["cache-control"] == "public, max-age=600"
    assert site.upstream.asked[f"/files/{NEW}.provenance"] == 1
    assert (await site.get(f"/a/top/+f/{path_of(LARGE, BIG)}.provenance")).status_code == 404


@ON_FOLDERS
async def test_a_long_provenance_is_read_while_it_is_stored(site: Files, slow: SlowFolder) -> None:
    """Who needs all of an object that is right and not yet in the store has it at once, and it stays on its way."""
    provenance = b'{"version": 1, "attestation_bundles": []}' + b" " * (SMALL + 1)
    site.upstream.add("thing", NEW, b"new", provenance=provenance)
    await site.page()
    path, every = f"/root/pypi/+integrity/thing/2.0/{NEW}/provenance", {"accept": "*/*"}
    for _ in range(2):
        answer = await site.client.get(path, headers=every)
        assert (answer.status_code, len(answer.content)) == (200, len(provenance))
    assert await site.rows() == {}
    slow.go.set()
    await site.settled(1)
    assert (await site.client.get(path, headers=every)).content == provenance
    assert site.upstream.asked[f"/files/{NEW}.provenance"] == 1
