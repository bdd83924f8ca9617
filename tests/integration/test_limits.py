"""Tries are counted in a real Redis; what happens without one depends on what the limit guards."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from redis.asyncio import Redis

from gateway.limits import PASSWORD_BY_ACCOUNT, WRITE_BY_TOKEN, Limits
from shared.errors import ErrorKind, ServiceError
from shared.limit_settings import RateLimits

FEW = RateLimits(passwords_by_account=3, writes_by_token=3)


async def test_tries_at_once_do_not_slip_past(valkey_url: str) -> None:
    """Of many tries at the same moment, in two processes, as many pass as are allowed."""
    async with Redis.from_url(valkey_url) as one, Redis.from_url(valkey_url) as two:
        limits = [Limits(one, FEW), Limits(two, FEW)]
        tries = [limits[number % 2].count(PASSWORD_BY_ACCOUNT, "alice") for number in range(20)]
        found = await asyncio.gather(*tries, return_exceptions=True)
    refused = [error for error in found if isinstance(error, ServiceError)]
    assert (found.count(None), len(refused)) == (3, 17)
    for error in refused:
        assert error.kind is ErrorKind.TOO_MANY
        assert error.retry_after is not None
        assert 0 < error.retry_after.total_seconds() <= 300


async def test_counters_are_apart_and_can_be_forgotten(valkey_url: str) -> None:
    """Another name and another kind of limit have counters of their own; a success starts from zero."""
    async with Redis.from_url(valkey_url) as redis:
        limits = Limits(redis, FEW)
        for _ in range(3):
            await limits.count(PASSWORD_BY_ACCOUNT, "alice")
        await limits.count(PASSWORD_BY_ACCOUNT, "bob")
        await limits.count(WRITE_BY_TOKEN, "alice")
        with pytest.raises(ServiceError):
            await limits.count(PASSWORD_BY_ACCOUNT, "alice")
        await limits.forget(PASSWORD_BY_ACCOUNT, "alice")
        await limits.count(PASSWORD_BY_ACCOUNT, "alice")


async def test_zero_is_no_limit(valkey_url: str) -> None:
    """A limit that is switched off counts nothing."""
    async with Redis.from_url(valkey_url) as redis:
        limits = Limits(redis, RateLimits(writes_by_token=0))
        for _ in range(50):
            await limits.count(WRITE_BY_TOKEN, "x")
        assert await redis.dbsize() == 0


async def test_without_redis_nobody_signs_in_and_writes_go_on(tmp_path: Path) -> None:
    """A login that cannot be counted is refused; an upload does not depend on Redis."""
    async with Redis(unix_socket_path=str(tmp_path / "no-such-socket")) as redis:
        limits = Limits(redis, FEW)
        for _ in range(5):
            await limits.count(WRITE_BY_TOKEN, "x")
        with pytest.raises(ServiceError) as caught:
            await limits.count(PASSWORD_BY_ACCOUNT, "alice")
        assert caught.value.kind is ErrorKind.UNAVAILABLE
