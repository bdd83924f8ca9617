"""Questions that share a statement: each gets its own answer, and nobody the failure of another."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest
from sqlalchemy import CTE, Integer, Select, Text, cast, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from countermark.core.digest import Length, Sha256
from shared.catalogue import engine as catalogue
from shared.catalogue import gathered, mirror_files
from shared.catalogue.engine import CATALOGUE_AWAY, one_by_one, open_engine
from shared.catalogue.fetches import Turn, what_object
from shared.catalogue.gathered import NUMBER, Gathered
from shared.catalogue.mirror_files import Kept
from shared.catalogue.prepared import Found
from shared.catalogue.tables import Fetch
from shared.objects.interface import Key
from tests.support.reading import counted_queries

_NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)
_NUMBER = "number"


def doubled(patience: float | None = None, kind: type[Gathered] = Gathered) -> Gathered:
    """Return a statement that fails for what is no number."""

    def build(asked: CTE) -> Select[*tuple[Any, ...]]:
        answer = select((cast(asked.c[_NUMBER], Integer) * 2).label("twice"), func.pg_sleep(0.02))
        return answer.order_by(asked.c[NUMBER])

    return kind({_NUMBER: Text()}, build, patience=patience)


async def _twice(statement: Gathered, engine: AsyncEngine, number: object) -> int:
    return int((await statement.row(engine, {_NUMBER: str(number)}))["twice"])


async def _all(statement: Gathered, engine: AsyncEngine, numbers: Sequence[object]) -> list[int | BaseException]:
    return await asyncio.gather(*(_twice(statement, engine, one) for one in numbers), return_exceptions=True)


async def test_who_comes_meanwhile_shares_the_next_statement(engine: AsyncEngine) -> None:
    """Whoever is alone has one of his own."""
    statement = doubled()
    with counted_queries(engine) as sent:
        assert [await _twice(statement, engine, number) for number in range(3)] == [0, 2, 4]
        assert len(sent) == 3
        assert await _all(statement, engine, range(20)) == list(range(0, 40, 2))
        assert len(sent) == 5


async def test_what_nobody_waits_for_waits_for_others(engine: AsyncEngine) -> None:
    """They share the first statement already."""
    with counted_queries(engine) as sent:
        assert await _all(doubled(0.1), engine, range(20)) == list(range(0, 40, 2))
        assert len(sent) == 1


async def test_no_more_share_than_may(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others have the next one."""
    monkeypatch.setattr(gathered, "MOST", 4)
    with counted_queries(engine) as sent:
        assert await _all(doubled(0.05), engine, range(10)) == list(range(0, 20, 2))
        assert len(sent) == 3


async def test_nobody_shares_the_failure_of_another(engine: AsyncEngine) -> None:
    """Who led it as little as who joined it."""
    for bad in (0, 1, 2, 9):
        found = await _all(doubled(0.05), engine, ["none" if number == bad else number for number in range(10)])
        assert isinstance(failure := found.pop(bad), asyncpg.PostgresError)
        assert "none" in str(failure)
        assert found == [2 * number for number in range(10) if number != bad]


async def test_all_are_told_that_postgres_is_away() -> None:
    """Each in its own words; later ones ask again."""
    engine = open_engine("postgresql+asyncpg://nobody@127.0.0.1:1/none")
    statement = doubled()
    for _ in range(2):
        found = await _all(statement, engine, range(5))
        assert all(isinstance(one, CATALOGUE_AWAY) for one in found)
        assert len(set(map(id, found))) == 5
    await engine.dispose()


