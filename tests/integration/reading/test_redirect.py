"""Files handed out by the object store itself (`downloads.redirect`)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx2
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.objects.filesystem import FolderStore
from shared.objects.interface import Key, ObjectStoreError, ObjectStores
from tests.integration.reading.constants import LARGE, METADATA
from tests.support.factories import make_index, make_token, set_bases
from tests.support.published import Published
from tests.support.reading import Reading, open_reading
from tests.support.s3_server import S3Server

NAME = "thing-5.0+local-py3-none-any.whl"


class SigningFolder(FolderStore):
    """A folder that hands out URLs, as a bucket does; `broken` makes it fail."""

    broken = False

    async def presign(self, key: Key, lifetime: timedelta) -> str:
        """Return a URL that tells what was asked for."""
        if self.broken:
            raise ObjectStoreError("no credentials to sign with")
        return f"http://store.test/{key}?seconds={lifetime.total_seconds():.0f}"


@pytest.fixture
def signing(tmp_path: Path) -> ObjectStores:
    """A store in a folder, both sides of which hand out URLs."""
    return ObjectStores(SigningFolder(tmp_path / "public"), SigningFolder(tmp_path / "private", private=True))


@asynccontextmanager
async def publishing(
    engine: AsyncEngine, stores: ObjectStores, *, public: bool = True, redirect: bool = True
) -> AsyncIterator[tuple[Published, Reading, str]]:
    """Publish a large file in an index; gives the index, a process that serves it, and the file's address."""
    published = Published(engine, stores, await make_index(engine, public=public))
    made = await published.upload(NAME, LARGE, METADATA)
    await published.publish(made)
    reading = open_reading(engine, stores, redirect=redirect)
    await reading.news()
    yield published, reading, f"/root/stable/+f/{made.path}"


async def test_a_base_hands_out_its_own_side(engine: AsyncEngine, signing: ObjectStores) -> None:
    """A large file of a base comes from where the base keeps it, for as long as the index that was asked allows."""
    async with publishing(engine, signing) as (base, reading, _):
        top = await make_index(engine, "a/top", public=False)
        await set_bases(engine, top, str(base.index.name))
        token = await make_token(engine, "a")
        await reading.news()
        path = next(iter(base.visible.values())).path
        async with reading.client(token=token) as client:
            answer = await client.get(f"/a/top/+f/{path}")
    assert answer.status_code == 302
    assert answer.headers["location"].startswith("http://store.test/files/")
    assert answer.headers["location"].endswith("?seconds=300")


