"""When tokens were used last, as several processes write it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.names import IndexName
from gateway.accounts import Accounts, NewToken
from shared.auth.last_use import LastUse
from shared.auth.principal import Scope, Verb
from shared.catalogue.engine import open_engine
from shared.catalogue.tables import TokenUse
from shared.clock import SystemClock
from shared.ids import TokenId

NOW = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture
async def token_id(engine: AsyncEngine) -> TokenId:
    """A token."""
    accounts = Accounts(engine, SystemClock(), actor="tester")
    await accounts.init_deployment(IndexName("root", "stable"))
    scope = Scope(None, None, frozenset({Verb.READ}))
    return (await accounts.create_token(NewToken("root", (scope,), timedelta(days=1), "x"))).id


async def _kept(engine: AsyncEngine) -> datetime | None:
    async with engine.connect() as connection:
        return await connection.scalar(select(TokenUse.last_used_at))


async def test_the_latest_use_of_all_processes_is_kept(engine: AsyncEngine, token_id: TokenId) -> None:
    """A process that writes late does not overwrite a later use."""
    first, second = LastUse(engine), LastUse(engine)
    first.saw(token_id, NOW)
    second.saw(token_id, NOW + timedelta(minutes=5))
    await second.flush()
    await first.flush()
    assert await _kept(engine) == NOW + timedelta(minutes=5)


async def test_the_loop_writes_at_once_then_once_a_minute_and_at_its_end(
    engine: AsyncEngine, token_id: TokenId
) -> None:
    """The first use is seen within a tick, the next waits for its minute, and a stop loses nothing."""
    uses = LastUse(engine, tick=0.01)
    uses.saw(token_id, NOW)
    loop = asyncio.create_task(uses.run())
    async with asyncio.timeout(10):
        while await _kept(engine) is None:
            await asyncio.sleep(0.01)
    uses.saw(token_id, NOW + timedelta(seconds=30))
    await asyncio.sleep(0.1)
    assert await _kept(engine) == NOW
    loop.cancel()
    await asyncio.gather(loop, return_exceptions=True)
    assert await _kept(engine) == NOW + timedelta(seconds=30)


async def test_a_catalogue_that_is_away_loses_no_use(engine: AsyncEngine, token_id: TokenId) -> None:
    """What could not be written is written later."""
    away = open_engine("postgresql+asyncpg://nobody@127.0.0.1:1/none", pool=1)
    uses = LastUse(away)
    uses.saw(token_id, NOW)
    loop = asyncio.create_task(uses.run())
    await asyncio.sleep(0)
    loop.cancel()
    assert isinstance((await asyncio.gather(loop, return_exceptions=True))[0], asyncio.CancelledError)
    uses._engine = engine
    await uses.flush()
    assert await _kept(engine) == NOW
    await away.dispose()
