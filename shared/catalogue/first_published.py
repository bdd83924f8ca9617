"""Since when hosted files are published: the moment of the first publication that listed them. Reads only.

Not the time of their upload, which pages print: an upload may wait for approval, and an import brings older times.
Source: architecture section 5.1; ADR 0030.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Select, and_, func, select
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import aliased

from countermark.core.digest import Sha256
from countermark.core.names import FileName, IndexName, NormalizedName
from shared.catalogue.reading import PYTHON
from shared.catalogue.tables import File, Project, Publication, PublishedFile, Release
from shared.ids import IndexId
from shared.reading.asof import Dated, Published

_ROWS_AT_ONCE = 2_000


_SHOWN, _FIRST = aliased(PublishedFile), aliased(PublishedFile)


async def first_published(
    connection: AsyncConnection, indexes: Mapping[IndexId, IndexName], project: NormalizedName
) -> Published:
    """Return since when each of the files of a project is published that some stages show now."""
    query = (
        _shown_files(File.index_id, File.sha256, File.file_name, Release.version)
        .add_columns(func.min(Publication.committed_at).label("since"))
        .join(File, File.id == _SHOWN.file_id)
        .join(Release, Release.id == File.release_id)
        .where(Project.index_id.in_(indexes), Project.name == project)
        .group_by(File.id, Release.version)
    )
    return {
        (indexes[IndexId(row.index_id)], Sha256(row.sha256), FileName(row.file_name)): Dated(row.version, row.since)
        for row in await connection.execute(query)
    }


async def published_until(connection: AsyncConnection, index_id: IndexId, at: datetime) -> frozenset[str]:
    """Return the projects of which a stage shows a file now that it had published at a moment."""
    query = _shown_files(Project.name).where(Project.index_id == index_id, Publication.committed_at <= at).distinct()
    names: set[str] = set()
    # In parts, as other long lists are read.
    async with connection.stream(query, execution_options={"yield_per": _ROWS_AT_ONCE}) as result:
        async for rows in result.partitions():
            names.update(row.name for row in rows)
    return frozenset(names)


def _shown_files(*columns: Any) -> Select[*tuple[Any, ...]]:
    """Return the query of files that are shown now, with each publication that ever showed them: one that was put away
    and shown again counts since the first."""
    return (
        select(*columns)
        .select_from(_SHOWN)
        .join(Project, Project.id == _SHOWN.project_id)
        .join(_FIRST, and_(_FIRST.index_id == _SHOWN.index_id, _FIRST.file_id == _SHOWN.file_id))
        .join(Publication, and_(Publication.index_id == _FIRST.index_id, Publication.serial == _FIRST.from_serial))
        .where(_SHOWN.to_serial.is_(None), Project.format == PYTHON)
    )
