"""A gateway at which people sign in, on real Postgres and Valkey."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.integration.login.signing_in import PASSWORD, STABLE
from tests.support.gateway import Servers, TestGateway, open_gateway


@pytest.fixture
def servers(engine: AsyncEngine, database: str, valkey_url: str, tmp_path: Path) -> Servers:
    """Real Postgres and Valkey."""
    return Servers(engine, valkey_url, database, tmp_path)


@pytest.fixture
async def gateway(servers: Servers) -> AsyncIterator[TestGateway]:
    """A gateway with the owner `root`, who has a password, and the index root/stable."""
    async with open_gateway(servers) as gateway:
        await gateway.accounts.init_deployment(STABLE)
        await gateway.accounts.set_password("root", PASSWORD)
        await gateway.resources.directory.refresh()
        yield gateway
