"""Reads which bundle an address means, and what a release's files have: for who serves, never for who signs.

Writer of the rows: upload. Source: architecture sections 11.4, 11.5 and 11.8.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from countermark.core.digest import Length, Sha256
from countermark.core.names import FileName, NormalizedName
from shared.catalogue.reading import PYTHON, facts_from, facts_query
from shared.catalogue.tables import Attestation, File, Project, PublishedFile, Release
from shared.ids import FileId, IndexId
from shared.reading.facts import FileFacts


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle that an address means, and the file that it is about."""

    sha256: Sha256
    length: Length
    file: FileFacts


@dataclass(frozen=True, slots=True)
class Coordinates:
    """A file of an index as its rows have it; `named` is the digest of the bundle that its published pointer names."""

    id: FileId
    version: str
    facts: FileFacts
    path_key: str
    named: Sha256 | None


async def bundle_at(
    connection: AsyncConnection, index_id: IndexId, sha256: Sha256, file_name: FileName
) -> Bundle | None:
    """Return the bundle of a digest about a file of an index, None when there never was one.

    Of several files of the name, removed ones and another, the one that is shown counts.
    """
    rows = await connection.execute(
        facts_query(Attestation.sha256.label("bundle"), Attestation.length.label("bundle_length"))
        .join(Attestation, Attestation.file_id == File.id)
        .where(File.index_id == index_id, File.file_name == file_name, Attestation.sha256 == sha256)
        .order_by(File.uploaded_at.desc())
    )
    found = [Bundle(Sha256(row.bundle), Length(row.bundle_length), facts_from(row, file_name)) for row in rows]
    return next((bundle for bundle in found if bundle.file.visible), found[0] if found else None)


async def files_called(
    connection: AsyncConnection, index_id: IndexId, project: NormalizedName, file_name: FileName
) -> Sequence[Coordinates]:
    """Return the files of a name that a project of an index ever had, the shown one first, then the newest."""
    named = select(PublishedFile.attestation_sha256).where(
        PublishedFile.file_id == File.id, PublishedFile.to_serial.is_(None)
    )
    rows = await connection.execute(
        facts_query(Release.version, File.path_key, named.scalar_subquery().label("named"))
        .join(Release, Release.id == File.release_id)
        .where(File.index_id == index_id, File.file_name == file_name)
        .where(Project.name == project, Project.format == PYTHON)
        .order_by(File.uploaded_at.desc())
    )
    found = [
        Coordinates(
            FileId(row.id),
            row.version,
            facts_from(row, file_name),
            row.path_key,
            None if row.named is None else Sha256(row.named),
        )
        for row in rows
    ]
    return sorted(found, key=lambda file: not file.facts.visible)
