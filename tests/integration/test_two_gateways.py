"""Gateways share what they remember of browsers: any of them answers any request."""

from __future__ import annotations

from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.sessions import Sessions
from shared.auth.directory import Directory
from shared.clock import SystemClock
from tests.support.factories import make_account


async def test_a_session_is_one_in_every_gateway(engine: AsyncEngine, valkey_url: str) -> None:
    """Begun in one it is found in the other, and ended there it is gone in the first."""
    await make_account(engine, "alice")
    async with Redis.from_url(valkey_url) as one, Redis.from_url(valkey_url) as two:
        directories = [Directory(engine), Directory(engine)]
        for directory in directories:
            await directory.refresh()
        first, second = (
            Sessions(redis, SystemClock(), directory) for redis, directory in zip((one, two), directories, strict=True)
        )
        session_id = await first.begin("alice")
        found = await second.find(session_id)
        assert found is not None
        assert found.account == "alice"
        await second.end(found.key)
        assert await first.find(session_id) is None


async def test_a_session_renewed_by_a_new_password_holds_where_nobody_has_told_of_it_yet(
    engine: AsyncEngine, valkey_url: str
) -> None:
    """The next request may reach the other gateway before the notice; sessions of before end there all the same."""
    await make_account(engine, "bea", password_hash="before")
    async with Redis.from_url(valkey_url) as redis:
        directories = [Directory(engine), Directory(engine)]
        for directory in directories:
            await directory.refresh()
        first, second = (Sessions(redis, SystemClock(), directory) for directory in directories)
        old = await first.begin("bea")
        async with engine.begin() as connection:
            await connection.execute(text("update account set password_hash = 'after' where name = 'bea'"))
        await directories[0].refresh()
        renewed = await first.begin("bea")
        assert await second.find(renewed) is not None
        assert await second.find(old) is None
        assert await first.find(old) is None
