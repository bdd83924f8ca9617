"""Follows the heads of all indexes in memory: what is current, what changed, and when a file became visible.

The signing commit notifies `CHANNEL` with the index's id; a process that missed it compares heads at the listener's
next
tick. Everything served follows the head (architecture section 11.2).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from countermark.core.digest import Length, Sha256
from shared.catalogue import outbox
from shared.catalogue.tables import Page, PublishedFile, TufHead
from shared.ids import FileId, IndexId, OutboxId

_ROWS_AT_ONCE = 500
"""Rows of a long list that are read without a pause."""

CHANNEL = "countermark_head"
"""Postgres notification channel: a head was committed; the payload is the index's id."""


@dataclass(frozen=True, slots=True)
class Head:
    """What is current in an index."""

    index_id: IndexId
    serial: int
    root_version: int
    snapshot_version: int
    timestamp_version: int
    timestamp: bytes
    timestamp_expires_at: datetime
    committed_at: datetime


@dataclass(frozen=True, slots=True)
class PageRef:
    """The current page document of a project: its digest and length name the bytes in the store."""

    project: str
    serial: int
    sha256: Sha256
    length: Length
    files: int


Changed = Callable[[Head, frozenset[str]], None]
"""Called with a new head and the names of the projects whose pages it changed, before anybody waiting is told. Quick,
no I/O."""


@dataclass(frozen=True, slots=True)
class _Settling:
    """Somebody who waits until changes of an index are settled and the head that shows them is served here."""

    index_id: IndexId
    jobs: frozenset[OutboxId]
    arrived: asyncio.Future[int]


_HEAD = (
    TufHead.index_id,
    TufHead.serial,
    TufHead.root_version,
    TufHead.snapshot_version,
    TufHead.timestamp_version,
    TufHead.timestamp,
    TufHead.timestamp_expires_at,
    TufHead.committed_at,
)

_Waiting = dict[FileId, list[asyncio.Future[int]]]


class Expecting:
    """Somebody who waits for one file; made by `Heads.expecting`."""

    def __init__(self, look: Callable[[], Awaitable[None]], waiting: _Waiting) -> None:
        self._look = look
        self._waiting = waiting
        self._expected: tuple[FileId, asyncio.Future[int]] | None = None

    def expect(self, file_id: FileId) -> None:
        """Begin to wait for a file whose row is not committed yet, instead of one expected before."""
        self.forget()
        arrived: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(file_id, []).append(arrived)
        self._expected = file_id, arrived

    async def published(self, file_id: FileId, seconds: float) -> int | None:
        """Return the serial since which a file is visible here, once it is, or None when the time ran out.

        One that was not expected may be visible already: then the catalogue is asked first.
        """
        try:
            # Not `wait_for`: on Python 3.11 it can lose a cancellation that comes with the result.
            if self._expected is None or self._expected[0] != file_id:
                self.expect(file_id)
                await self._look()
            assert self._expected is not None
            async with asyncio.timeout(seconds):
                return await self._expected[1]
        except TimeoutError:
            self.forget()
            return None

    def forget(self) -> None:
        """Wait no more."""
        if self._expected is None:
            return
        (file_id, arrived), self._expected = self._expected, None
        waiting = self._waiting[file_id]
        waiting.remove(arrived)
        if not waiting:
            del self._waiting[file_id]


