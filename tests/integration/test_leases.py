"""The lease of an index, on a real Postgres: one signer at a time, and no request missed."""

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.testing import capture_logs

from services.signing.publication.holding import kept
from shared.catalogue import leases
from shared.catalogue.leases import Held, LeaseLost
from shared.ids import IndexId
from tests.support.factories import make_index
from tests.support.resources import service_resources


@pytest.fixture
async def index_id(engine: AsyncEngine) -> IndexId:
    """An index to be signed."""
    return (await make_index(engine)).id


async def take(engine: AsyncEngine, index_id: IndexId) -> Held | None:
    """Try to take the lease."""
    async with engine.begin() as connection:
        return await leases.acquire(connection, index_id)


async def let_go(engine: AsyncEngine, held: Held) -> Held | None:
    """Try to release the lease."""
    async with engine.begin() as connection:
        return await leases.release(connection, held)


async def test_of_many_at_once_one_gets_it(engine: AsyncEngine, index_id: IndexId) -> None:
    """Twenty signers that start together leave one holder, and everybody else's request with it."""
    taken = await asyncio.gather(*(take(engine, index_id) for _ in range(20)))
    holders = [held for held in taken if held is not None]
    assert len(holders) == 1
    left = await let_go(engine, holders[0])
    assert left is not None, "the holder must look again: requests arrived after it looked"
    assert left.requested == 19
    assert await let_go(engine, left) is None


async def test_a_request_during_the_work_keeps_the_holder(engine: AsyncEngine, index_id: IndexId) -> None:
    """A lease cannot be let go while there is a request that was not looked at."""
    held = await take(engine, index_id)
    assert held is not None
    assert await take(engine, index_id) is None
    newer = await let_go(engine, held)
    assert newer is not None
    assert await let_go(engine, newer) is None
    assert await take(engine, index_id) is not None


async def test_a_silent_holder_is_replaced_and_can_never_win(engine: AsyncEngine, index_id: IndexId) -> None:
    """After its term another takes over with a higher fence; the old one's commit fails."""
    old = await take(engine, index_id)
    assert old is not None
    async with engine.begin() as connection:
        await connection.execute(text("update lease set until = now() - interval '1 second'"))
    new = await take(engine, index_id)
    assert new is not None
    assert new.fence > old.fence
    async with engine.begin() as connection:
        with pytest.raises(LeaseLost):
            await leases.guard(connection, old)
        with pytest.raises(LeaseLost):
            await leases.allocate(connection, old)
        await leases.guard(connection, new)
    assert await let_go(engine, old) is None
    assert await take(engine, index_id) is None, "the old holder's release must not free the new holder's lease"


async def test_numbers_are_never_given_out_twice(engine: AsyncEngine, index_id: IndexId) -> None:
    """A failed try leaves a gap: the next holder gets a higher number."""
    numbers = []
    for _ in range(3):
        held = await take(engine, index_id)
        assert held is not None
        async with engine.begin() as connection:
            held, number = await leases.allocate(connection, held)
        numbers.append(number)
        await let_go(engine, held)
    assert numbers == [1, 2, 3]


async def test_a_renewal_that_hangs_is_given_up_and_tried_again(
    engine: AsyncEngine, index_id: IndexId, tmp_path: Path
) -> None:
    """One that gets no answer does not use up the term: the next one may get through."""
    held = await take(engine, index_id)
    assert held is not None
    every = leases.RENEW_EVERY.total_seconds()
    async with service_resources(engine, tmp_path) as resources:
        with capture_logs() as logs:
            async with kept(resources, held):
                async with engine.begin() as connection:
                    await leases.guard(connection, held)
                    await asyncio.sleep(2.3 * every)
                    before = await connection.scalar(text("select until from lease"))
                await asyncio.sleep(1.5 * every)
    assert [line["event"] for line in logs] == ["lease_not_renewed"]
    async with engine.connect() as connection:
        assert await connection.scalar(text("select until from lease")) > before
