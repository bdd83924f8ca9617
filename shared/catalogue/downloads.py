"""Download counts. Writer: download."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from sqlalchemy import ARRAY, BigInteger, Uuid, bindparam, exists, func, literal, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from countermark.core.names import FileName, NormalizedName
from shared.catalogue.reading import PYTHON
from shared.catalogue.tables import DownloadCount, File, Page, Project, PublishedFile, Release
from shared.ids import FileId, IndexId

LISTED_FILES = 1000
"""Files of a project whose counts are listed at the most: the newest."""


@dataclass(frozen=True, slots=True)
class FileDownloads:
    """How often a visible file was downloaded."""

    filename: FileName
    version: str
    downloads: int


@dataclass(frozen=True, slots=True)
class ProjectDownloads:
    """How often the files of a project were downloaded; `total` counts those that are no longer visible as well."""

    total: int
    files: Sequence[FileDownloads]


async def add_downloads(connection: AsyncConnection, day: date, counts: Mapping[FileId, int]) -> None:
    """Add to the counts of a day, in one statement."""
    # In one order everywhere: two processes that add at the same time never wait for each other in a circle.
    ordered = sorted(counts)
    given = (
        func.unnest(
            bindparam("files", ordered, ARRAY(Uuid())),
            bindparam("counts", [counts[file_id] for file_id in ordered], ARRAY(BigInteger())),
        )
        .table_valued("file_id", "count", name="given")
        .render_derived()
    )
    rows = insert(DownloadCount).from_select(
        ["file_id", "day", "count"],
        select(given.c.file_id, literal(day), given.c.count).join(File, File.id == given.c.file_id),
    )
    added = DownloadCount.count + rows.excluded.count
    await connection.execute(rows.on_conflict_do_update(index_elements=["file_id", "day"], set_={"count": added}))


async def project_downloads(
    connection: AsyncConnection, index_id: IndexId, project: NormalizedName
) -> ProjectDownloads | None:
    """Return how often a project was downloaded, None when it never was published."""
    known = select(Page.serial).where(Page.index_id == index_id, Page.project_name == project).limit(1)
    if await connection.scalar(known) is None:
        return None
    of_project = (Project.index_id == index_id, Project.format == PYTHON, Project.name == project)
    total = await connection.scalar(
        select(func.coalesce(func.sum(DownloadCount.count), 0))
        .join(File, File.id == DownloadCount.file_id)
        .join(Project, Project.id == File.project_id)
        .where(*of_project)
    )
    counted = (
        select(func.coalesce(func.sum(DownloadCount.count), 0))
        .where(DownloadCount.file_id == File.id)
        .scalar_subquery()
    )
    visible = exists().where(PublishedFile.file_id == File.id, PublishedFile.to_serial.is_(None))
    rows = await connection.execute(
        select(File.file_name, Release.version, counted.label("downloads"))
        .join(Release, Release.id == File.release_id)
        .join(Project, Project.id == File.project_id)
        .where(*of_project, visible)
        .order_by(File.uploaded_at.desc(), File.file_name)
        .limit(LISTED_FILES)
    )
    files = [FileDownloads(FileName(row.file_name), row.version, int(row.downloads)) for row in rows]
    return ProjectDownloads(int(total or 0), files)