class Heads:
    """The heads of all indexes as of the last notice."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._heads: dict[IndexId, Head] = {}
        self._subscribers: list[Changed] = []
        self._waiting: _Waiting = {}
        self._settling: list[_Settling] = []
        self._advancing = asyncio.Lock()

    def get(self, index_id: IndexId) -> Head | None:
        """Return the head of an index, None before its first publication."""
        return self._heads.get(index_id)

    def subscribe(self, changed: Changed) -> None:
        """Call `changed` at every head that this process learns of."""
        self._subscribers.append(changed)

    async def wake(self, payload: str) -> None:
        """Learn of new heads: of the index whose id is the payload, or of all when it is empty. For the listener."""
        async with self._advancing:
            await self._advance(IndexId(UUID(payload)) if payload else None)

    @contextmanager
    def expecting(self, index_id: IndexId) -> Iterator[Expecting]:
        """Wait for a file that is about to be added to an index: what is expected before its row is committed cannot be
        missed."""
        expecting = Expecting(partial(self._look_for, index_id), self._waiting)
        try:
            yield expecting
        finally:
            expecting.forget()

    async def wait_published(self, index_id: IndexId, file_id: FileId, seconds: float) -> int | None:
        """Wait until a file of an index is visible here; returns the serial since which it is, None when time ran out.

        When it returns a serial, this process already serves pages of that serial or newer.
        """
        with self.expecting(index_id) as expecting:
            return await expecting.published(file_id, seconds)

    async def _look_for(self, index_id: IndexId) -> None:
        # Of one index alone: everybody's notices wait meanwhile.
        async with self._advancing:
            await self._advance(index_id)

    async def wait_settled(self, index_id: IndexId, jobs: Collection[OutboxId], seconds: float) -> int | None:
        """Wait until changes of an index are published and visible here; returns the serial of the head that is served
        then, None when the time ran out.

        Args:
            jobs: the numbers of their `publish_index` rows; none means what is published already.
        """
        arrived: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        settling = _Settling(index_id, frozenset(jobs), arrived)
        self._settling.append(settling)
        try:
            async with self._advancing:
                await self._advance(index_id)
            async with asyncio.timeout(seconds):
                return await arrived
        except TimeoutError:
            return None
        finally:
            self._settling.remove(settling)

    async def _advance(self, index_id: IndexId | None) -> None:
        """Learn of the head of one index, or of those of all, and tell who waits for what it shows."""
        async with self._engine.connect() as connection:
            # Before the heads are read: a change that is settled now is part of any head that is read later.
            settled = await self._settled(connection, index_id)
            behind = [index_id] if index_id is not None else await self._behind(connection)
            if behind:
                rows = await connection.execute(select(*_HEAD).where(TufHead.index_id.in_(behind)))
                for head in [Head(**row._mapping) for row in rows]:
                    if self._version_of(head.index_id) != head.timestamp_version:
                        await self._adopt(connection, head)
            await self._tell_waiting(connection, index_id)
        for settling in settled:
            head_now = self._heads.get(settling.index_id)
            if head_now is not None and not settling.arrived.done():
                settling.arrived.set_result(head_now.serial)

    async def _behind(self, connection: AsyncConnection) -> list[IndexId]:
        """Return the indexes of which this process does not know the current head."""
        rows = await connection.execute(select(TufHead.index_id, TufHead.timestamp_version))
        return [IndexId(row.index_id) for row in rows if self._version_of(row.index_id) != row.timestamp_version]

    async def _settled(self, connection: AsyncConnection, index_id: IndexId | None) -> list[_Settling]:
        waiting = [settling for settling in self._settling if index_id in (None, settling.index_id)]
        if not waiting:
            return []
        done = await outbox.done(connection, frozenset().union(*(settling.jobs for settling in waiting)))
        return [settling for settling in waiting if settling.jobs <= done]

    def _version_of(self, index_id: IndexId) -> int | None:
        head = self._heads.get(index_id)
        return None if head is None else head.timestamp_version

    async def _adopt(self, connection: AsyncConnection, head: Head) -> None:
        old = self._heads.get(head.index_id)
        changed: frozenset[str] = frozenset()
        if old is not None:
            newer = select(Page.project_name).where(Page.index_id == head.index_id, Page.serial > old.serial)
            changed = frozenset(await connection.scalars(newer))
        self._heads[head.index_id] = head
        for subscriber in self._subscribers:
            subscriber(head, changed)

    async def _tell_waiting(self, connection: AsyncConnection, index_id: IndexId | None) -> None:
        if not self._waiting:
            return
        query = select(PublishedFile.file_id, PublishedFile.from_serial, PublishedFile.index_id)
        if index_id is not None:
            query = query.where(PublishedFile.index_id == index_id)
        rows = await connection.execute(
            query.where(PublishedFile.file_id.in_(list(self._waiting)), PublishedFile.to_serial.is_(None))
        )
        for row in rows:
            head = self._heads.get(row.index_id)
            if head is None or head.serial < row.from_serial:
                continue
            for waiting in self._waiting.get(row.file_id, ()):
                if not waiting.done():
                    waiting.set_result(row.from_serial)


async def current_page(connection: AsyncConnection, index_id: IndexId, project: str) -> PageRef | None:
    """Return the current page document of a project, None when it never was published, or was removed."""
    row = (
        await connection.execute(
            select(Page.project_name, Page.serial, Page.sha256, Page.length, Page.files, Page.gone)
            .where(Page.index_id == index_id, Page.project_name == project)
            .order_by(Page.serial.desc())
            .limit(1)
        )
    ).first()
    return (
        None
        if row is None or row.gone
        else PageRef(row.project_name, row.serial, Sha256(row.sha256), Length(row.length), row.files)
    )


async def current_pages(connection: AsyncConnection, index_id: IndexId) -> list[PageRef]:
    """Return the current page documents of all projects with at least one file, by name."""
    return [page async for pages in newest_pages(connection, index_id) for page in pages if page.files]


async def newest_pages(connection: AsyncConnection, index_id: IndexId) -> AsyncIterator[list[PageRef]]:
    """Yield the current page documents of all projects, also of those without a file, by name, in parts."""
    newest = (
        select(Page.project_name, Page.serial, Page.sha256, Page.length, Page.files)
        .where(Page.index_id == index_id)
        .ext(distinct_on(Page.project_name))
        .order_by(Page.project_name, Page.serial.desc())
    )
    # In parts, with other work in between: fifty thousand rows at once would hold up every request.
    async with connection.stream(newest, execution_options={"yield_per": _ROWS_AT_ONCE}) as result:
        async for rows in result.partitions():
            yield [
                PageRef(row.project_name, row.serial, Sha256(row.sha256), Length(row.length), row.files) for row in rows
            ]
