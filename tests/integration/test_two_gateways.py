"""Gateways share what they remember of browsers: any of them answers any request."""

from __future__ import annotations

from redis.asyncio import Redis
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