class TestRedirect:
    """Contract python-index section 1.2.5: the address is stable, and what it leads to is not kept."""

    async def test_large_file(self, engine: AsyncEngine, signing: ObjectStores) -> None:
        """A large file is elsewhere for an hour at the most, and no cache keeps where."""
        async with publishing(engine, signing) as (published, reading, path), reading.client() as client:
            for _ in range(2):
                answer = await client.get(path)
                assert (answer.status_code, answer.content) == (302, b"")
                sha256 = published.visible[NAME].sha256
                there = f"http://store.test/files/{sha256[:2]}/{sha256[2:]}/{NAME}?seconds=3600"
                assert answer.headers["location"] == there
                assert answer.headers["cache-control"] == "no-store"
                assert answer.headers["access-control-allow-origin"] == "*"

    async def test_parts(self, engine: AsyncEngine, signing: ObjectStores) -> None:
        """Every range is asked of the store, also one that goes on with the store's own entity tag."""
        async with publishing(engine, signing) as (_, reading, path), reading.client() as client:
            for headers in ({"range": "bytes=-9"}, {"range": "bytes=7-", "if-range": '"etag of the store"'}):
                assert (await client.get(path, headers=headers)).status_code == 302

    async def test_answered_here(self, engine: AsyncEngine, signing: ObjectStores) -> None:
        """HEAD, 304, metadata and small files have no bytes to save, and are answered here."""
        async with publishing(engine, signing) as (published, reading, path):
            small = await published.upload("thing-6.0.tar.gz", b"small")
            await published.publish(small)
            await reading.news()
            async with reading.client() as client:
                for _ in range(2):
                    head = await client.head(path)
                    assert (head.status_code, head.headers["content-length"]) == (200, str(len(LARGE)))
                    assert head.headers["accept-ranges"] == "bytes"
                    same = await client.get(path, headers={"if-none-match": head.headers["etag"]})
                    assert same.status_code == 304
                    assert (await client.get(f"{path}.metadata")).content == METADATA
                    assert (await client.get(f"/root/stable/+f/{small.path}")).content == b"small"

    async def test_private_index(self, engine: AsyncEngine, signing: ObjectStores) -> None:
        """Only who may read gets a URL, for five minutes; a stranger is told nothing."""
        async with publishing(engine, signing, public=False) as (_, reading, path):
            token = await make_token(engine)
            await reading.news()
            async with reading.client(token=token) as client:
                answer = await client.get(path)
                assert (answer.status_code, answer.headers["vary"]) == (302, "Authorization")
                assert answer.headers["location"].endswith("?seconds=300")
            async with reading.client() as stranger:
                answer = await stranger.get(path)
                assert (answer.status_code, "location" in answer.headers) == (401, False)

    async def test_counts(self, engine: AsyncEngine, signing: ObjectStores) -> None:
        """Being sent elsewhere for a file, or for its beginning, is a download."""
        async with publishing(engine, signing) as (_, reading, path), reading.client() as client:
            loop = reading.download.loops[0]
            task = asyncio.ensure_future(loop())
            for headers in ({}, {"range": "bytes=0-9"}, {"range": "bytes=5-"}, {"range": "bytes=99999999-"}):
                await client.get(path, headers=headers)
            task.cancel()
            await asyncio.wait([task])
            answer = await client.get("/api/v1/indexes/root/stable/downloads/thing")
            assert answer.json()["total"] == 2

    async def test_streamed_instead(self, engine: AsyncEngine, signing: ObjectStores, tmp_path: Path) -> None:
        """Without the setting, with a store that has no URLs, or when it cannot sign, the bytes come from here."""
        async with publishing(engine, signing, redirect=False) as (_, reading, path), reading.client() as client:
            assert (await client.get(path)).content == LARGE
        folder = ObjectStores(FolderStore(tmp_path / "public"), FolderStore(tmp_path / "private", private=True))
        unable = SigningFolder(tmp_path / "public")
        unable.broken = True
        for stores in (folder, ObjectStores(unable, signing.private)):
            reading = open_reading(engine, stores, redirect=True)
            await reading.news()
            async with reading.client() as client:
                assert (await client.get(path)).content == LARGE


async def test_on_a_bucket(engine: AsyncEngine, s3: S3Server) -> None:
    """A real S3 gives the bytes, whole and in part, to whoever follows; a file name with a `+` included."""
    async with s3.connect() as connection:
        bucket = connection.store(s3.make_bucket())
        async with publishing(engine, ObjectStores(bucket, bucket)) as (_, reading, path), reading.client() as client:
            location = (await client.get(path)).headers["location"]
    async with httpx2.AsyncClient(verify=s3.trust()) as plain:
        whole = await plain.get(location)
        assert (whole.status_code, whole.content) == (200, LARGE)
        assert whole.headers["content-type"] == "application/octet-stream"
        assert "content-encoding" not in whole.headers
        assert urlsplit(location).path.endswith(f"/{quote(NAME)}"), "what is saved has the file's name"
        tag = whole.headers["etag"]
        rest = await plain.get(location, headers={"range": "bytes=1000-", "if-range": tag})
        assert (rest.status_code, rest.content) == (206, LARGE[1000:])
        assert (await plain.head(location)).status_code == 403, "which is why HEAD is answered by us"
