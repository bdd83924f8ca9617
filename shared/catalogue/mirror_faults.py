"""Core metadata files that upstreams announce and do not have. Writer: the download service; the index service reads.

What is announced is to be there: installers do not fall back when it is not. So pages withdraw it, for a while.
Source: contract python-index section 5.1 item 4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ARRAY, ColumnElement, Uuid, any_, bindparam, func, literal_column, select
from sqlalchemy.dialects.postgresql import aggregate_order_by, insert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import InstrumentedAttribute

from countermark.core.digest import Sha256
from countermark.core.names import NormalizedName
from shared.catalogue.fetches import CHANGED, announce, what_page
from shared.catalogue.mirror_pages import THIS, KeptPage, MirrorId, page_of, values_of
from shared.catalogue.prepared import Prepared
from shared.catalogue.tables import MirrorFault, MirrorPage
from shared.ids import IndexId

Withdrawn = Mapping[Sha256, datetime]
"""Digest of a core metadata file -> until when it is not announced."""

_MAX_WHY = 500


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
    gone = zip(row["gone"] or (), row["gone_until"] or (), strict=True)
    return page_of(row), {Sha256(sha256): until for sha256, until in gone}


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


def _both() -> Prepared:
    mine = {MirrorFault.index_id: "of_index_id", MirrorFault.life: "of_life", MirrorFault.project: "of_project"}
    these = [column == bindparam(name) for column, name in mine.items()]

    def gone(column: InstrumentedAttribute[Any]) -> ColumnElement[Any]:
        listed = func.array_agg(aggregate_order_by(column, MirrorFault.sha256))
        return select(listed).where(*these, MirrorFault.until > bindparam("now")).scalar_subquery()

    # One row, whether a page is kept or not.
    always = select(literal_column("1")).subquery().outerjoin(MirrorPage, THIS)
    columns = (gone(MirrorFault.sha256).label("gone"), gone(MirrorFault.until).label("gone_until"))
    return Prepared(select(*MirrorPage.__table__.columns, *columns).select_from(always))


_BOTH = _both()
_WITHDRAWN = Prepared(
    select(MirrorFault.index_id, MirrorFault.life, MirrorFault.sha256, MirrorFault.until).where(
        MirrorFault.index_id == any_(bindparam("ids", type_=ARRAY(Uuid))),
        MirrorFault.project == bindparam("of"),
        MirrorFault.until > bindparam("now"),
    )
)
