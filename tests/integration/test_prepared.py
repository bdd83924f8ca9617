"""Statements that go past SQLAlchemy: they say the same, keep to open transactions, and outlive a connection."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import ARRAY, BindParameter, DateTime, Uuid, any_, bindparam, delete, event, insert, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.catalogue.engine import CATALOGUE_AWAY, one_by_one, open_engine
from shared.catalogue.prepared import Prepared
from shared.catalogue.tables import Fetch
from shared.ids import new_uuid

_NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)

_UNTIL: BindParameter[datetime] = bindparam("until", type_=DateTime(timezone=True))
_ADD = Prepared(
    insert(Fetch)
    .values(what=bindparam("what"), holder=bindparam("holder"), until=_UNTIL + timedelta(seconds=1))
    .returning(Fetch.what)
)
_HELD = Prepared(select(Fetch).where(Fetch.holder == any_(bindparam("holders", type_=ARRAY(Uuid)))))


async def test_rows_are_those_of_sqlalchemy(engine: AsyncEngine) -> None:
    """Values and columns go through unchanged, both ways; what the statement says itself is sent along."""
    holder = new_uuid()
    async with one_by_one(engine) as connection:
        added = await _ADD.rows(connection, {"what": "it's", "holder": holder, "until": _NOW})
        assert [row["what"] for row in added] == ["it's"]
        (row,) = await _HELD.rows(connection, {"holders": [holder]})
        (same,) = await connection.execute(select(Fetch.what, Fetch.holder, Fetch.until))
        assert (row["what"], row["holder"], row["until"]) == tuple(same)
        assert row["until"] == _NOW + timedelta(seconds=1)
        assert not await _HELD.rows(connection, {"holders": [new_uuid()]})
        with pytest.raises(KeyError):
            await _HELD.rows(connection, {})


async def test_a_transaction_holds_it(engine: AsyncEngine) -> None:
    """What is done in a transaction that ends badly was not done."""
    holder = new_uuid()
    async with engine.connect() as connection:
        await _ADD.rows(connection, {"what": "undone", "holder": holder, "until": _NOW})
        assert len(await _HELD.rows(connection, {"holders": [holder]})) == 1
        await connection.rollback()
    async with one_by_one(engine) as connection:
        assert not await _HELD.rows(connection, {"holders": [holder]})
        await connection.execute(delete(Fetch))


async def test_lost_connections_are_replaced(engine: AsyncEngine) -> None:
    """A question fails when Postgres ended its connection; then all that are as old are replaced."""
    pid = text("select pg_backend_pid()")
    async with one_by_one(engine) as first, one_by_one(engine) as second:
        await _HELD.rows(second, {"holders": []})
        ended = {"pid": await second.scalar(pid)}
        before = {await first.scalar(pid), ended["pid"]}
        await first.execute(text("select pg_terminate_backend(:pid)"), ended)
        while await first.scalar(text("select count(*) from pg_stat_activity where pid = :pid"), ended):
            await asyncio.sleep(0.01)
        with pytest.raises(CATALOGUE_AWAY):
            await _HELD.rows(second, {"holders": []})
    async with one_by_one(engine) as first, one_by_one(engine) as second:
        assert not await _HELD.rows(first, {"holders": []})
        assert not await _HELD.rows(second, {"holders": []})
        assert before.isdisjoint({await first.scalar(pid), await second.scalar(pid)})


async def test_a_crowd_opens_no_more_connections_than_are_kept(database: str) -> None:
    """Short questions wait for one; what is used last is used first."""
    engine = open_engine(database, pool=2)
    opened: list[object] = []
    event.listen(engine.sync_engine, "connect", lambda connection, _record: opened.append(connection))

    async def ask() -> int:
        async with one_by_one(engine) as connection:
            await connection.execute(text("select pg_sleep(0.01)"))
            return int(await connection.scalar(text("select pg_backend_pid()")))

    try:
        assert len(set(await asyncio.gather(*(ask() for _ in range(20))))) == 2
        assert len({await ask() for _ in range(4)}) == 1
        assert len(opened) == 2
    finally:
        await engine.dispose()


async def test_a_connection_for_short_questions_stays_open(database: str) -> None:
    """The next one has it; who failed or went away in the middle gives none back; all end with their engine."""
    engine, pid = open_engine(database, pool=2), text("select pg_backend_pid()")
    try:
        async with one_by_one(engine) as connection:
            first = await connection.scalar(pid)
            assert not await _HELD.rows(connection, {"holders": []})
        async with one_by_one(engine) as connection:
            assert await connection.scalar(pid) == first
        async with engine.begin() as connection:
            await connection.execute(text("select pg_terminate_backend(:pid)"), {"pid": first})
        await asyncio.sleep(0.2)
        async with one_by_one(engine) as connection:
            assert await connection.scalar(pid) != first, "one that was closed while nobody had it fails nobody"
        with pytest.raises(CATALOGUE_AWAY):
            async with one_by_one(engine) as connection:
                await connection.execute(text("select no_such_column"))
        async with one_by_one(engine) as connection:
            assert not connection.in_transaction()
            assert not await _HELD.rows(connection, {"holders": []})

        async def asleep() -> None:
            async with one_by_one(engine) as connection:
                await connection.execute(text("select pg_sleep(30)"))

        sleeping = asyncio.create_task(asleep())
        await asyncio.sleep(0.2)
        sleeping.cancel()
        await asyncio.wait([sleeping])
        async with one_by_one(engine) as connection:
            last = await connection.scalar(pid)
            await engine.dispose()
            assert await connection.scalar(pid) == last, "who has one keeps it"
    finally:
        await engine.dispose()
    other = open_engine(database, pool=1)
    try:
        async with asyncio.timeout(10), one_by_one(other) as connection:
            there = text("select count(*) from pg_stat_activity where pid = any(:pids)")
            while await connection.scalar(there, {"pids": [first, last]}):
                await asyncio.sleep(0.01)
    finally:
        await other.dispose()


async def test_no_more_connections_are_kept_than_a_process_may(database: str) -> None:
    """Those for short questions are among them; under load there are more, for as long as it lasts."""
    engine = open_engine(database, pool=4)
    open_ = _open_of(engine)
    try:

        async def long() -> None:
            async with engine.connect() as connection:
                await connection.execute(text("select pg_sleep(0.2)"))

        async def short() -> None:
            async with one_by_one(engine) as connection:
                await connection.execute(text("select pg_sleep(0.2)"))

        await asyncio.gather(*(long() for _ in range(5)), *(short() for _ in range(3)))
        assert len(open_) <= 4
    finally:
        await engine.dispose()
    assert not open_


def _open_of(engine: AsyncEngine) -> set[int]:
    """Return the connections of an engine that are open, kept up to date."""
    found = set[int]()
    event.listen(engine.sync_engine, "connect", lambda connection, _record: found.add(id(connection)))
    for name in ("close", "close_detached"):
        event.listen(engine.sync_engine, name, lambda connection, *_record: found.discard(id(connection)))
    return found


_NOW_FIRST = ["now 0", "now 1", "now 2", "later 0", "later 1"]


@pytest.mark.parametrize(("patience", "order"), [(60.0, _NOW_FIRST), (0.0, [*_NOW_FIRST[3:], *_NOW_FIRST[:3]])])
async def test_what_somebody_waits_for_goes_first(
    database: str, monkeypatch: pytest.MonkeyPatch, patience: float, order: list[str]
) -> None:
    """Questions for which nobody waits let the others go first, though not for ever; who goes away takes no place."""
    monkeypatch.setattr("shared.catalogue.engine._LATER", patience)
    engine, asked = open_engine(database, pool=1), list[str]()

    async def ask(name: str) -> None:
        async with one_by_one(engine, later=name.startswith("later")) as connection:
            asked.append(name)
            await connection.execute(text("select 1"))

    try:
        async with one_by_one(engine):
            names = ["later 0", "later gone", "now 0", "later 1", "now gone", "now 1", "now 2"]
            tasks = {name: asyncio.create_task(ask(name)) for name in names}
            await asyncio.sleep(0)
            for gone in ("later gone", "now gone"):
                tasks[gone].cancel()
        async with asyncio.timeout(10):
            await asyncio.gather(*tasks.values(), return_exceptions=True)
            assert asked == order
            # Nobody waits any more: the place is free for both kinds.
            for name in ("later", "now"):
                await ask(name)
    finally:
        await engine.dispose()


async def test_a_place_that_was_given_to_who_went_away_is_given_on(database: str) -> None:
    """Whoever is cancelled in the very moment leaves it to the next."""
    engine, asked = open_engine(database, pool=1), list[str]()

    async def ask(name: str) -> None:
        async with one_by_one(engine):
            asked.append(name)

    try:
        async with one_by_one(engine):
            gone, stays = asyncio.create_task(ask("gone")), asyncio.create_task(ask("stays"))
            await asyncio.sleep(0)
        # The place is given, and nobody has run since.
        gone.cancel()
        async with asyncio.timeout(10):
            await asyncio.gather(gone, stays, return_exceptions=True)
        assert asked == ["stays"]
        await ask("later")
    finally:
        await engine.dispose()
