"""What mirrors keep of their upstreams' pages. Writers: the index service, and the upload service when
somebody removes; the download service reads.

A page is replaced by a newer one only: an answer that was asked for before another one came in is dropped.
Source: architecture section 11.6; contract python-index section 5.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any

from sqlalchemy import CTE, ColumnElement, Text, and_, bindparam, delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import TypeEngine

from countermark.core.names import NormalizedName
from shared.catalogue.fetches import CHANGED, RELAXED, Place, Turn, announce, ending, telling, what_page
from shared.catalogue.prepared import Found, Prepared
from shared.catalogue.tables import MirrorPage
from shared.ids import IndexId

LIST = NormalizedName("")
"""Stands for the list of projects where the name of one is wanted."""

_MAX_FAILURE = 500


@dataclass(frozen=True, slots=True)
class MirrorId:
    """A mirror in its present life."""

    id: IndexId
    life: int


@dataclass(frozen=True, slots=True)
class Validity:
    """How a kept page stands with its upstream.

    Attributes:
        upstream: URL of the one that it came from.
        checked_at: when the upstream last said that this is what it has.
        fresh_until: before this nobody needs to ask again.
        failing_since: since when every attempt failed, None when the last one did not.
        retry_at: before this the upstream is not to be asked after a failure.
    """

    upstream: str
    serial: int | None
    etag: str | None
    changed_at: datetime
    checked_at: datetime
    fresh_until: datetime
    failing_since: datetime | None
    failure: str | None
    retry_at: datetime | None

    def is_fresh(self, now: datetime) -> bool:
        """Whether the page is used without asking."""
        return now < self.fresh_until

    def may_ask(self, now: datetime) -> bool:
        """Whether the upstream may be asked, after what happened last."""
        return self.retry_at is None or now >= self.retry_at


@dataclass(frozen=True, slots=True)
class KeptPage:
    """A kept page, compressed: `document` is None when the upstream has no such project."""

    document: bytes | None
    origins: bytes | None
    seen: bytes | None
    validity: Validity

    def confirmed(self, said: Confirmation) -> KeptPage:
        """Return it as it is once the upstream said that it still has it."""
        before = self.validity
        validity = Validity(
            before.upstream,
            before.serial,
            said.etag,
            before.changed_at,
            said.asked_at,
            said.fresh_until,
            None,
            None,
            None,
        )
        return replace(self, validity=validity)

    def says(
        self, upstream: str, document: bytes | None, origins: bytes | None = None, seen: bytes | None = None
    ) -> bool:
        """Return whether it is what an upstream has now."""
        return (self.validity.upstream, self.document, self.origins, self.seen) == (upstream, document, origins, seen)

    def under(self, upstream: str | None) -> KeptPage:
        """Return it as it stands with an upstream, which may be another one than it came from: that one is to be
        asked, and knows neither its tag nor its serial.
        """
        if upstream == self.validity.upstream:
            return self
        before = self.validity
        validity = replace(before, serial=None, etag=None, fresh_until=before.checked_at)
        return replace(self, validity=validity)


@dataclass(frozen=True, slots=True)
class Confirmation:
    """An upstream's word that it still has what is kept; fields as in `NewPage`."""

    etag: str | None
    asked_at: datetime
    fresh_until: datetime


@dataclass(frozen=True, slots=True)
class NewPage:
    """What an upstream answered, to be kept; fields as in `KeptPage`, `Validity` and the table."""

    document: bytes | None
    origins: bytes | None
    seen: bytes | None
    upstream: str
    serial: int | None
    etag: str | None
    asked_at: datetime
    fresh_until: datetime
    newest_at: datetime | None = None
    oldest_at: datetime | None = None

    def kept(self) -> KeptPage:
        """Return it as it is kept."""
        at = self.asked_at
        validity = Validity(self.upstream, self.serial, self.etag, at, at, self.fresh_until, None, None, None)
        return KeptPage(self.document, self.origins, self.seen, validity)


