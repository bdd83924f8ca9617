"""Opens the catalogue: one engine per process."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from weakref import WeakKeyDictionary

import asyncpg
from sqlalchemy import Dialect, Engine, event
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

STATEMENT_TIMEOUT = 30_000
"""Milliseconds after which Postgres ends a statement: nothing we run takes seconds."""

CATALOGUE_AWAY = (SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)
"""What a loop meets while Postgres is away or restarts; some errors of connecting arrive as the driver raises them."""

_SHORT_AT_ONCE = 3
"""Short questions that an engine asks at the same time: Postgres answers each in some 0.2 ms, and who begins to use a
further connection waits for its opening and for the preparation of all statements, some 20 ms of CPU."""


_LATER = 0.5
"""Seconds after which who let others go first goes before them."""


class _Places:
    """Places for those who ask, taken in order: those for whose answers somebody waits before the others."""

    def __init__(self, free: int) -> None:
        self._free = free
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._later: deque[tuple[float, asyncio.Future[None]]] = deque()
        """Until when each lets others go first, and what wakes it."""

    @asynccontextmanager
    async def one(self, *, later: bool) -> AsyncIterator[None]:
        """Have a place.

        Args:
            later: whether others go first, though not for ever.
        """
        if self._free:
            self._free -= 1
        else:
            await self._given(later=later)
        try:
            yield
        finally:
            self._give()

    async def _given(self, *, later: bool) -> None:
        loop = asyncio.get_running_loop()
        place = loop.create_future()
        if later:
            self._later.append((loop.time() + _LATER, place))
        else:
            self._waiting.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self._give()
            raise

    def _give(self) -> None:
        """Give a place to the next, or keep it for who comes."""
        now = asyncio.get_running_loop().time()
        while self._waiting or self._later:
            if self._later and (not self._waiting or self._later[0][0] <= now):
                _, place = self._later.popleft()
            else:
                place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                return
        self._free += 1


class _Gate:
    """The connections of an engine for short questions: as many as are asked at once stay open.

    To take a connection out of the pool and to give it back took 0.07 ms of the 0.15 ms of CPU of such a question.
    """

    def __init__(self, places: int) -> None:
        self._places = _Places(places)
        self._idle: list[AsyncConnection] = []
        self._lost = 0
        """How often a connection was found lost: those that are older are not used again."""

    @asynccontextmanager
    async def open(self, engine: AsyncEngine, *, later: bool) -> AsyncIterator[AsyncConnection]:
        """Yield one; after a failure it is not used again, and once one was lost none of those that are as old."""
        async with self._places.one(later=later):
            lost = self._lost
            connection = self._alive() or await _opened(engine)
            good = False
            try:
                yield connection
                if connection.in_transaction() and not connection.invalidated:
                    # Of the library's own account: nothing was begun at Postgres.
                    await connection.commit()
                good = True
            finally:
                if connection.invalidated:
                    self._lost += 1
                    idle, self._idle = self._idle, []
                    await _closed([connection, *idle])
                elif self._lost != lost:
                    # Also the pool that it is of may be gone: nobody else would close it.
                    await connection.invalidate()
                    await _closed([connection])
                elif good:
                    self._idle.append(connection)
                else:
                    await _closed([connection])

    def drop(self) -> None:
        """Close what is idle, and what is in use when it is given back. In a greenlet of SQLAlchemy's."""
        self._lost += 1
        while self._idle:
            connection = self._idle.pop().sync_connection
            if connection is not None and not connection.closed:
                # The pool that it is of is being thrown away, and would never close it.
                connection.detach()
                connection.close()

    def _alive(self) -> AsyncConnection | None:
        """Return an idle connection that Postgres has not closed, None for none."""
        while self._idle:
            connection = self._idle.pop()
            plain = connection.sync_connection
            driver: Any = None if plain is None or plain.closed else plain.connection.driver_connection
            if driver is not None and not driver.is_closed():
                return connection
            if plain is not None:
                plain.invalidate()
        return None


async def _opened(engine: AsyncEngine) -> AsyncConnection:
    return await (await engine.connect()).execution_options(isolation_level=AUTOCOMMIT)


async def _closed(connections: list[AsyncConnection]) -> None:
    # To the end, though whoever asked was cancelled.
    closing = [asyncio.create_task(connection.close()) for connection in connections]
    await asyncio.shield(asyncio.gather(*closing, return_exceptions=True))


_gates: WeakKeyDictionary[Engine, _Gate] = WeakKeyDictionary()
"""Of the engines here. A gate that keeps a connection keeps its engine: until that is disposed of."""

CONNECT_TIMEOUT = 10.0
"""Seconds that connecting may take."""

AUTOCOMMIT = "AUTOCOMMIT"
"""Isolation level of connections on which each statement is a transaction of its own."""


class CatalogueUnreachable(ConnectionError):
    """Postgres could not be reached: told apart from other errors of the system, whose words are the same."""


def open_engine(url: str, *, pool: int = 10) -> AsyncEngine:
    """Return an engine for a `postgresql+asyncpg://` URL; it connects on first use.

    Args:
        pool: connections kept at the most; as many again may be opened under load. The one that was used last is used
            first: then the few that are needed know the statements already.
    """
    places = min(_SHORT_AT_ONCE, pool)
    kept = max(1, pool - places)  # Beside those of the gate.
    engine = create_async_engine(
        url,
        pool_size=kept,
        max_overflow=2 * pool if kept == 1 else 2 * pool - kept,
        pool_use_lifo=True,
        pool_pre_ping=False,
        connect_args={
            "timeout": CONNECT_TIMEOUT,
            "server_settings": {
                "statement_timeout": str(STATEMENT_TIMEOUT),
                "application_name": "countermark",
                "jit": "off",
            },
        },
    )
    event.listen(engine.sync_engine, "do_connect", _connect)
    gate = _gates[engine.sync_engine] = _Gate(places)
    event.listen(engine.sync_engine, "engine_disposed", lambda _: gate.drop())
    return engine


@asynccontextmanager
async def one_by_one(engine: AsyncEngine, *, later: bool = False) -> AsyncIterator[AsyncConnection]:
    """Yield a connection on which each statement is a transaction of its own: one question to Postgres, not three.

    Whoever has one does not ask for another: a crowd waits here for those that are kept, since to open one more, and to
    close it afterwards, takes longer than fifty such questions.

    Args:
        later: whether nobody waits for what is asked, so that others may go first for a while.
    """
    async with _gates[engine.sync_engine].open(engine, later=later) as connection:
        yield connection


def _connect(dialect: Dialect, _record: object, arguments: list[Any], options: dict[str, Any]) -> Any:
    try:
        return dialect.connect(*arguments, **options)
    except OSError as error:
        raise CatalogueUnreachable(f"Postgres cannot be reached: {error}") from error
