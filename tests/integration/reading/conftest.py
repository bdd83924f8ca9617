"""The reading services on a real Postgres and a folder, with a public and a private index to read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.objects.interface import ObjectStores
from tests.integration.reading.constants import LARGE, METADATA, WHEEL
from tests.integration.reading.family import Family
from tests.integration.reading.guarded import BIG, CONTENT, SMALL, CountingStore, Guarded, switch
from tests.integration.reading.library import SITE, Library
from tests.support.archives import (
    zip_of,
)
from tests.support.builds import Forge
from tests.support.devpi_reading import DEVPI
from tests.support.factories import make_default, make_index
from tests.support.published import Published
from tests.support.reading import Reading, open_reading, open_stores
from tests.support.signed_index import SignedIndex


@pytest.fixture
def stores(tmp_path: Path) -> ObjectStores:
    """Both sides of a store in a folder."""
    return open_stores(tmp_path)


@pytest.fixture
async def stable(engine: AsyncEngine, stores: ObjectStores) -> Published:
    """The public default index with one published wheel."""
    index = await make_index(engine)
    await make_default(engine, index)
    published = Published(engine, stores, index)
    await published.publish(await published.upload(WHEEL, b"wheel of 1.0", METADATA))
    return published


@pytest.fixture
async def secret(engine: AsyncEngine, stores: ObjectStores) -> Published:
    """A private index with one published wheel."""
    published = Published(engine, stores, await make_index(engine, "root/secret", public=False))
    await published.publish(await published.upload(WHEEL, b"secret wheel", METADATA))
    return published


@pytest.fixture
async def reading(engine: AsyncEngine, stores: ObjectStores) -> Reading:
    """One process with the reading services."""
    return open_reading(engine, stores)


@pytest.fixture
async def client(reading: Reading, stable: Published) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of a process that knows the public index."""
    await reading.news()
    async with reading.client() as client:
        yield client


@pytest.fixture
async def devpi(reading: Reading, stable: Published) -> AsyncIterator[httpx2.AsyncClient]:
    """The devpi client's way of asking, without credentials."""
    await reading.news()
    async with reading.client() as client:
        client.headers.update(DEVPI)
        yield client


@pytest.fixture
async def family(engine: AsyncEngine, reading: Reading, stores: ObjectStores) -> Family:
    """Three stages above each other and a mirror; nothing is published."""
    family = Family(engine, reading, stores)
    await family.make("a/top", "a/mid")
    await family.make("a/mid", "a/low", "root/pypi")
    await family.make("a/low")
    await family.make("root/pypi", kind="mirror")
    await reading.news()
    return family


@pytest.fixture
async def top(family: Family) -> httpx2.AsyncClient:
    """A client that nobody knows."""
    return family.reading.client()


@pytest.fixture
async def library(engine: AsyncEngine, stores: ObjectStores, stable: Published) -> Library:
    """The public index, with documentation of version 1.0."""
    made = Library(engine, stores, stable.index)
    await made.add("1.0", zip_of(SITE))
    return made


@pytest.fixture(scope="module")
def forge() -> Forge:
    """A forge whose runs sign by a private Sigstore instance."""
    return Forge()


@pytest.fixture
async def guarded(engine: AsyncEngine, stores: ObjectStores) -> AsyncIterator[Guarded]:
    """The default index, verifying on read; a chain is believed for a minute."""
    index = await make_index(engine)
    await make_default(engine, index)
    await switch(engine, index.id, on=True)
    signed = SignedIndex(engine, stores, index)
    store = CountingStore(stores.public)
    reading = open_reading(engine, ObjectStores(store, stores.private))
    async with reading.client() as client, reading.resources.verifying:
        site = Guarded(signed, reading, client, store)
        for name, content in ((SMALL, CONTENT), (BIG, LARGE)):
            site.files[name] = await signed.add(name, content)
        await signed.publish()
        await reading.news()
        yield site