async def kept_page(connection: AsyncConnection, mirror: MirrorId, project: NormalizedName) -> KeptPage | None:
    """Return what a mirror keeps of a project, None when it never asked."""
    rows = await _KEPT.rows(connection, values_of(mirror, project))
    return page_of(rows[0]) if rows else None


async def kept_pages(
    connection: AsyncConnection, mirrors: Sequence[MirrorId], project: NormalizedName
) -> dict[IndexId, KeptPage]:
    """Return what each of some mirrors keeps of a project."""
    if not mirrors:
        return {}
    these = or_(*(and_(MirrorPage.index_id == one.id, MirrorPage.life == one.life) for one in mirrors))
    rows = await connection.execute(select(*MirrorPage.__table__.columns).where(these, MirrorPage.project == project))
    found = ((IndexId(row["index_id"]), page_of(row)) for row in rows.mappings())
    return {index_id: page for index_id, page in found if page is not None}


async def keep(at: Place, mirror: MirrorId, project: NormalizedName, page: NewPage, turn: Turn) -> None:
    """Keep a page unless a newer answer is there already, and end the turn; tells every process when this commits."""
    values = {
        "new_document": page.document,
        "new_origins": page.origins,
        "new_seen": page.seen,
        "new_newest_at": page.newest_at,
        "new_oldest_at": page.oldest_at,
        "new_upstream": page.upstream,
        "new_serial": page.serial,
        "new_etag": page.etag,
        "new_changed_at": page.asked_at,
        "new_checked_at": page.asked_at,
        "new_fresh_until": page.fresh_until,
        "notice": f"{CHANGED}{what_page(mirror.id, project)} {page.asked_at.isoformat()}",
    }
    await turn.end(at, _KEEP, {**values_of(mirror, project), **values})


async def confirm(
    connection: AsyncConnection, mirror: MirrorId, project: NormalizedName, said: Confirmation, turn: Turn
) -> None:
    """Note that the upstream still has what is kept, and end the turn."""
    values = {"new_etag": said.etag, "new_checked_at": said.asked_at, "new_fresh_until": said.fresh_until}
    await turn.end(connection, _CONFIRM, {**values_of(mirror, project), **values})


async def locked_page(connection: AsyncConnection, mirror: MirrorId, project: NormalizedName) -> KeptPage | None:
    """Return what a mirror keeps of a project, which nobody else changes until the transaction ends."""
    rows = await _LOCKED.rows(connection, values_of(mirror, project))
    return page_of(rows[0]) if rows else None


async def drop(connection: AsyncConnection, mirror: MirrorId, project: NormalizedName) -> None:
    """Drop what is kept of a project, digests as first seen included, and tell every process when this commits."""
    await connection.execute(delete(MirrorPage).where(_row(mirror, project)))
    await announce(connection, CHANGED + what_page(mirror.id, project))


async def thin(
    connection: AsyncConnection,
    mirror: MirrorId,
    project: NormalizedName,
    page: tuple[bytes, bytes, bytes | None],
    now: datetime,
) -> None:
    """Keep a page without some files until the upstream is asked for all of it, which is due at once. An answer that
    was asked for before is dropped. Tells every process when this commits.

    Args:
        page: document, origins and former digests.
    """
    document, origins, seen = page
    values = {"document": document, "origins": origins, "seen": seen, "etag": None}
    moments = {"changed_at": now, "checked_at": now, "fresh_until": now}
    await connection.execute(update(MirrorPage).where(_row(mirror, project)).values({**values, **moments}))
    await announce(connection, CHANGED + what_page(mirror.id, project))


async def note_failure(
    connection: AsyncConnection, mirror: MirrorId, project: NormalizedName, why: str, now: datetime, retry_at: datetime
) -> None:
    """Note on what is kept that the upstream could not be asked; where nothing is kept, nothing is noted."""
    statement = update(MirrorPage).where(_row(mirror, project), MirrorPage.checked_at <= now)
    since = func.coalesce(MirrorPage.failing_since, now)
    await connection.execute(statement.values(failing_since=since, failure=why[:_MAX_FAILURE], retry_at=retry_at))


