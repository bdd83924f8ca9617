"""A gateway with an administrator, an owner and a reader, and the browser of each."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.names import IndexName
from gateway.accounts import NewIndex
from gateway.index_rights import IndexRights
from shared.auth.principal import Verb
from tests.integration.dashboard.people.lab import LAB
from tests.support.browser import Browser
from tests.support.dashboard import PASSWORD, signed_in
from tests.support.gateway import Servers, TestGateway, open_gateway
from tests.support.registry_api import RegistryApi


@pytest.fixture
async def gateway(engine: AsyncEngine, valkey_url: str, database: str, tmp_path: Path) -> AsyncIterator[TestGateway]:
    """A gateway with the administrator `root`, `ann`, who owns a private index, and `guest`, who may read it."""
    servers = Servers(engine, valkey_url, database, tmp_path)
    async with open_gateway(servers, upstreams=RegistryApi().upstreams()) as gateway:
        await gateway.accounts.init_deployment(IndexName("root", "stable"))
        await gateway.accounts.set_password("root", PASSWORD)
        for name in ("ann", "guest"):
            await gateway.accounts.create_account(name, password=PASSWORD)
        await gateway.accounts.create_index(NewIndex(LAB, "private"))
        await IndexRights(engine, gateway.clock, actor="test").set_grants(LAB, "guest", {Verb.READ})
        await gateway.resources.directory.refresh()
        yield gateway


@pytest.fixture
async def root(gateway: TestGateway) -> Browser:
    """The administrator's browser."""
    return await signed_in(gateway, "root")


@pytest.fixture
async def ann(gateway: TestGateway) -> Browser:
    """The browser of an index's owner, who administrates nothing."""
    return await signed_in(gateway, "ann")


@pytest.fixture
async def guest(gateway: TestGateway) -> Browser:
    """The browser of somebody who may read that index and no more."""
    return await signed_in(gateway, "guest")
