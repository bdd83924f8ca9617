"""One use case, one transaction: leaving the context without `commit()` rolls everything back."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.catalogue import outbox
from shared.ids import OutboxId
from shared.jobs.messages import Message


class UnitOfWork:
    """A transaction on the catalogue.

    Use it as `async with UnitOfWork(engine) as work: ...; await work.commit()`. Queries take `work.connection`.
    No network call but to the catalogue is made while it is open.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._open: AsyncConnection | None = None

    async def __aenter__(self) -> Self:
        self._open = await self._engine.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._open is not None:
            await self._open.close()
            self._open = None

    @property
    def connection(self) -> AsyncConnection:
        """The connection of this transaction."""
        assert self._open is not None, "use the unit of work as a context"
        return self._open

    async def enqueue(self, message: Message) -> OutboxId:
        """Add a job that is sent if and only if this transaction commits; wakes the relay at the commit."""
        return await outbox.insert(self.connection, message)

    async def enqueue_all(self, messages: Sequence[Message]) -> list[OutboxId]:
        """Add jobs that end up in one publication, otherwise as `enqueue`."""
        return await outbox.insert_all(self.connection, messages)

    async def commit(self) -> None:
        """Make everything done so far durable."""
        await self.connection.commit()
