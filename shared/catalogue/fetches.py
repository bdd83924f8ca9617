"""Who fetches something from an upstream: one process at a time, the others wait for what it leaves in the catalogue.

A row says who is at it and until when at most; whoever is killed keeps others out no longer than that.
Source: architecture section 11.6 ("a `fetch` row elects one process").
"""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from sqlalchemy import delete, func, or_, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.catalogue.tables import Fetch
from shared.ids import IndexId

CHANNEL = "mirror"
"""Notified with what was fetched when it is there, or when the attempt is over."""

TERM = timedelta(seconds=10)
"""How long a holder that went silent keeps others out; whoever is at work renews in a third of it."""


def what_page(index_id: IndexId, project: str) -> str:
    """Return the name of a mirrored page in `fetch` rows and notifications; the project "" is the list."""
    return f"page:{index_id}:{project}"


def what_object(key: str) -> str:
    """Return the name of a mirrored file, by its key in the object store."""
    return f"object:{key}"


async def acquire(connection: AsyncConnection, what: str, holder: UUID) -> bool:
    """Take or renew a fetch; False when somebody else is at it."""
    until = func.now() + TERM
    taken = insert(Fetch).values(what=what, holder=holder, until=until)
    free = or_(Fetch.until < func.now(), Fetch.holder == holder)
    statement = taken.on_conflict_do_update(
        index_elements=[Fetch.what], set_={"holder": holder, "until": until}, where=free
    ).returning(Fetch.what)
    return (await connection.scalar(statement)) is not None


async def renew(connection: AsyncConnection, what: str, holder: UUID) -> bool:
    """Say that the holder is still at it; False when it was replaced, and must not go on."""
    mine = (Fetch.what == what, Fetch.holder == holder)
    renewed = update(Fetch).where(*mine).values(until=func.now() + TERM).returning(Fetch.what)
    return (await connection.scalar(renewed)) is not None


async def release(connection: AsyncConnection, what: str, holder: UUID) -> None:
    """Let go, and wake those who wait when this commits."""
    await connection.execute(delete(Fetch).where(Fetch.what == what, Fetch.holder == holder))
    await announce(connection, what)


async def announce(connection: AsyncConnection, what: str) -> None:
    """Tell every process, when this commits, that something of a mirror is there or is another."""
    await connection.execute(text("select pg_notify(:channel, :what)"), {"channel": CHANNEL, "what": what})
