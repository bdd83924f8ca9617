"""Core metadata files that upstreams announce and do not have. Writer: the download service; the index service reads.

What is announced is to be there: installers do not fall back when it is not. So pages withdraw it, for a while.
Source: contract python-index section 5.1 item 4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ARRAY, ColumnElement, DateTime, Uuid, any_, bindparam, func, literal_column, select
from sqlalchemy.dialects.postgresql import aggregate_order_by, insert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import InstrumentedAttribute

from countermark.core.digest import Sha256
from countermark.core.names import NormalizedName
from shared.catalogue.fetches import CHANGED, Looking, announce, looking, what_page
from shared.catalogue.mirror_pages import OF_PAGE, THIS, KeptPage, MirrorId, page_of, this_of, values_of
from shared.catalogue.prepared import Found, Prepared
from shared.catalogue.tables import MirrorFault, MirrorPage
from shared.formats.python.origins import Origins
from shared.ids import IndexId

Withdrawn = Mapping[Sha256, datetime]
"""Digest of a core metadata file -> until when it is not announced."""

_MAX_WHY = 500


@dataclass(frozen=True, slots=True)
class KeptOrigins:
    """What is known of the files of a page.

    Attributes:
        origins: where they come from, None when the upstream has no such project.
        changed_at: when the upstream was asked for the page.
        fresh_until: until when it is used without asking.
        withdrawn: what it does not announce now.
    """

    origins: Origins | None
    changed_at: datetime
    fresh_until: datetime
    withdrawn: Withdrawn


async def withdraw(
    connection: AsyncConnection, mirror: MirrorId, project: NormalizedName, sha256: Sha256, why: str, until: datetime
) -> None:
    """Have a core metadata file announced no more, and tell every process when this commits."""
    values = {"why": why[:_MAX_WHY], "until": until}
    row = insert(MirrorFault).values(index_id=mirror.id, life=mirror.life, project=project, sha256=sha256, **values)
    keys = [MirrorFault.index_id, MirrorFault.life, MirrorFault.project, MirrorFault.sha256]
    await connection.execute(row.on_conflict_do_update(index_elements=keys, set_=values))
    await announce(connection, CHANGED + what_page(mirror.id, project))


async def kept_with_withdrawn(
    connection: AsyncConnection, mirror: MirrorId, project: NormalizedName, now: datetime
) -> tuple[KeptPage | None, Withdrawn]:
    """Return what a mirror keeps of a project, None when it never asked, and what its page does not announce now."""
    (row,) = await _BOTH.rows(connection, {**values_of(mirror, project), "now": now})
    return both_of(row)


def unless_asked(mirror: MirrorId, project: NormalizedName, now: datetime) -> Looking:
    """Return how a turn to ask for a page is taken only where its upstream never was asked for it."""
    return Looking(_UNLESS_ASKED, {**values_of(mirror, project), "now": now})


def both_of(row: Found) -> tuple[KeptPage | None, Withdrawn]:
    """Return what `kept_with_withdrawn` does, by the row of `unless_asked`."""
    return page_of(row), _withdrawn(row)


async def kept_origins(
    connection: AsyncConnection, mirrors: Sequence[MirrorId], project: NormalizedName, now: datetime
) -> dict[IndexId, KeptOrigins]:
    """Return what each of some mirrors knows of the files of a project, without the pages themselves."""
    if not mirrors:
        return {}
    lives = {mirror.id: mirror.life for mirror in mirrors}
    rows = await _ORIGINS.rows(connection, {"ids": list(lives), "of_project": project, "now": now})
    return {
        IndexId(row["index_id"]): KeptOrigins(row["origins"], row["changed_at"], row["fresh_until"], _withdrawn(row))
        for row in rows
        if lives[IndexId(row["index_id"])] == row["life"]
    }


async def withdrawn(
    connection: AsyncConnection, mirrors: Sequence[MirrorId], project: NormalizedName, now: datetime
) -> dict[IndexId, dict[Sha256, datetime]]:
    """Return what pages of a project do not announce now, by mirror; those without anything are left out."""
    if not mirrors:
        return {}
    lives = {mirror.id: mirror.life for mirror in mirrors}
    rows = await _WITHDRAWN.rows(connection, {"ids": list(lives), "of": project, "now": now})
    found: dict[IndexId, dict[Sha256, datetime]] = {}
    for row in rows:
        if lives[IndexId(row["index_id"])] == row["life"]:
            found.setdefault(IndexId(row["index_id"]), {})[Sha256(row["sha256"])] = row["until"]
    return found


def _withdrawn(row: Found) -> Withdrawn:
    gone = zip(row["gone"] or (), row["gone_until"] or (), strict=True)
    return {Sha256(sha256): until for sha256, until in gone}


def _gone(now: ColumnElement[Any], *of_page: ColumnElement[bool]) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    """Return two columns: digests and moments of what a page does not announce now."""

    def listed(column: InstrumentedAttribute[Any]) -> ColumnElement[Any]:
        found = func.array_agg(aggregate_order_by(column, MirrorFault.sha256))
        return select(found).where(*of_page, MirrorFault.until > now).scalar_subquery()

    return listed(MirrorFault.sha256).label("gone"), listed(MirrorFault.until).label("gone_until")


_KEYS = {MirrorFault.index_id: "of_index_id", MirrorFault.life: "of_life", MirrorFault.project: "of_project"}
_NOW = bindparam("now", type_=DateTime(timezone=True))
_GONE = _gone(_NOW, *(column == bindparam(name) for column, name in _KEYS.items()))
# One row, whether a page is kept or not.
_ALWAYS = select(literal_column("1")).subquery().outerjoin(MirrorPage, THIS)
_BOTH = Prepared(select(*MirrorPage.__table__.columns, *_GONE).select_from(_ALWAYS))
_UNLESS_ASKED = looking(
    {**OF_PAGE, "now": _NOW.type},
    lambda asked: select(*MirrorPage.__table__.columns).where(this_of(asked)),
    lambda asked: _gone(asked.c.now, *(column == asked.c[name] for column, name in _KEYS.items())),
)
_WITHDRAWN = Prepared(
    select(MirrorFault.index_id, MirrorFault.life, MirrorFault.sha256, MirrorFault.until).where(
        MirrorFault.index_id == any_(bindparam("ids", type_=ARRAY(Uuid))),
        MirrorFault.project == bindparam("of"),
        MirrorFault.until > bindparam("now"),
    )
)
_ORIGINS = Prepared(
    select(
        *(MirrorPage.index_id, MirrorPage.life, MirrorPage.origins, MirrorPage.changed_at, MirrorPage.fresh_until),
        *_gone(
            _NOW,
            MirrorFault.index_id == MirrorPage.index_id,
            MirrorFault.life == MirrorPage.life,
            MirrorFault.project == MirrorPage.project,
        ),
    ).where(
        MirrorPage.index_id == any_(bindparam("ids", type_=ARRAY(Uuid))), MirrorPage.project == bindparam("of_project")
    )
)
