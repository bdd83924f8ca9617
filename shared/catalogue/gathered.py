"""Statements that several tasks of a process ask for at once, and that Postgres is sent once for all of them.

To send a statement and to take its answer is nearly all that a short question costs a process, for one row as for
twenty. So whoever asks while the same question is under way shares the next one. Nobody shares its fate: when a
statement fails that more than one had asked for, each asks again for itself.
Source: ADR 0053.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from itertools import repeat
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import ARRAY, CTE, Engine, Select, bindparam, column, func, literal_column, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.types import TypeEngine

from shared.catalogue.engine import one_by_one
from shared.catalogue.prepared import Found, Prepared

MOST = 20
"""Who share a statement at the most: more save little for each, and all of them wait for the longest answer."""

SLOW = 3.0
"""Seconds after which nobody waits any more for a statement that is another's: its connection may be dead."""

NUMBER = "n"
"""Name of the column that says whose row it is."""

Types = Mapping[str, TypeEngine[Any]]
"""Of a statement's parameters, by their names."""

_Values = Mapping[str, Any]


class Gathered:
    """A statement that answers each who asks with one row.

    It must do no harm when it is run once more with the same values.
    """

    def __init__(
        self, types: Types, build: Callable[[CTE], Select[*tuple[Any, ...]]], *, patience: float | None = None
    ) -> None:
        """
        Args:
            types: of its parameters, by their names.
            build: returns it, whose rows are those of its argument in the order of `NUMBER`: a table with a column for
                each parameter, and `NUMBER`.
            patience: seconds in which others may join before it is sent, where nobody waits for what it does: then
                others go first at the connections, too (see `one_by_one`). None where somebody waits.
        """
        self._names = tuple(types)
        # Who is alone spares Postgres and the driver the arrays: these take a third of the time.
        self._of_one, self._of_many = Prepared(build(_one(types))), Prepared(build(_many(types)))
        self._patience = patience
        self._crowds: WeakKeyDictionary[Engine, _Crowd] = WeakKeyDictionary()

    async def rows(self, connection: AsyncConnection, asked: Sequence[_Values]) -> Sequence[Found]:
        """Return the rows of some who ask, on a connection as for `Prepared.rows`.

        Raises:
            SQLAlchemyError: it failed, or the connection is gone.
            asyncpg.PostgresError: it failed.
        """
        if len(asked) == 1:
            return await self._of_one.rows(connection, {name: asked[0][name] for name in self._names})
        return await self._of_many.rows(connection, {name: [one[name] for one in asked] for name in self._names})

    async def row(self, engine: AsyncEngine, values: _Values) -> Found:
        """Return the row of one who asks, by a statement that others may share.

        Raises:
            Exception: as for `rows` and for connecting.
        """
        crowd = self._crowds.get(engine.sync_engine)
        if crowd is None:
            crowd = self._crowds[engine.sync_engine] = _Crowd()
        if crowd.is_led:
            answer = await crowd.told(values)
            if answer is _Told.ALONE:
                return await self._asked_alone(engine, values)
            if answer is not _Told.LEADS:
                return answer
        return await self._asked_for_all(engine, values, crowd)

    async def _asked_for_all(self, engine: AsyncEngine, values: _Values, crowd: _Crowd) -> Found:
        """Ask for oneself and for who waits when there is a connection for it."""
        crowd.is_led = True
        others: list[_Asking] = []
        rows: Sequence[Found] = ()
        try:
            if self._patience is not None:
                await asyncio.sleep(self._patience)
            async with one_by_one(engine, later=self._patience is not None) as connection:
                others = crowd.taken()
                slow = asyncio.get_running_loop().call_later(SLOW, crowd.end, others, ())
                try:
                    rows = await self.rows(connection, [values, *(one.values for one in others)])
                finally:
                    slow.cancel()
        except Exception:
            if not others:
                # Where Postgres is silent, those who wait are not to find that out one after the other.
                others = crowd.taken()
                raise
        finally:
            crowd.end(others, rows)
        return rows[0] if rows else await self._asked_alone(engine, values)

    async def _asked_alone(self, engine: AsyncEngine, values: _Values) -> Found:
        async with one_by_one(engine, later=self._patience is not None) as connection:
            (row,) = await self.rows(connection, [values])
        return row


def _one(types: Types) -> CTE:
    """Return what one asks with, as a table."""
    columns = (bindparam(name, type_=kind).label(name) for name, kind in types.items())
    return select(*columns, literal_column("1").label(NUMBER)).cte("asked")


def _many(types: Types) -> CTE:
    """Return what many ask with, as a table."""
    # Behind a `select` Postgres does not look how long they are: then one plan does for all, and is made once.
    arrays = (select(bindparam(name, type_=ARRAY(kind))).scalar_subquery() for name, kind in types.items())
    columns = (column(name, kind) for name, kind in types.items())
    rows = func.unnest(*arrays).table_valued(*columns, with_ordinality=NUMBER, name="given").render_derived()
    return select(*rows.c).cte("asked")


class _Told(Enum):
    """What one who waits is told in place of a row: to ask for all who wait now, or for oneself alone."""

    LEADS = auto()
    ALONE = auto()


@dataclass(frozen=True, slots=True)
class _Asking:
    values: _Values
    answer: asyncio.Future[Found | _Told]


class _Crowd:
    """Those who ask an engine for the same statement: one of them leads, the others wait."""

    def __init__(self) -> None:
        self.is_led = False
        self._waiting: deque[_Asking] = deque()

    async def told(self, values: _Values) -> Found | _Told:
        """Wait, and return what one was told."""
        answer: asyncio.Future[Found | _Told] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Asking(values, answer))
        try:
            return await answer
        except asyncio.CancelledError:
            if answer.done() and not answer.cancelled() and answer.result() is _Told.LEADS:
                self._lead()
            raise

    def taken(self) -> list[_Asking]:
        """Take those who wait, for the one who leads; no more than may share a statement."""
        taken = list[_Asking]()
        while self._waiting and len(taken) < MOST - 1:
            one = self._waiting.popleft()
            if not one.answer.done():
                taken.append(one)
        return taken

    def end(self, others: Sequence[_Asking], rows: Sequence[Found]) -> None:
        """Tell those who were taken, and have the next one lead. It may be called again: who was told stays so.

        Args:
            rows: of the one who led and of the others; empty where it failed, or takes too long.
        """
        answers: Iterable[Found | _Told] = rows[1:] if rows else repeat(_Told.ALONE)
        for one, told in zip(others, answers, strict=False):
            if not one.answer.done():
                one.answer.set_result(told)
        self._lead()

    def _lead(self) -> None:
        """Have the first who waits lead."""
        while self._waiting:
            one = self._waiting.popleft()
            if not one.answer.done():
                one.answer.set_result(_Told.LEADS)
                return
        self.is_led = False