def page_of(row: Found) -> KeptPage | None:
    """Return the page that a row of its columns is, None for one that has nothing in them."""
    if row["project"] is None:
        return None
    validity = Validity(*(row[field.name] for field in fields(Validity)))
    return KeptPage(row["document"], row["origins"], row["seen"], validity)


def _row(mirror: MirrorId, project: NormalizedName) -> ColumnElement[bool]:
    mine = and_(MirrorPage.index_id == mirror.id, MirrorPage.life == mirror.life)
    return and_(mine, MirrorPage.project == project)


def values_of(mirror: MirrorId, project: NormalizedName) -> dict[str, object]:
    """Return the values by which a statement with `THIS` finds a page."""
    return {"of_index_id": mirror.id, "of_life": mirror.life, "of_project": project}


_KEYS = ("index_id", "life", "project")
_FRESH = ("etag", "checked_at", "fresh_until")
_TOLD = ("document", "origins", "seen", "newest_at", "oldest_at", "upstream", "serial", "changed_at", *_FRESH)
_NO_FAILURE = dict.fromkeys(("failing_since", "failure", "retry_at"))
_COLUMNS = MirrorPage.__table__.columns
THIS = and_(*(_COLUMNS[key] == bindparam(f"of_{key}") for key in _KEYS))
"""The row of a page."""

OF_PAGE = {f"of_{key}": _COLUMNS[key].type for key in _KEYS}
"""Types of `values_of`."""

_PAGE = select(*_COLUMNS).where(THIS)
_KEPT, _LOCKED = Prepared(_PAGE), Prepared(_PAGE.with_for_update())


def this_of(asked: CTE) -> ColumnElement[bool]:
    """Return as `THIS` the rows of the pages that are asked for with `values_of`."""
    return and_(*(_COLUMNS[key] == asked.c[f"of_{key}"] for key in _KEYS))


def _new_of(names: Sequence[str]) -> dict[str, TypeEngine[Any]]:
    return {f"new_{name}": _COLUMNS[name].type for name in names}


def _keeping(asked: CTE) -> Sequence[ColumnElement[Any]]:
    values = {key: asked.c[f"of_{key}"] for key in _KEYS} | {name: asked.c[f"new_{name}"] for name in _TOLD}
    rows = select(*values.values()).order_by(*(values[key] for key in _KEYS))
    new = insert(MirrorPage).from_select(list(values), rows, include_defaults=False)
    keys = [_COLUMNS[key] for key in _KEYS]
    kept = new.on_conflict_do_update(
        index_elements=keys,
        set_={name: getattr(new.excluded, name) for name in (*_TOLD, *_NO_FAILURE)},
        where=MirrorPage.checked_at <= new.excluded.checked_at,
    )
    told = kept.returning(*keys).cte("kept")
    of_those = and_(*(told.c[key] == asked.c[f"of_{key}"] for key in _KEYS))
    return telling(asked.c.notice, asked.join(told, of_those)), RELAXED


def _confirming(asked: CTE) -> Sequence[ColumnElement[Any]]:
    told = {name: asked.c[f"new_{name}"] for name in _FRESH}
    older = MirrorPage.checked_at <= told["checked_at"]
    confirmed = update(MirrorPage).where(this_of(asked), older).values({**told, **_NO_FAILURE})
    count = select(func.count()).select_from(confirmed.returning(MirrorPage.project).cte("confirmed"))
    return count.scalar_subquery(), RELAXED


_KEEP = ending({**OF_PAGE, **_new_of(_TOLD), "notice": Text()}, _keeping)
_CONFIRM = ending({**OF_PAGE, **_new_of(_FRESH)}, _confirming)
