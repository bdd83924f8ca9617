"""Stored bytes that are not what was uploaded, and clients that do not behave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from services.download.settings import Limits as DownloadLimits
from shared.objects.interface import ByteRange, Key, ObjectStore, ObjectStores, OpenObject, Put
from shared.objects.keys import core_metadata_key, file_key
from tests.integration.reading.constants import LARGE, WHEEL
from tests.support.published import Published
from tests.support.reading import Reading, open_reading, served


class TestDamage:
    """Verify on read: style guide section 2 ("download"); architecture section 6."""

    async def test_damaged_large_file_never_ends_well(
        self, reading: Reading, stable: Published, stores: ObjectStores
    ) -> None:
        """A client that streams a damaged file sees its connection break before the last byte."""
        file = await stable.upload("thing-3.0.tar.gz", LARGE)
        await stable.publish(file)
        await reading.news()
        key = file_key(file.sha256, file.file_name)
        async with served(reading.app) as url, httpx2.AsyncClient(base_url=url) as client:
            path = f"/root/stable/+f/{file.path}"
            assert (await client.get(path)).content == LARGE
            await stores.public.put(key, LARGE[:-1] + b"x", Put.REPLACE)
            with pytest.raises(httpx2.RemoteProtocolError):
                await client.get(path)
            await stores.public.put(key, LARGE[:-1], Put.REPLACE)
            assert (await client.get(path)).status_code == 503, "another length is seen before anything is sent"
            await stores.public.delete(key)
            missing = await client.get(path)
            assert missing.status_code == 503
            assert "missing" in missing.json()["detail"]
            assert missing.headers["retry-after"] == "5"
            await stores.public.put(key, LARGE)
            assert (await client.get(path)).content == LARGE

    async def test_damaged_small_file(
        self, client: httpx2.AsyncClient, stable: Published, stores: ObjectStores
    ) -> None:
        """A damaged small file, or damaged metadata, gives 503 and none of its bytes."""
        file = stable.visible[WHEEL]
        for key, suffix in (
            (file_key(file.sha256, file.file_name), ""),
            (core_metadata_key(file.sha256, file.file_name), ".metadata"),
        ):
            await stores.public.put(key, b"wheel of 6.6", Put.REPLACE)
            answer = await client.get(f"/root/stable/+f/{file.path}{suffix}")
            assert answer.status_code == 503
            assert b"6.6" not in answer.content

    async def test_client_that_goes_away(self, engine: AsyncEngine, stable: Published) -> None:
        """A client that leaves half-way ends the reading: the rest is not read, and nothing stays open."""
        store = WatchedStore(stable.stores.public)
        reading = open_reading(engine, ObjectStores(store, stable.stores.private))
        file = await stable.upload("thing-4.0.tar.gz", LARGE * 64)
        await stable.publish(file)
        await reading.news()
        async with served(reading.app) as url, httpx2.AsyncClient(base_url=url) as client:
            tasks = len(asyncio.all_tasks())
            for span in ({}, {"range": "bytes=1-"}):
                store.read = 0
                async with client.stream("GET", f"/root/stable/+f/{file.path}", headers=span) as answer:
                    async for _chunk in answer.aiter_raw(4096):
                        break
                for _ in range(100):
                    if store.open_now == 0 and len(asyncio.all_tasks()) <= tasks:
                        break
                    await asyncio.sleep(0.05)
                assert store.open_now == 0
                assert store.read < len(file.content) // 2
                assert len(asyncio.all_tasks()) <= tasks

    async def test_client_that_stalls(self, engine: AsyncEngine, stores: ObjectStores, stable: Published) -> None:
        """A client that takes nothing is cut off after its time, so that it cannot hold the store's connections."""
        reading = open_reading(engine, stores, download_limits=DownloadLimits(stall_seconds=0.2))
        file = await stable.upload("thing-4.0.tar.gz", LARGE * 16)
        await stable.publish(file)
        await reading.news()
        async with served(reading.app) as url:
            reader, writer = await asyncio.open_connection("127.0.0.1", httpx2.URL(url).port, limit=1024)
            writer.write(f"GET /root/stable/+f/{file.path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            await asyncio.sleep(1.0)
            received = 0
            while chunk := await reader.read(1 << 20):
                received += len(chunk)
            writer.close()
        assert received < len(file.content)


class WatchedStore:
    """A store that tells how much is read from it, and how many bodies are open."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self.read = 0
        self.open_now = 0
        self.head, self.put, self.list = store.head, store.put, store.list
        self.delete, self.ping, self.close = store.delete, store.ping, store.close

    @asynccontextmanager
    async def open(self, key: Key, byte_range: ByteRange | None = None) -> AsyncIterator[OpenObject]:
        """Open an object and count what is read of it."""
        self.open_now += 1
        try:
            async with self._store.open(key, byte_range) as opened:
                yield OpenObject(opened.info, self._counted(opened.chunks))
        finally:
            self.open_now -= 1

    async def _counted(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for chunk in chunks:
            self.read += len(chunk)
            yield chunk
