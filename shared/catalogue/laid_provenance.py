"""Queries on the static documents about attestations: which are due, and of what they were laid. Writer: index.

Source: architecture sections 6 and 11.8.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import and_, func, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from countermark.core.digest import Sha256
from countermark.core.names import FileName, NormalizedName
from shared.catalogue import attestations
from shared.catalogue.attestations import Stored
from shared.catalogue.reading import PYTHON
from shared.catalogue.tables import Attestation, File, LaidProvenance, Project, PublishedFile, TufHead
from shared.ids import FileId, IndexId

_ANNOUNCED = -1
"""In the place of a count, where documents may lie of which nobody has said yet of what they were laid."""


@dataclass(frozen=True, slots=True)
class Shown:
    """The file that an index shows under a name, and all that is attested of it, oldest first.

    Attributes:
        serial: of the head; what is told is of this one or of a newer one.
        id: None when no file of the name is shown.
    """

    serial: int
    id: FileId | None
    sha256: Sha256 | None
    rows: Sequence[Stored]


async def names_due(
    connection: AsyncConnection, index_id: IndexId, project: NormalizedName, *, full: bool
) -> list[FileName]:
    """Return the names of files of a project of which the documents were laid of something else than is shown now.

    Args:
        full: all names that have documents, also those that were laid of what is shown.
    """
    shown = (
        select(File.file_name, File.id, func.count().label("count"))
        .join(Attestation, Attestation.file_id == File.id)
        .join(PublishedFile, and_(PublishedFile.file_id == File.id, PublishedFile.to_serial.is_(None)))
        .join(Project, Project.id == File.project_id)
        .where(Project.index_id == index_id, Project.format == PYTHON, Project.name == project)
        .group_by(File.file_name, File.id)
    ).subquery()
    of_project = (LaidProvenance.index_id == index_id, LaidProvenance.project_name == project)
    laid = select(LaidProvenance.file_name, LaidProvenance.file_id, LaidProvenance.attestations).where(*of_project)
    there = laid.subquery()
    differs = or_(
        shown.c.id.is_distinct_from(there.c.file_id),
        func.coalesce(shown.c.count, 0) != func.coalesce(there.c.attestations, 0),
    )
    both = shown.join(there, shown.c.file_name == there.c.file_name, isouter=True, full=True)
    names = select(func.coalesce(shown.c.file_name, there.c.file_name)).select_from(both)
    found = await connection.scalars(names if full else names.where(differs))
    return sorted(map(FileName, found))


async def all_names(connection: AsyncConnection, index_id: IndexId) -> list[tuple[NormalizedName, FileName]]:
    """Return the project and the name of each file of an index that is shown and attested, or ever had documents."""
    shown = (
        select(Project.name.label("project_name"), File.file_name)
        .join(Project, Project.id == File.project_id)
        .join(PublishedFile, and_(PublishedFile.file_id == File.id, PublishedFile.to_serial.is_(None)))
        .where(Project.index_id == index_id, Project.format == PYTHON)
        .where(select(Attestation.id).where(Attestation.file_id == File.id).exists())
    )
    laid = select(LaidProvenance.project_name, LaidProvenance.file_name).where(LaidProvenance.index_id == index_id)
    rows = await connection.execute(shown.union(laid))
    return sorted((NormalizedName(row.project_name), FileName(row.file_name)) for row in rows)


async def announce(
    connection: AsyncConnection, index_id: IndexId, project: NormalizedName, file_name: FileName
) -> bool:
    """Record that documents of a name are about to be laid for the first time: from now on the name is due for every
    process until one records of what they were laid, also when nothing is shown under it any more. Returns whether
    nobody did before."""
    row = insert(LaidProvenance).values(
        index_id=index_id, project_name=project, file_name=file_name, serial=0, file_id=None, attestations=_ANNOUNCED
    )
    return (await connection.execute(row.on_conflict_do_nothing())).rowcount == 1


async def shown_now(
    connection: AsyncConnection, index_id: IndexId, project: NormalizedName, file_name: FileName
) -> Shown:
    """Return what an index shows under a file's name."""
    # Of the head that is there before the rest is read: what is read then is of this serial or of a newer one.
    serial = await connection.scalar(select(TufHead.serial).where(TufHead.index_id == index_id)) or 0
    row = (
        await connection.execute(
            select(File.id, File.sha256)
            .join(PublishedFile, and_(PublishedFile.file_id == File.id, PublishedFile.to_serial.is_(None)))
            .join(Project, Project.id == File.project_id)
            .where(File.index_id == index_id, File.file_name == file_name)
            .where(Project.format == PYTHON, Project.name == project)
        )
    ).first()
    if row is None:
        return Shown(serial, None, None, ())
    file_id = FileId(row.id)
    return Shown(serial, file_id, Sha256(row.sha256), await attestations.of_file(connection, file_id))


async def mark(
    connection: AsyncConnection, index_id: IndexId, project: NormalizedName, file_name: FileName, shown: Shown
) -> None:
    """Record of what the documents of a name were laid; never takes back what was recorded of a newer head, or of more
    attestations."""
    row = insert(LaidProvenance).values(
        index_id=index_id,
        project_name=project,
        file_name=file_name,
        serial=shown.serial,
        file_id=shown.id if shown.rows else None,
        attestations=len(shown.rows),
    )
    new = row.excluded
    older = or_(
        LaidProvenance.serial < new.serial,
        and_(LaidProvenance.serial == new.serial, LaidProvenance.attestations <= new.attestations),
    )
    await connection.execute(
        row.on_conflict_do_update(
            index_elements=[LaidProvenance.index_id, LaidProvenance.project_name, LaidProvenance.file_name],
            set_={"serial": new.serial, "file_id": new.file_id, "attestations": new.attestations},
            where=older,
        )
    )
