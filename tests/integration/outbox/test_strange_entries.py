"""Entries of the queue and rows of the outbox that this version cannot read hold nothing up."""

from __future__ import annotations

import asyncio

from redis.asyncio import Redis
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.catalogue.tables import Outbox
from shared.ids import IndexId
from shared.jobs.arq_queue import ArqQueue
from shared.jobs.messages import LayPages
from tests.integration.outbox.loops import Jobs, machinery
from tests.support.outbox import enqueue, open_rows, until_settled


async def test_strange_things_in_the_queue(
    database: str, engine: AsyncEngine, queue: ArqQueue, valkey_url: str, index_id: IndexId
) -> None:
    """Whatever somebody writes into the queue, nothing of it is run and jobs still get through."""
    jobs = Jobs()
    key = "countermark:queue:index"
    async with machinery(database, queue, {LayPages: jobs}), Redis.from_url(valkey_url) as redis:
        await enqueue(engine, LayPages(index_id))
        await until_settled(engine)
        strange: list[tuple[bytes, float, bytes]] = [
            (
                b"pickled",
                1,
                b"\x80\x04\x95\x17\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94.",
            ),
            (b"json", 1, b'{"f": ["deliver"], "a": {}, "k": [], "t": "x", "et": {}}'),
            (b"message", 1, b'{"t": null, "f": "deliver", "a": [{"outbox_id": 1, "kind": "x", "ids": {}}], "et": 1}'),
            (b"\xff\xfe", 1, b"{}"),
            (b"endless", float("-inf"), b"{}"),
        ]
        for member, score, body in strange:
            await redis.set(b"arq:job:" + member, body)
            await redis.zadd(key, {member: score})
            await asyncio.sleep(0.1)
            await enqueue(engine, LayPages(index_id))
        await until_settled(engine)
        await redis.delete(key)
        await redis.set(key, "no sorted set at all")
        await enqueue(engine, LayPages(index_id))
        await until_settled(engine)
        assert not await redis.exists(key)
    assert jobs.done == [LayPages(index_id)] * 7


async def test_rows_of_another_version_hold_nothing_up(
    database: str, engine: AsyncEngine, queue: ArqQueue, index_id: IndexId
) -> None:
    """A row of a kind that this version does not know stays open for another one, and the rest is done."""
    async with engine.begin() as connection:
        await connection.execute(insert(Outbox).values(kind="from_the_future", ids={"x": "y"}, index_id=index_id))
    jobs = Jobs()
    async with machinery(database, queue, {LayPages: jobs}):
        await enqueue(engine, *[LayPages(index_id)] * 3)
        async with asyncio.timeout(5):
            while await open_rows(engine) > 1:
                await asyncio.sleep(0.02)
    assert len(jobs.done) == 3
