"""Queries of lists and details: projects of an index, releases of a project, files of a release. Reads only.

Each asks for a page of rows by an index and then for facts of those rows alone; what could be endless has a bound.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from packaging.utils import NormalizedName
from packaging.version import Version
from sqlalchemy import Select, func, lateral, select, true
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.catalogue import approvals
from shared.catalogue.tables import File, Outbox, Page, Project, PublishedFile, Release
from shared.ids import IndexId, ProjectId, ReleaseId

FORMAT = "python"
"""The one format whose projects are managed here so far."""

MAX_RELEASES = 1000
"""Releases of a project that are looked at, the newest by time."""

NAMES_AT_ONCE = 2000
"""Names of a long list that are read with one query."""

MAX_FILES = 2000
"""Files of a release that are listed, the newest by time; hundreds of wheels are many."""


@dataclass(frozen=True, slots=True)
class ProjectLine:
    """A project as lists show it."""

    id: ProjectId
    name: NormalizedName
    display_name: str
    status: str
    summary: str | None
    latest_version: str | None
    releases: int
    files: int
    updated_at: datetime | None


@dataclass(frozen=True, slots=True)
class ProjectDetail:
    """A project itself; `serial` is that of its current page, None before the first."""

    id: ProjectId
    name: NormalizedName
    display_name: str
    status: str
    status_reason: str | None
    created_at: datetime
    serial: int | None


@dataclass(frozen=True, slots=True)
class ReleaseLine:
    """A release that has at least one file; yanked when all of them are."""

    id: ReleaseId
    project_id: ProjectId
    version: str
    created_at: datetime
    files: int
    yanked: bool
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class ReleaseDetail:
    """A release and the metadata of its first file."""

    id: ReleaseId
    version: str
    created_at: datetime
    core_metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class FileLine:
    """A file of a release, also a removed one; `state` as in `releases.FileProgress`."""

    id: uuid.UUID
    file_name: str
    package_type: str
    length: int
    sha256: str
    blake2b_256: str
    md5: str
    uploaded_at: datetime
    uploader: str
    requires_python: str | None
    yanked: bool
    yanked_reason: str | None
    state: str
    serial: int | None
    error: str | None
    warnings: Sequence[str]
    held_reason: str | None = None


def latest_release(releases: Collection[ReleaseLine]) -> ReleaseLine | None:
    """Return the newest release that is neither yanked nor a pre-release; else the newest not yanked; else the newest.

    Source: contract python-index section 1.9 (point 5).
    """
    offered = [release for release in releases if not release.yanked]
    final = [release for release in offered if not Version(release.version).is_prerelease]
    return max(final or offered or releases, key=lambda release: Version(release.version), default=None)


async def project_page(
    connection: AsyncConnection, index_id: IndexId, life: int, *, containing: str | None, after: str | None, limit: int
) -> Sequence[ProjectLine]:
    """Return projects with files by name, at most `limit`.

    Args:
        containing: part of the name as people write it, in any case; None for all projects.
        after: the name after which the page begins.
    """
    living = select(File.id).where(File.project_id == Project.id, File.removed_at.is_(None)).exists()
    query = (
        select(Project.id, Project.name, Project.display_name, Project.status)
        .where(Project.index_id == index_id, Project.life == life, Project.format == FORMAT, living)
        .order_by(Project.name)
        .limit(limit)
    )
    if containing is not None:
        by_name = Project.name.contains(containing.lower(), autoescape=True)
        query = query.where(by_name | Project.display_name.icontains(containing, autoescape=True))
    if after is not None:
        query = query.where(Project.name > after)
    rows = (await connection.execute(query)).all()
    releases = await _releases_of(connection, [ProjectId(row.id) for row in rows])
    latest = {project: latest_release(lines) for project, lines in releases.items()}
    summaries = await _summaries(connection, [line.id for line in latest.values() if line is not None])
    return [_line(row, releases.get(row.id, []), latest.get(row.id), summaries) for row in rows]


def _line(
    row: Any, releases: Sequence[ReleaseLine], latest: ReleaseLine | None, summaries: Mapping[ReleaseId, str]
) -> ProjectLine:
    return ProjectLine(
        id=ProjectId(row.id),
        name=NormalizedName(row.name),
        display_name=row.display_name,
        status=row.status,
        summary=None if latest is None else summaries.get(latest.id),
        latest_version=None if latest is None else latest.version,
        releases=len(releases),
        files=sum(release.files for release in releases),
        updated_at=max((release.updated_at for release in releases), default=None),
    )


async def living_names(
    connection: AsyncConnection, index_id: IndexId, life: int, *, after: str | None = None
) -> list[str]:
    """Return the next `NAMES_AT_ONCE` names of an index's projects, those without files as well."""
    of_life = (Project.index_id == index_id, Project.life == life, Project.format == FORMAT)
    query = select(Project.name).where(*of_life, Project.removed_at.is_(None))
    query = query.order_by(Project.name).limit(NAMES_AT_ONCE)
    return list(await connection.scalars(query if after is None else query.where(Project.name > after)))


async def find_project(
    connection: AsyncConnection, index_id: IndexId, life: int, name: NormalizedName
) -> ProjectDetail | None:
    """Return a project, None when there is none of this name."""
    serial = select(func.max(Page.serial)).where(Page.index_id == Project.index_id, Page.project_id == Project.id)
    columns = (Project.id, Project.name, Project.display_name, Project.status, Project.status_reason)
    row = (
        await connection.execute(
            select(*columns, Project.created_at, serial.scalar_subquery().label("serial")).where(
                Project.index_id == index_id,
                Project.life == life,
                Project.format == FORMAT,
                Project.name == name,
            )
        )
    ).first()
    return None if row is None else ProjectDetail(**row._mapping)


