"""Servers and databases that tests ask for by name; started on first use."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator

import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from deploy.postgres import PostgresServer
from deploy.valkey import ValkeyServer
from shared.catalogue.engine import open_engine
from tests.support.servers import copy_database, drop_database, make_template, running


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """URL of the maintenance database of one real Postgres for all tests, as superuser."""
    with running(PostgresServer) as server:
        asyncio.run(make_template(server.superuser_url))
        yield server.superuser_url


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[str]:
    """URL of a fresh database with the catalogue's tables."""
    name = f"test_{secrets.token_hex(6)}"
    yield await copy_database(postgres_url, name)
    await drop_database(postgres_url, name)


@pytest.fixture
async def empty_database(postgres_url: str) -> AsyncIterator[str]:
    """URL of a fresh database without any table."""
    name = f"test_{secrets.token_hex(6)}"
    yield await copy_database(postgres_url, name, "template0")
    await drop_database(postgres_url, name)


@pytest.fixture
async def engine(database: str) -> AsyncIterator[AsyncEngine]:
    """An engine on the fresh database, as the server opens it."""
    engine = open_engine(database, pool=5)
    yield engine
    await engine.dispose()


@pytest.fixture(scope="session")
def valkey_server_url() -> Iterator[str]:
    """URL of one real Valkey for all tests."""
    with running(ValkeyServer) as server:
        yield server.url


@pytest.fixture
async def valkey_url(valkey_server_url: str) -> str:
    """URL of a real Valkey that is empty."""
    async with Redis.from_url(valkey_server_url) as redis:
        await redis.flushall()
    return valkey_server_url
