"""A gateway with an administrator, an owner and a reader, and the key of somebody who tells of leaks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.accounts import NewIndex
from shared.settings import Leaks, Settings
from tests.integration.gateway_api.callers import PASSWORD, SHUT, STABLE, Client, pem_of
from tests.support.gateway import Servers, TestGateway, open_gateway


@pytest.fixture
def key() -> Any:
    """The key of somebody who tells of leaks."""
    return generate_private_key(SECP256R1())


@pytest.fixture
async def gateway(
    engine: AsyncEngine, valkey_url: str, database: str, tmp_path: Path, key: Any
) -> AsyncIterator[TestGateway]:
    """A gateway with an administrator, and alice, who owns a private index that bob may read."""
    settings = Settings(data=tmp_path, leaks=Leaks(keys={"k1": pem_of(key)}))
    async with open_gateway(Servers(engine, valkey_url, database, tmp_path), settings) as gateway:
        await gateway.accounts.init_deployment(STABLE)
        await gateway.accounts.set_password("root", PASSWORD)
        for name in ("alice", "bob", "carol"):
            await gateway.accounts.create_account(name, password=PASSWORD)
        await gateway.accounts.create_index(NewIndex(SHUT, "private"))
        await gateway.resources.directory.refresh()
        await Client(gateway, "alice")("PUT", f"indexes/{SHUT}/grants", json={"subject": "bob", "verbs": ["read"]})
        yield gateway
