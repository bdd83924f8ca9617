"""TUF metadata and targets as clients read them."""

from __future__ import annotations

import httpx2
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.digest import sha256_of
from shared.objects.interface import ObjectStores
from shared.objects.keys import metadata_key
from tests.support.factories import make_index
from tests.support.published import Published, metadata_bytes
from tests.support.reading import Reading


class TestMetadata:
    """Trust contract section 2.6."""

    async def test_timestamp_is_the_heads(
        self, client: httpx2.AsyncClient, reading: Reading, stable: Published, stores: ObjectStores
    ) -> None:
        """The timestamp comes from the head row, under both addresses, and is fresh after the next publication."""
        for path in (
            "/root/stable/+tuf/metadata/timestamp.json",
            "/root/stable/+tuf/timestamp.json",
            "/+tuf/timestamp.json",
        ):
            answer = await client.get(path)
            assert answer.content == metadata_bytes("timestamp", 1)
            assert answer.headers["cache-control"] == "public, max-age=5"
            assert answer.headers["content-type"] == "application/json"
        await stable.publish(await stable.upload("thing-2.0.tar.gz"))
        await reading.news()
        assert (await client.get("/+tuf/timestamp.json")).content == metadata_bytes("timestamp", 2)

    async def test_versioned_files_are_immutable(self, client: httpx2.AsyncClient) -> None:
        """Versioned files never change; they are compressed for who asks and found under both addresses."""
        for name in ("1.root.json", "1.snapshot.json", "1.b8-3f.json"):
            role = name.split(".")[1]
            for path in (f"/root/stable/+tuf/metadata/{name}", f"/root/stable/+tuf/{name}"):
                answer = await client.get(path, headers={"accept-encoding": "gzip"})
                assert answer.content == metadata_bytes(role, 1)
                assert answer.headers["content-encoding"] == "gzip"
                assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"

    async def test_roots_and_timestamp_need_no_store(self, client: httpx2.AsyncClient, stable: Published) -> None:
        """They come from the catalogue: whatever the store has lost, a client gets to know whom to trust."""
        store, name = stable.stores.public, stable.index.name
        await store.delete(metadata_key(name, "root", 1))
        await store.delete(metadata_key(name, "snapshot", 1))
        answers = [await client.get(f"/+tuf/metadata/{file}") for file in ("1.root.json", "timestamp.json")]
        assert [answer.content for answer in answers] == [metadata_bytes(role, 1) for role in ("root", "timestamp")]
        assert (await client.get("/+tuf/metadata/1.snapshot.json")).status_code == 503

    async def test_absent_files(self, client: httpx2.AsyncClient) -> None:
        """What clients probe for is 404 that no cache keeps; other names are nothing at all."""
        for name in ("2.root.json", "9.snapshot.json", "0.root.json", "root.json", "1.timestamp.json", "1.x.y.json"):
            answer = await client.get(f"/root/stable/+tuf/metadata/{name}")
            assert (answer.status_code, answer.headers["cache-control"]) == (404, "no-store"), name
        for name in ("../files/x", "%2e%2e/%2e%2e/x", "metadata/metadata/1.root.json", "1.root.json/", ""):
            assert (await client.get(f"/root/stable/+tuf/{name}")).status_code == 404, name

    async def test_what_is_not_published_yet_is_kept_by_no_cache(
        self, client: httpx2.AsyncClient, reading: Reading, engine: AsyncEngine
    ) -> None:
        """The timestamp and the roots of an index without a publication are 404 that no cache keeps: a kept one would
        hide what comes."""
        made = await make_index(engine, "root/new")
        await reading.news()
        for name in ("timestamp.json", "1.root.json", "2.root.json"):
            for path in (f"/{made.name}/+tuf/metadata/{name}", f"/{made.name}/+tuf/{name}"):
                answer = await client.get(path)
                assert (answer.status_code, answer.headers["cache-control"]) == (404, "no-store"), path

    async def test_unpublished_versions_do_not_show(
        self, client: httpx2.AsyncClient, reading: Reading, stable: Published, engine: AsyncEngine
    ) -> None:
        """A file that the store holds but no head has reached is not shown: its batch may be under way or dead."""
        store = stable.stores.public
        await store.put(metadata_key(stable.index.name, "snapshot", 2), metadata_bytes("snapshot", 2))
        await store.put(metadata_key(stable.index.name, "root", 2), metadata_bytes("root", 2))
        async with engine.begin() as connection:
            await connection.exec_driver_sql(
                "insert into trust_file select role, 2, sha256, length, expires_at, content from trust_file"
            )
        for name in ("2.snapshot.json", "2.root.json"):
            assert (await client.get(f"/root/stable/+tuf/metadata/{name}")).status_code == 404
        await stable.publish(await stable.upload("thing-2.0.tar.gz"))
        await reading.news()
        assert (await client.get("/root/stable/+tuf/metadata/2.snapshot.json")).status_code == 200
        assert (await client.get("/root/stable/+tuf/metadata/2.root.json")).status_code == 404

    async def test_targets(self, client: httpx2.AsyncClient, stable: Published) -> None:
        """Targets are found under the name with their digest, and under no other digest."""
        document = stable.pages["thing"]
        base = "/root/stable/+tuf/targets/pointers/thing"
        answer = await client.get(f"{base}/{sha256_of(document)}._simple.json")
        assert answer.content == document
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert (await client.get(f"{base}/{sha256_of(b'')}._simple.json")).status_code == 404
        assert (await client.get(f"{base}/_simple.json")).status_code == 404
