"""All files that are hosted, with what is kept of attestations about each: to try a proposed policy. Reads only.

Rows are streamed: a registry has more files than memory.
Source: issue 7/7 item 4 (dry run against all hosted files); architecture section 11.1; ADR 0038 and 0048.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, Select, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from countermark.core.digest import Sha256
from countermark.core.names import FileName, IndexName, NormalizedName
from shared.catalogue.tables import Attestation, File, IndexRow, Project, Release
from shared.ids import IndexId

_ROWS_AT_ONCE = 256
"""A row has some hundred bytes: a file, and the digest of one attestation."""


@dataclass(frozen=True, slots=True)
class KeptBundle:
    """An attestation of a file; `named` when its pointer is to name it."""

    sha256: Sha256
    named: bool


@dataclass(frozen=True, slots=True)
class HostedFile:
    """A file that a living stage has, whether or not it is published yet.

    Attributes:
        public: on which side of the store its index lies.
        kept: its attestations, oldest first.
        had_provenance: whether a file of the project that was uploaded earlier has an attestation.
    """

    index_id: IndexId
    index: IndexName
    public: bool
    project: NormalizedName
    version: str
    file_name: FileName
    sha256: Sha256
    kept: tuple[KeptBundle, ...]
    had_provenance: bool


async def hosted_files(connection: AsyncConnection, index: IndexName | None = None) -> AsyncIterator[HostedFile]:
    """Yield every file of one index or of all, in the order of upload."""
    rows: list[Row[*tuple[Any, ...]]] = []
    async with connection.stream(_query(index), execution_options={"yield_per": _ROWS_AT_ONCE}) as result:
        async for row in result:
            if rows and rows[0].id != row.id:
                yield _file(rows)
                rows.clear()
            rows.append(row)
    if rows:
        yield _file(rows)


def _file(rows: list[Row[*tuple[Any, ...]]]) -> HostedFile:
    """Return a file, of which there is a row for each attestation, or one."""
    row = rows[0]
    return HostedFile(
        index_id=IndexId(row.index_id),
        index=IndexName(row.owner, row.index_name),
        public=row.visibility == "public",
        project=NormalizedName(row.project),
        version=row.version,
        file_name=FileName(row.file_name),
        sha256=Sha256(row.sha256),
        kept=tuple(KeptBundle(Sha256(one.bundle), one.named) for one in rows if one.bundle is not None),
        had_provenance=row.attested_since is not None and row.attested_since < row.uploaded_at,
    )


def _query(index: IndexName | None) -> Select[*tuple[Any, ...]]:
    attested = (
        select(File.project_id, func.min(File.uploaded_at).label("attested_since"))
        .where(select(Attestation.id).where(Attestation.file_id == File.id).exists())
        .group_by(File.project_id)
        .subquery()
    )
    query = (
        select(File.id, File.file_name, File.sha256, File.uploaded_at, Project.name.label("project"), Release.version)
        .add_columns(IndexRow.id.label("index_id"), IndexRow.owner, IndexRow.name.label("index_name"))
        .add_columns(IndexRow.visibility, Attestation.sha256.label("bundle"), Attestation.named)
        .add_columns(attested.c.attested_since)
        .join(Project, Project.id == File.project_id)
        .join(Release, Release.id == File.release_id)
        .join(IndexRow, (IndexRow.id == Project.index_id) & (IndexRow.life == Project.life))
        .outerjoin(Attestation, Attestation.file_id == File.id)
        .outerjoin(attested, attested.c.project_id == File.project_id)
        .where(File.removed_at.is_(None), IndexRow.deleted_at.is_(None), IndexRow.type == "stage")
        .order_by(File.id, Attestation.added_at, Attestation.id)
    )
    return query if index is None else query.where(IndexRow.owner == index.owner, IndexRow.name == index.name)