async def project_releases(connection: AsyncConnection, project_id: ProjectId) -> Sequence[ReleaseLine]:
    """Return the releases of a project that have files, the highest version first, at most `MAX_RELEASES`."""
    lines = (await _releases_of(connection, [project_id])).get(project_id, [])
    return sorted(lines, key=lambda line: (Version(line.version), line.version), reverse=True)


async def find_release(connection: AsyncConnection, release_id: ReleaseId) -> ReleaseDetail | None:
    """Return a release, None when there is none."""
    columns = (Release.id, Release.version, Release.created_at, Release.core_metadata.label("core_metadata"))
    query = select(*columns).where(Release.id == release_id)
    row = (await connection.execute(query)).first()
    return None if row is None else ReleaseDetail(**row._mapping)


async def release_files(connection: AsyncConnection, index_id: IndexId, release_id: ReleaseId) -> Sequence[FileLine]:
    """Return the files of a release by name, the removed ones as well, at most `MAX_FILES`."""
    columns = (File.id, File.file_name, File.package_type, File.length, File.sha256, File.blake2b_256, File.md5)
    marks = (File.uploaded_at, File.uploader, File.requires_python, File.yanked_at, File.yanked_reason, File.removed_at)
    held = (File.held_at, File.held_reason)
    rows = (
        await connection.execute(
            select(*columns, *marks, *held, File.warnings, PublishedFile.from_serial)
            .outerjoin(PublishedFile, (PublishedFile.file_id == File.id) & PublishedFile.to_serial.is_(None))
            .where(File.release_id == release_id, File.project_id == _project_of(release_id).scalar_subquery())
            .order_by(File.uploaded_at.desc(), File.id)
            .limit(MAX_FILES)
        )
    ).all()
    waiting = [str(row.id) for row in rows if row.removed_at is None and row.from_serial is None]
    refused = await _refusals(connection, index_id, waiting)
    asked = await approvals.kept_states(connection, waiting)
    return [
        _file(row, refused.get(str(row.id)), asked.get(str(row.id)))
        for row in sorted(rows, key=lambda row: row.file_name)
    ]


def _project_of(release_id: ReleaseId) -> Select[uuid.UUID]:
    """With the project known, the files are found by `ix_file_project`."""
    return select(Release.project_id).where(Release.id == release_id)


def _file(row: Any, error: str | None, asked: str | None) -> FileLine:
    if row.removed_at is not None:
        state = "removed"
    elif row.from_serial is not None:
        state = "published"
    elif error is not None:
        state = "failed"
    else:
        state = {approvals.OPEN: approvals.WAITING, approvals.WITHDRAWN: approvals.WITHDRAWN}.get(
            asked or "", "received"
        )
    return FileLine(
        id=row.id,
        file_name=row.file_name,
        package_type=row.package_type,
        length=row.length,
        sha256=row.sha256,
        blake2b_256=row.blake2b_256,
        md5=row.md5,
        uploaded_at=row.uploaded_at,
        uploader=row.uploader,
        requires_python=row.requires_python,
        yanked=row.yanked_at is not None,
        yanked_reason=row.yanked_reason,
        state=state,
        serial=row.from_serial,
        error=error,
        warnings=row.warnings,
        held_reason=None if row.held_at is None else row.held_reason or "",
    )


async def _refusals(connection: AsyncConnection, index_id: IndexId, files: Sequence[str]) -> dict[str, str]:
    """Return why signing refused files, by the text of their ids."""
    if not files:
        return {}
    file_id = Outbox.ids["file_id"].astext
    rows = await connection.execute(
        select(file_id.label("file_id"), Outbox.last_error).where(
            Outbox.index_id == index_id, Outbox.dead_at.is_not(None), file_id.in_(files)
        )
    )
    return {row.file_id: row.last_error or "" for row in rows}


async def _releases_of(
    connection: AsyncConnection, projects: Sequence[ProjectId]
) -> dict[ProjectId, list[ReleaseLine]]:
    """Return the newest releases with files of some projects, at most `MAX_RELEASES` of each."""
    if not projects:
        return {}
    newest = lateral(
        select(Release.id, Release.version, Release.created_at)
        .where(Release.project_id == Project.id)
        .order_by(Release.created_at.desc(), Release.id)
        .limit(MAX_RELEASES)
    ).alias("newest")
    rows = await connection.execute(
        select(
            newest.c.id,
            Project.id.label("project_id"),
            newest.c.version,
            newest.c.created_at,
            func.count(File.id).label("files"),
            func.bool_and(File.yanked_at.is_not(None)).label("yanked"),
            func.max(File.uploaded_at).label("updated_at"),
        )
        .select_from(Project)
        .join(newest, true())
        .join(File, (File.release_id == newest.c.id) & File.removed_at.is_(None))
        .where(Project.id.in_(projects))
        .group_by(newest.c.id, Project.id, newest.c.version, newest.c.created_at)
    )
    found: dict[ProjectId, list[ReleaseLine]] = {}
    for row in rows:
        found.setdefault(ProjectId(row.project_id), []).append(ReleaseLine(**row._mapping))
    return found


async def _summaries(connection: AsyncConnection, releases: Sequence[ReleaseId]) -> dict[ReleaseId, str]:
    summary = Release.core_metadata["summary"].astext
    rows = await connection.execute(select(Release.id, summary.label("summary")).where(Release.id.in_(releases)))
    return {ReleaseId(row.id): row.summary for row in rows if row.summary}
