"""Who fetches something from an upstream: one process at a time, the others wait for what it leaves in the catalogue.

A row says who is at it and until when at most; whoever is killed keeps others out no longer than that.
Source: architecture section 11.6 ("a `fetch` row elects one process").
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import (
    CTE,
    ColumnElement,
    FromClause,
    Select,
    Text,
    Uuid,
    any_,
    delete,
    func,
    or_,
    select,
    text,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from countermark.core.names import NormalizedName
from shared.catalogue.engine import CATALOGUE_AWAY, one_by_one
from shared.catalogue.gathered import NUMBER, Gathered, Types
from shared.catalogue.listener import Listener
from shared.catalogue.prepared import Found
from shared.catalogue.tables import Fetch
from shared.ids import IndexId, new_uuid

log = structlog.get_logger()

CHANNEL = "countermark_mirror"
"""Notified with what is not being fetched any more, and with `CHANGED` and what became another."""

CHANGED = "changed "
"""Begins a notification of something that is another now than what processes may have in memory.

Where an upstream's answer made it another, the moment of the question stands at the end: who has that answer in memory
already need not read it again.
"""

WANTED = "wanted "
"""Begins a notification of a page that somebody needs who may not ask for it: the index service does."""

ASKED = "asked "
"""Begins a notification of a page that was asked for since somebody wanted it, whatever came of that."""

IN_VAIN = "in-vain "
"""Begins one, before that, of what its upstream has no answer for."""

TERM = timedelta(seconds=10)
"""How long a holder that went silent keeps others out; whoever is at work renews in a third of it."""

_RENEWED = TERM.total_seconds() / 3
"""Seconds after which a holder says again that it is at work."""


Place = AsyncConnection | AsyncEngine
"""Where a turn ends: on a connection; or with an engine, where nobody waits for it, together with others that end at
about the same time."""


def what_page(index_id: IndexId, project: str) -> str:
    """Return the name of a mirrored page in `fetch` rows and notifications; the project "" is the list."""
    return f"page:{index_id}:{project}"


@dataclass(frozen=True, slots=True)
class PageNotice:
    """A page that a notification is about.

    Attributes:
        at: when its upstream was asked for what it is now, None when something else about it changed.
    """

    index_id: IndexId
    project: NormalizedName
    at: datetime | None


def changed_page(notice: str) -> PageNotice | None:
    """Return the page that a notification says became another, None for any other notification."""
    return _page_after(CHANGED, notice)


def wanted_page(notice: str) -> PageNotice | None:
    """Return the page that is to be asked for, None for any other notification."""
    return _page_after(WANTED, notice)


def _page_after(word: str, notice: str) -> PageNotice | None:
    if not notice.startswith(f"{word}page:"):
        return None
    index_id, _, named = notice.removeprefix(f"{word}page:").partition(":")
    project, _, at = named.partition(" ")
    moment = datetime.fromisoformat(at) if at else None
    return PageNotice(IndexId(UUID(index_id)), NormalizedName(project), moment)


def what_object(key: str) -> str:
    """Return the name of a mirrored file, by its key in the object store."""
    return f"object:{key}"


@dataclass(frozen=True, slots=True)
class Looking:
    """A statement that looks for what is kept and takes the turn only where nothing is; see `looking`."""

    statement: Gathered
    values: dict[str, Any]


class Turn:
    """A turn to fetch something: `mine` unless somebody else has it, or what was looked for is there.

    Attributes:
        found: the row that a `Looking` found, whose columns are all None where nothing is kept; None without one.
    """

    def __init__(self, what: str, *, mine: bool) -> None:
        self.mine = mine
        self.found: Found | None = None
        self._what = what
        self._holder = new_uuid()
        self._over = False

    async def take(self, engine: AsyncEngine, look: Looking | None = None) -> None:
        """Try to get it; whoever is killed loses it after `TERM`.

        Args:
            look: what need not be fetched where it is kept already: one question to Postgres instead of two.
        """
        mine = {"taken_what": self._what, "taken_holder": self._holder}
        if look is None:
            taken = await _ACQUIRE.row(engine, mine)
        else:
            taken = self.found = await look.statement.row(engine, {**look.values, **mine})
        self.mine = taken["taken"] is not None

    async def end(self, at: Place, statement: Gathered | None = None, values: dict[str, Any] | None = None) -> None:
        """Give it up with what keeps what was fetched: those who wait wake when that commits.

        Args:
            statement: as `ending` returns it, with its values; None for nothing else.
        """
        said = {**(values or {}), "ended_what": self._what, "ended_holder": self._holder}
        statement = statement or _ENDING
        if isinstance(at, AsyncEngine):
            await statement.row(at, said)
        else:
            await statement.rows(at, [said])
        self._over = True

    async def leave(self, engine: AsyncEngine) -> None:
        """Give it up, unless that was done."""
        if not self.mine or self._over:
            return
        try:
            async with one_by_one(engine) as connection:
                await self.end(connection)
        except CATALOGUE_AWAY as error:
            # The row ends by itself; who waits looks again.
            log.warning("fetch_not_released", what=self._what, error=str(error)[:300])

    async def keep(self, engine: AsyncEngine) -> None:
        """Say again and again that the holder is still at it, until cancelled.

        One that was replaced goes on all the same: what it finds is kept only if nothing newer is.
        """
        while True:
            mine = (Fetch.what == self._what, Fetch.holder == self._holder)
            try:
                async with one_by_one(engine) as connection:
                    await connection.execute(update(Fetch).where(*mine).values(until=func.now() + TERM))
            except CATALOGUE_AWAY as error:
                log.warning("fetch_not_renewed", what=self._what, error=str(error)[:300])
            await asyncio.sleep(_RENEWED)


def turn(engine: AsyncEngine, what: str, look: Looking | None = None) -> AbstractAsyncContextManager[Turn]:
    """Return what takes the turn to fetch something, and keeps it until the block is left; yields one that is not
    `mine` when somebody else has it.

    Leaving it wakes those who wait, whether it was fetched or not.

    Args:
        look: as for `Turn.take`.
    """
    return _Taking(engine, what, look)


class _Taking:
    """A turn while a block lasts."""

    __slots__ = ("_engine", "_keeping", "_look", "_turn")

    def __init__(self, engine: AsyncEngine, what: str, look: Looking | None) -> None:
        self._engine = engine
        self._look = look
        self._turn = Turn(what, mine=False)
        self._keeping: _Keeping | None = None

    async def __aenter__(self) -> Turn:
        await self._turn.take(self._engine, self._look)
        if self._turn.mine:
            self._keeping = _Keeping(self._turn, self._engine)
        return self._turn

    async def __aexit__(self, *_: object) -> None:
        if self._keeping is not None:
            await self._keeping.end()
            await self._turn.leave(self._engine)


class _Keeping:
    """Keeps a turn from when it lasts for long: most are over by then, and cost no task."""

    def __init__(self, turn: Turn, engine: AsyncEngine) -> None:
        self._turn = turn
        self._engine = engine
        self._task: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(_RENEWED, self._begin)

    async def end(self) -> None:
        """Stop."""
        self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def _begin(self) -> None:
        self._task = asyncio.create_task(self._turn.keep(self._engine))


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


_SOON = 0.01
"""Seconds for which the end of a turn waits for others, when nobody waits for it."""


def ending(types: Types, parts: Callable[[CTE], Iterable[ColumnElement[Any]]] = lambda _: ()) -> Gathered:
    """Return a statement that gives up turns and wakes those who wait, for `Turn.end`.

    Rows of `fetch` are locked in the order of their names, as taking turns does: no two processes wait for each other.

    Args:
        types: of the parameters for `parts`.
        parts: what it does besides; gets the table of those who ask (see `Gathered`).
    """

    def build(asked: CTE) -> Select[*tuple[Any, ...]]:
        mine = select(asked.c.ended_what, asked.c.ended_holder).order_by(asked.c.ended_what).subquery("mine")
        held = select(Fetch.what).where(Fetch.what == mine.c.ended_what, Fetch.holder == mine.c.ended_holder)
        locked = held.with_for_update().lateral("locked")
        over = select(locked.c.what).select_from(mine.join(locked, true())).cte("over")
        of_those = Fetch.what == any_(func.array(select(over.c.what).scalar_subquery()))
        ended = delete(Fetch).where(of_those).returning(Fetch.what).cte("ended")
        told = select(func.count(func.pg_notify(CHANNEL, ended.c.what))).scalar_subquery()
        return select(asked.c[NUMBER], told, *parts(asked)).select_from(asked).order_by(asked.c[NUMBER])

    return Gathered({**types, "ended_what": Text(), "ended_holder": Uuid()}, build, patience=_SOON)


def telling(notice: ColumnElement[str], kept: FromClause) -> ColumnElement[int]:
    """Return a part of a statement that notifies every process of each row of `kept`.

    Args:
        notice: what it is told.
    """
    return select(func.count(func.pg_notify(CHANNEL, notice))).select_from(kept).scalar_subquery()


RELAXED: ColumnElement[str] = func.set_config("synchronous_commit", "off", True)
"""A part of a statement: what is kept of an upstream does not wait for the disk, since it can be asked for again."""

_ENDING = ending({})


async def announce(connection: AsyncConnection, what: str) -> None:
    """Tell every process, when this commits, that something is not being fetched any more, or is another now."""
    await connection.execute(text("select pg_notify(:channel, :what)"), {"channel": CHANNEL, "what": what})


def looking(
    types: Types,
    kept: Callable[[CTE], Select[*tuple[Any, ...]]],
    also: Callable[[CTE], Iterable[ColumnElement[Any]]] = lambda _: (),
) -> Gathered:
    """Return a statement that looks for what is kept, and takes the turn to fetch it only where that is nothing.

    It answers each who asks with one row: the columns of `kept`, all None where nothing is, those of `also`, and
    `taken`, which is None where the turn is not this one's. What another process keeps at the same moment may be
    missed: whoever has the turn is to look again where it matters.

    Args:
        types: of the parameters for `kept` and `also`, which get the table of those who ask (see `Gathered`).
        kept: finds at most one row for each who asks.
        also: columns that do not depend on what is kept.
    """

    def build(asked: CTE) -> Select[*tuple[Any, ...]]:
        # As many look-ups by key as ask, however few rows there were when Postgres planned it.
        one = kept(asked).limit(1).lateral("one")
        there = select(asked.c[NUMBER], *one.c).select_from(asked.join(one, true())).cte("there")
        taken = _taken(asked, asked.c[NUMBER].not_in(select(there.c[NUMBER])))
        found = [column for column in there.c if column.name != NUMBER]
        of_each = asked.outerjoin(there, there.c[NUMBER] == asked.c[NUMBER])
        of_each = of_each.outerjoin(taken, taken.c.what == asked.c.taken_what)
        answer = select(*found, *also(asked), taken.c.what.label("taken")).select_from(of_each)
        return answer.order_by(asked.c[NUMBER])

    return Gathered({**types, **_TAKING}, build)


def _taken(asked: CTE, *where: ColumnElement[bool]) -> CTE:
    """Return the turns that are taken: those that nobody has, in the order of their names, as `ending` has it."""
    until = func.now() + TERM
    row = select(asked.c.taken_what, asked.c.taken_holder, until).where(*where).order_by(asked.c.taken_what)
    new = insert(Fetch).from_select(["what", "holder", "until"], row, include_defaults=False)
    free = or_(Fetch.until < func.now(), Fetch.holder == new.excluded.holder)
    values = {"holder": new.excluded.holder, "until": until}
    got = new.on_conflict_do_update(index_elements=[Fetch.what], set_=values, where=free)
    return got.returning(Fetch.what).cte("taken")


def _acquiring(asked: CTE) -> Select[*tuple[Any, ...]]:
    taken = _taken(asked)
    of_each = asked.outerjoin(taken, taken.c.what == asked.c.taken_what)
    return select(taken.c.what.label("taken")).select_from(of_each).order_by(asked.c[NUMBER])


_TAKING: Types = {"taken_what": Text(), "taken_holder": Uuid()}
_ACQUIRE = Gathered(_TAKING, _acquiring)
