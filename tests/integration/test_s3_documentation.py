"""Documentation read from a real S3 server: by ranges, as from a folder."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncEngine

from shared.objects.interface import ObjectStores
from tests.integration.reading.library import Library
from tests.support.archives import payload, zip_of
from tests.support.factories import make_index
from tests.support.reading import open_reading
from tests.support.s3_server import S3Server


async def test_pages_come_from_ranges_of_the_zip(engine: AsyncEngine, plain_s3: S3Server) -> None:
    """Small pages and streamed ones of an archive that is longer than any of them; the zip itself as it was sent."""
    site = {
        "pictures.bin": payload(3_000_000),
        "index.html": b"<h1>Widget</h1>",
        "searchindex.js": b"Search.setIndex({})" * 100_000,
        "late.css": b"body {}",
    }
    content = zip_of(site)
    async with plain_s3.connect() as connection:
        store = connection.store(plain_s3.make_bucket())
        stores = ObjectStores(store, store)
        path = await Library(engine, stores, await make_index(engine)).add("1.0", content)
        await Library(engine, stores, await make_index(engine, "root/other")).add("1.0", b"no zip")
        reading = open_reading(engine, stores)
        await reading.news()
        async with reading.client() as client:
            for name, page in site.items():
                answer = await client.get(f"/root/stable/thing/1.0/+doc/{name}")
                assert (answer.status_code, answer.content) == (200, page), name
            assert (await client.get(f"/root/stable/+f/{path}")).content == content
            assert (await client.get("/root/other/thing/1.0/+doc/index.html")).status_code == 404
