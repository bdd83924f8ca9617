"""Who fetches something from an upstream: one process at a time, the others wait for what it leaves in the catalogue.

A row says who is at it and until when at most; whoever is killed keeps others out no longer than that.
Source: architecture section 11.6 ("a `fetch` row elects one process").
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from uuid import UUID

import structlog
from sqlalchemy import delete, func, or_, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from countermark.core.names import NormalizedName
from shared.catalogue.engine import CATALOGUE_AWAY
from shared.catalogue.listener import Listener
from shared.catalogue.outbox import relax
from shared.catalogue.tables import Fetch
from shared.ids import IndexId, new_uuid

log = structlog.get_logger()

CHANNEL = "countermark_mirror"
"""Notified with what is not being fetched any more, and with `CHANGED` and what became another."""

CHANGED = "changed "
"""Begins a notification of something that is another now than what processes may have in memory."""

WANTED = "wanted "
"""Begins a notification of a page that somebody needs who may not ask for it: the index service does."""

TERM = timedelta(seconds=10)
"""How long a holder that went silent keeps others out; whoever is at work renews in a third of it."""


def what_page(index_id: IndexId, project: str) -> str:
    """Return the name of a mirrored page in `fetch` rows and notifications; the project "" is the list."""
    return f"page:{index_id}:{project}"


def changed_page(notice: str) -> tuple[IndexId, NormalizedName] | None:
    """Return the mirror and the project that a notification says became another, None for any other notification."""
    return _page_after(CHANGED, notice)


def wanted_page(notice: str) -> tuple[IndexId, NormalizedName] | None:
    """Return the mirror and the project whose page is to be asked for, None for any other notification."""
    return _page_after(WANTED, notice)


def _page_after(word: str, notice: str) -> tuple[IndexId, NormalizedName] | None:
    kind, _, rest = notice.removeprefix(word).partition(":")
    index_id, _, project = rest.partition(":")
    if not notice.startswith(word) or kind != "page":
        return None
    return IndexId(UUID(index_id)), NormalizedName(project)


def what_object(key: str) -> str:
    """Return the name of a mirrored file, by its key in the object store."""
    return f"object:{key}"


class Turn:
    """A turn to fetch something: `mine` unless somebody else has it."""

    def __init__(self, what: str, *, mine: bool) -> None:
        self.mine = mine
        self._what = what
        self._holder = new_uuid()
        self._over = False

    async def take(self, engine: AsyncEngine) -> None:
        """Try to get it; whoever is killed loses it after `TERM`."""
        async with engine.begin() as connection:
            await relax(connection)
            self.mine = await _acquire(connection, self._what, self._holder)

    async def end(self, connection: AsyncConnection) -> None:
        """Give it up with the transaction that keeps what was fetched: those who wait wake when it commits."""
        self._over = True
        await connection.execute(delete(Fetch).where(Fetch.what == self._what, Fetch.holder == self._holder))
        await announce(connection, self._what)

    async def leave(self, engine: AsyncEngine) -> None:
        """Give it up, unless that was done."""
        if not self.mine or self._over:
            return
        try:
            async with engine.begin() as connection:
                await relax(connection)
                await self.end(connection)
        except CATALOGUE_AWAY as error:
            # The row ends by itself; who waits looks again.
            log.warning("fetch_not_released", what=self._what, error=str(error)[:300])

    async def keep(self, engine: AsyncEngine) -> None:
        """Say again and again that the holder is still at it, until cancelled.

        One that was replaced goes on all the same: what it finds is kept only if nothing newer is.
        """
        mine = (Fetch.what == self._what, Fetch.holder == self._holder)
        while True:
            await asyncio.sleep(TERM.total_seconds() / 3)
            try:
                async with engine.begin() as connection:
                    await relax(connection)
                    await connection.execute(update(Fetch).where(*mine).values(until=func.now() + TERM))
            except CATALOGUE_AWAY as error:
                log.warning("fetch_not_renewed", what=self._what, error=str(error)[:300])


@asynccontextmanager
async def turn(engine: AsyncEngine, what: str) -> AsyncIterator[Turn]:
    """Take the turn to fetch something, and keep it until the block is left; yields one that is not `mine` when
    somebody else has it.

    Leaving it wakes those who wait, whether it was fetched or not.
    """
    one = Turn(what, mine=False)
    await one.take(engine)
    if not one.mine:
        yield one
        return
    keeping = asyncio.create_task(one.keep(engine))
    try:
        yield one
    finally:
        keeping.cancel()
        await asyncio.wait([keeping])
        await one.leave(engine)


class Waiting:
    """Those of a process who wait until something is not being fetched any more."""

    def __init__(self, listener: Listener) -> None:
        self._waiting: dict[str, set[asyncio.Event]] = {}
        listener.subscribe(CHANNEL, self._told)

    @contextmanager
    def on(self, what: str) -> Iterator[asyncio.Event]:
        """Yield an event that is set when `what` is not being fetched any more, and now and then without that."""
        event = asyncio.Event()
        self._waiting.setdefault(what, set()).add(event)
        try:
            yield event
        finally:
            self._waiting[what].discard(event)
            if not self._waiting[what]:
                del self._waiting[what]

    async def _told(self, what: str) -> None:
        """Wake those who wait; on a tick, all: something may have been missed."""
        for waiting in [self._waiting.get(what, set())] if what else list(self._waiting.values()):
            for event in waiting:
                event.set()


async def announce(connection: AsyncConnection, what: str) -> None:
    """Tell every process, when this commits, that something is not being fetched any more, or is another now."""
    await connection.execute(text("select pg_notify(:channel, :what)"), {"channel": CHANNEL, "what": what})


async def _acquire(connection: AsyncConnection, what: str, holder: UUID) -> bool:
    until = func.now() + TERM
    taken = insert(Fetch).values(what=what, holder=holder, until=until)
    statement = taken.on_conflict_do_update(
        index_elements=[Fetch.what],
        set_={"holder": holder, "until": until},
        where=or_(Fetch.until < func.now(), Fetch.holder == holder),
    )
    return (await connection.scalar(statement.returning(Fetch.what))) is not None
