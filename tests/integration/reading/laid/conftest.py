"""The tree."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx2
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.objects.interface import ObjectStores
from tests.integration.reading.constants import WHEEL
from tests.integration.reading.family import Family
from tests.integration.reading.laid.tree import CONTENT, Tree
from tests.support.kept_bundles import Keeper
from tests.support.reading import Reading
from tests.support.sigstore.instance import Instance


@pytest.fixture(scope="module")
def instance() -> Instance:
    """A private Sigstore instance."""
    return Instance()


@pytest.fixture
async def tree(engine: AsyncEngine, reading: Reading, stores: ObjectStores, instance: Instance) -> Tree:
    """The index with an attested wheel, laid."""
    family = Family(engine, reading, stores)
    stable = await family.make("root/stable")
    file = await family.publish("root/stable", WHEEL, CONTENT)
    made = Tree(family, reading, stores, stable, file, Keeper(engine, stores, stable.index), instance)
    await made.keep(file, CONTENT, named=True)
    await made.lay()
    return made


@pytest.fixture
async def client(tree: Tree) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of a process that knows the index."""
    await tree.reading.news()
    async with tree.reading.client() as client:
        yield client
