"""Opens the catalogue: one engine per process."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import AbstractAsyncContextManager
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

    async def take(self, *, later: bool) -> None:
        """Wait for a place, which is to be given back.

        Args:
            later: whether others go first, though not for ever.
        """
        if self._free:
            self._free -= 1
        else:
            await self._given(later=later)

    def give(self) -> None:
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
                self.give()
            raise


class _Gate:
    """The connections of an engine for short questions: as many as are asked at once stay open.

    To take a connection out of the pool and to give it back took 0.07 ms of the 0.15 ms of CPU of such a question.
    """

    def __init__(self, places: int) -> None:
        self.places = _Places(places)
        self.lost = 0
        """How often a connection was found lost: those that are older are not used again."""
        self._idle: list[AsyncConnection] = []

    async def give(self, connection: AsyncConnection, lost: int, *, good: bool) -> None:
        """Take a connection back: after a failure it is not used again, and once one was lost none that is as old.

        Args:
            lost: what `lost` was when it was taken.
        """
        if connection.invalidated:
            self.lost += 1
            idle, self._idle = self._idle, []
            await _closed([connection, *idle])
        elif self.lost != lost:
            # Also the pool that it is of may be gone: nobody else would close it.
            await connection.invalidate()
            await _closed([connection])
        elif good:
            self._idle.append(connection)
        else:
            await _closed([connection])

    def drop(self) -> None:
        """Close what is idle, and what is in use when it is given back. In a greenlet of SQLAlchemy's."""
        self.lost += 1
        while self._idle:
            connection = self._idle.pop().sync_connection
            if connection is not None and not connection.closed:
                # The pool that it is of is being thrown away, and would never close it.
                connection.detach()
                connection.close()

    def alive(self) -> AsyncConnection | None:
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


class _Borrowed:
    """A connection of a gate, while a block lasts."""

    __slots__ = ("_connection", "_engine", "_gate", "_later", "_lost")

    def __init__(self, engine: AsyncEngine, *, later: bool) -> None:
        self._engine = engine
        self._gate = _gates[engine.sync_engine]
        self._later = later

    async def __aenter__(self) -> AsyncConnection:
        gate = self._gate
        await gate.places.take(later=self._later)
        try:
            self._lost = gate.lost
            self._connection = gate.alive() or await _opened(self._engine)
        except BaseException:
            gate.places.give()
            raise
        return self._connection

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        connection, good = self._connection, False
        try:
            if kind is None and connection.in_transaction() and not connection.invalidated:
                # Of the library's own account: nothing was begun at Postgres.
                await connection.commit()
            good = kind is None
        finally:
            try:
                await self._gate.give(connection, self._lost, good=good)
            finally:
                self._gate.places.give()


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


def one_by_one(engine: AsyncEngine, *, later: bool = False) -> AbstractAsyncContextManager[AsyncConnection]:
    """Return what yields a connection on which each statement is a transaction of its own: one question to Postgres,
    not three.

    Whoever has one does not ask for another: a crowd waits here for those that are kept, since to open one more, and to
    close it afterwards, takes longer than fifty such questions.

    Args:
        later: whether nobody waits for what is asked, so that others may go first for a while.
    """
    # No generators: two of them, one in the other, took a third of the time of a short question.
    return _Borrowed(engine, later=later)


def _connect(dialect: Dialect, _record: object, arguments: list[Any], options: dict[str, Any]) -> Any:
    try:
        return dialect.connect(*arguments, **options)
    except OSError as error:
        raise CatalogueUnreachable(f"Postgres cannot be reached: {error}") from error
