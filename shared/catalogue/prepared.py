"""Statements that are written out once and given to the driver as they are: those that every miss of a mirror makes.

SQLAlchemy takes ten times as long to send a question as the driver does (0.2 ms of CPU), and a cold page has several.
What is asked is still built with it, and goes through it wherever a transaction is open.
Source: ADR 0028 ("one statement each").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import asyncpg
from sqlalchemy import Executable, dialects, text
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql import ClauseElement
from sqlalchemy.sql.compiler import SQLCompiler

from shared.catalogue.engine import AUTOCOMMIT

_LOST = (
    *(asyncpg.InterfaceError, asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError),
    *(asyncpg.InternalClientError, OSError),
)
"""Errors after which a connection may be gone; an `OSError` too, as the driver raises it."""


_DIALECT = dialects.registry.load("postgresql.asyncpg")()


class Found(Protocol):
    """A row, by the names of its columns."""

    def __getitem__(self, name: str, /) -> Any:
        """Return a column's value."""


class Prepared:
    """A statement without lists of values (`IN`), whose types need no conversion: texts, numbers, moments, bytes.

    Attributes:
        text: as the driver gets it.
    """

    def __init__(self, statement: Executable) -> None:
        assert isinstance(statement, ClauseElement)
        compiled = statement.compile(dialect=_DIALECT)
        assert isinstance(compiled, SQLCompiler)
        self._statement = statement
        self.text = str(compiled)
        self._fixed = {name: value.value for name, value in compiled.binds.items() if not value.required}
        self._names = tuple(compiled.positiontup or ())

    async def rows(self, connection: AsyncConnection, values: dict[str, Any]) -> Sequence[Found]:
        """Run it, and return its rows by the names of their columns.

        Args:
            connection: of `one_by_one`, or one whose transaction is open.

        Raises:
            SQLAlchemyError: it failed, or the connection is gone.
            asyncpg.PostgresError: it failed.
        """
        plain = connection.sync_connection
        if plain is None or not is_autocommit(connection):
            return [row._mapping for row in await connection.execute(self._statement, values)]
        driver: Any = plain.connection.driver_connection
        known = self._fixed | values
        try:
            rows: Sequence[Found] = await driver.fetch(self.text, *[known[name] for name in self._names])
        except _LOST:
            # SQLAlchemy is to find out as well: it drops this connection then, and all others that are as old.
            await connection.execute(text("select 1"))
            raise
        return rows


def is_autocommit(connection: AsyncConnection) -> bool:
    """Return whether each statement is a transaction of its own on a connection: it is of `one_by_one`."""
    plain = connection.sync_connection
    return plain is not None and plain.get_execution_options().get("isolation_level") == AUTOCOMMIT