async def test_nobody_waits_for_a_connection_that_hangs(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither who shared its statement nor who comes later: they ask by others."""
    hung = asyncio.Event()

    class Hanging(Gathered):
        async def rows(self, connection: AsyncConnection, asked: Sequence[Mapping[str, Any]]) -> Sequence[Found]:
            if not hung.is_set():
                hung.set()
                await asyncio.sleep(3600)
            return await super().rows(connection, asked)

    statement = doubled(0.05, Hanging)
    monkeypatch.setattr(gathered, "SLOW", 0.1)
    async with asyncio.timeout(10):
        leader = asyncio.create_task(_twice(statement, engine, 0))
        assert await _all(statement, engine, range(1, 10)) == list(range(2, 20, 2))
        assert await _all(statement, engine, range(30)) == list(range(0, 60, 2))
    assert hung.is_set()
    assert not leader.done()
    leader.cancel()
    await asyncio.wait([leader])


async def test_who_waits_does_not_find_out_in_turn_that_postgres_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes connections and says nothing: they all wait for it at the same time, as many as have places."""
    at_once, most = 0, 0

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await reader.read()
        at_once -= 1
        writer.close()

    monkeypatch.setattr(catalogue, "CONNECT_TIMEOUT", 0.2)
    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        engine = open_engine(f"postgresql+asyncpg://nobody@127.0.0.1:{port}/none?ssl=disable")
        found = await _all(doubled(), engine, range(12))
        await engine.dispose()
    assert all(isinstance(one, CATALOGUE_AWAY) for one in found)
    assert most == 3


@pytest.mark.parametrize("when", [0.0, 0.03, 0.07])
async def test_who_goes_away_keeps_nobody_waiting(engine: AsyncEngine, when: float) -> None:
    """Neither who leads, before it is sent and after, nor who waits."""
    statement = doubled(0.05)
    await _twice(statement, engine, 0)
    asking = [asyncio.create_task(_twice(statement, engine, number)) for number in range(10)]
    await asyncio.sleep(when)
    for gone in (asking[0], asking[1], asking[5]):
        gone.cancel()
    async with asyncio.timeout(10):
        found = await asyncio.gather(*asking, return_exceptions=True)
        stayed = [2, 3, 4, 6, 7, 8, 9]
        assert [found[number] for number in stayed] == [2 * number for number in stayed]
        assert await _twice(statement, engine, 4) == 8


def _kept(number: int) -> Kept:
    return Kept(Sha256(f"{number:064x}"), Length(number))


async def test_turns_are_taken_and_ended_together(engine: AsyncEngine) -> None:
    """One that somebody has is not given to others of the same statement; what is kept is found, and takes none."""
    keys = [Key(f"mirror/{number:02}") for number in range(20)]
    first = await _taken(engine, [*keys, keys[3], keys[3]])
    mine = {key: turn for key, turn in first if turn.mine}
    assert (sorted(mine), sum(turn.mine for _, turn in first)) == (keys, 20)
    kept = {key: Kept(Sha256(f"{number:064x}"), Length(number)) for number, key in enumerate(keys[:10])}
    with counted_queries(engine) as sent:
        await asyncio.gather(
            *(mirror_files.note_fetched(engine, key, is_, _NOW, mine[key]) for key, is_ in kept.items())
        )
        assert len(sent) == 1
    second = await _taken(engine, keys)
    assert not any(turn.mine for _, turn in second)
    assert {key: turn.found and mirror_files.kept_of(turn.found) for key, turn in second} == {
        key: kept.get(key) for key in keys
    }
    async with one_by_one(engine) as connection:
        assert sorted(await connection.scalars(select(Fetch.what))) == [what_object(key) for key in keys[10:]]


async def _taken(engine: AsyncEngine, keys: list[Key]) -> list[tuple[Key, Turn]]:
    turns = [(key, Turn(what_object(key), mine=False)) for key in keys]
    await asyncio.gather(*(turn.take(engine, mirror_files.unless_kept(key)) for key, turn in turns))
    return turns


async def test_processes_do_not_wait_for_each_other_for_ever(database: str) -> None:
    """Whatever turns they take and end together: nobody has one that another has, and none stays."""
    engines = [open_engine(database, pool=3) for _ in range(3)]
    held = set[str]()

    async def fly(engine: AsyncEngine, number: int) -> None:
        what = f"what {number % 30:02}"
        turn = Turn(what, mine=False)
        await turn.take(engine)
        if turn.mine:
            assert what not in held
            held.add(what)
            await asyncio.sleep(0)
            held.remove(what)
            kept = Kept(Sha256("0" * 64), Length(number))
            await mirror_files.note_fetched(engine, Key(f"key {number * 7 % 30:02}"), kept, _NOW, turn)

    async with asyncio.timeout(60):
        for _ in range(5):
            steps = zip(engines, (1, 7, 11), strict=True)
            await asyncio.gather(*(fly(engine, number * step) for engine, step in steps for number in range(90)))
    for engine in engines:
        # A connection that ends says what it met.
        await engine.dispose()
    last = open_engine(database, pool=1)
    async with one_by_one(last) as connection:
        met = text("select deadlocks from pg_stat_database where datname = current_database()")
        assert await connection.scalar(met) == 0
        assert not list(await connection.scalars(select(Fetch.what)))
    await last.dispose()
