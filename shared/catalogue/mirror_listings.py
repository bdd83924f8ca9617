"""Lists of what mirrors keep: how their upstreams stand, and which projects may hold something back. Reads only.

Source: architecture section 11.6; contract python-index section 6.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, and_, false, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from countermark.core.names import NormalizedName
from shared.catalogue.mirror_pages import LIST, MirrorId
from shared.catalogue.tables import MirrorPage
from shared.ids import IndexId

_NAMES_AT_ONCE = 2_000


@dataclass(frozen=True, slots=True)
class MirrorState:
    """How a mirror stands with its upstream.

    Attributes:
        projects: of which a page is kept.
        confirmed_at: when the upstream last confirmed one, None when nothing is kept.
        failing: pages whose last attempt failed.
        failing_since: since when, of the one that fails longest.
        failure: of one of them, in words.
    """

    projects: int
    confirmed_at: datetime | None
    failing: int
    failing_since: datetime | None
    failure: str | None


NOTHING_KEPT = MirrorState(0, None, 0, None, None)


@dataclass(frozen=True, slots=True)
class KeptName:
    """A project that one of some mirrors keeps; `recent`: a file may be younger than the age that was asked for."""

    project: NormalizedName
    recent: bool


async def mirror_states(connection: AsyncConnection, mirrors: Sequence[MirrorId]) -> dict[IndexId, MirrorState]:
    """Return how each of some mirrors stands; one that keeps nothing is left out."""
    if not mirrors:
        return {}
    page = MirrorPage
    failing = page.failing_since.is_not(None)
    query = select(
        page.index_id,
        func.count().filter(page.document.is_not(None), page.project != LIST).label("projects"),
        func.max(page.checked_at).label("confirmed_at"),
        func.count().filter(failing).label("failing"),
        func.min(page.failing_since).label("failing_since"),
        func.max(page.failure).label("failure"),
    )
    rows = await connection.execute(query.where(_of(mirrors)).group_by(page.index_id))
    return {
        IndexId(row.index_id): MirrorState(row.projects, row.confirmed_at, row.failing, row.failing_since, row.failure)
        for row in rows
    }


async def kept_names(
    connection: AsyncConnection,
    mirrors: Sequence[MirrorId],
    *,
    newer_than: datetime | None,
    all_names: bool,
    after: str,
    limit: int,
) -> list[KeptName]:
    """Return the next projects of which some mirrors keep files, by name.

    Args:
        newer_than: `recent` are those with a file that the upstream got later, or of which it does not say when; None
            for none.
        all_names: also those that are not recent.
        after: the last name that was seen.
    """
    page = MirrorPage
    recent = false() if newer_than is None else page.newest_at.is_(None) | (page.newest_at > newer_than)
    query = select(page.project, func.bool_or(recent)).where(
        _of(mirrors), page.project > after, page.document.is_not(None)
    )
    if not all_names:
        query = query.where(recent)
    rows = await connection.execute(query.group_by(page.project).order_by(page.project).limit(limit))
    return [KeptName(NormalizedName(name), is_recent) for name, is_recent in rows]


async def kept_projects(
    connection: AsyncConnection, mirror: MirrorId, after: str, at: datetime | None = None
) -> list[NormalizedName]:
    """Return the next projects of which a mirror keeps a page, in the catalogue's order; none after the last.

    Args:
        after: the last name that was seen.
        at: only those with a file that the upstream is known to have had then; None for all.
    """
    page = MirrorPage
    query = select(page.project).where(_of([mirror]), page.project > after, page.document.is_not(None))
    if at is not None:
        query = query.where(page.oldest_at <= at)
    names = await connection.scalars(query.order_by(page.project).limit(_NAMES_AT_ONCE))
    return [NormalizedName(name) for name in names]


def _of(mirrors: Sequence[MirrorId]) -> ColumnElement[bool]:
    return or_(*(and_(MirrorPage.index_id == one.id, MirrorPage.life == one.life) for one in mirrors))
