"""Core metadata files that upstreams announce and do not have. Writer: the download service; the index service reads.

What is announced is to be there: installers do not fall back when it is not. So pages withdraw it, for a while.
Source: contract python-index section 5.1 item 4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import bindparam, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from countermark.core.digest import Sha256
from countermark.core.names import NormalizedName
from shared.catalogue.fetches import CHANGED, announce, what_page
from shared.catalogue.mirror_pages import MirrorId
from shared.catalogue.tables import MirrorFault
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


async def withdrawn(
    connection: AsyncConnection, mirrors: Sequence[MirrorId], project: NormalizedName, now: datetime
) -> dict[IndexId, dict[Sha256, datetime]]:
    """Return what pages of a project do not announce now, by mirror; those without anything are left out."""
    if not mirrors:
        return {}
    lives = {mirror.id: mirror.life for mirror in mirrors}
    rows = await connection.execute(_WITHDRAWN, {"ids": list(lives), "of": project, "now": now})
    found: dict[IndexId, dict[Sha256, datetime]] = {}
    for row in rows:
        if lives[IndexId(row.index_id)] == row.life:
            found.setdefault(IndexId(row.index_id), {})[Sha256(row.sha256)] = row.until
    return found


_WITHDRAWN = select(MirrorFault.index_id, MirrorFault.life, MirrorFault.sha256, MirrorFault.until).where(
    MirrorFault.index_id.in_(bindparam("ids", expanding=True)),
    MirrorFault.project == bindparam("of"),
    MirrorFault.until > bindparam("now"),
)
