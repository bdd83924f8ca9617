"""When each token was used last: noted in memory, written now and then.

A request pays one dictionary write. A process writes a token at most once a minute, so what is shown can be that old,
and what a killed process had not written is lost. Source: contract python-index section 3.6.
"""

from __future__ import annotations

import asyncio
import time
from datetime import datetime, timedelta

import structlog
from sqlalchemy import func
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.catalogue.tables import TokenUse
from shared.ids import TokenId

log = structlog.get_logger()

INTERVAL = timedelta(minutes=1)
"""A process writes a token at most this often."""

TICK = 2.0
"""Seconds between two looks at what is to be written: how soon a first use is seen."""

_ROWS = 1000
"""Tokens written in one statement."""


class LastUse:
    """Notes uses and writes them."""

    def __init__(self, engine: AsyncEngine, *, tick: float = TICK) -> None:
        self._engine = engine
        self._tick = tick
        self._used: dict[TokenId, datetime] = {}
        self._written: dict[TokenId, float] = {}

    def saw(self, token_id: TokenId, at: datetime) -> None:
        """Note that a token was accepted. For hot paths: memory alone."""
        self._used[token_id] = at

    async def run(self) -> None:
        """Write what is due until cancelled, and everything at the end."""
        try:
            while True:
                await asyncio.sleep(self._tick)
                await self._try(self._due())
        finally:
            await self._try(dict(self._used))

    async def flush(self) -> None:
        """Write everything now.

        Raises:
            SQLAlchemyError: the catalogue cannot be used; nothing is forgotten.
        """
        await self._write(dict(self._used))

    def _due(self) -> dict[TokenId, datetime]:
        lately = time.monotonic() - INTERVAL.total_seconds()
        self._written = {token_id: when for token_id, when in self._written.items() if when > lately}
        return {token_id: at for token_id, at in self._used.items() if token_id not in self._written}

    async def _try(self, due: dict[TokenId, datetime]) -> None:
        try:
            await self._write(due)
        except (SQLAlchemyError, OSError) as error:
            log.warning("token_use_not_written", tokens=len(due), error=type(error).__name__)

    async def _write(self, due: dict[TokenId, datetime]) -> None:
        # In order, so that two processes that write the same tokens never wait for each other in a circle.
        rows = [{"token_id": token_id, "last_used_at": at} for token_id, at in sorted(due.items())]
        for start in range(0, len(rows), _ROWS):
            statement = insert(TokenUse).values(rows[start : start + _ROWS])
            newer = func.greatest(TokenUse.last_used_at, statement.excluded.last_used_at)
            async with self._engine.begin() as connection:
                await connection.execute(
                    statement.on_conflict_do_update(index_elements=[TokenUse.token_id], set_={"last_used_at": newer})
                )
        for token_id, at in due.items():
            self._written[token_id] = time.monotonic()
            if self._used.get(token_id) == at:
                del self._used[token_id]
