"""Which static documents about attestations are due: those of names that a publication showed or hid since the last
laying, and those of files that got an attestation. Writers: upload and index.

An attestation is no part of a publication, and no number of its own would do: rows may become visible in another order
than they were numbered in. So whoever keeps one leaves a mark in the same transaction, and who lays takes away the very
marks that it saw, no others.
Source: architecture sections 6 and 11.8; ADR 0042.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Insert,
    String,
    Uuid,
    bindparam,
    cast,
    delete,
    func,
    insert,
    null,
    select,
    union_all,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from countermark.core.names import FileName, NormalizedName
from shared.catalogue.prepared import Prepared
from shared.catalogue.reading import PYTHON
from shared.catalogue.tables import Attestation, File, Project, ProvenanceDue, PublishedFile
from shared.ids import FileId, IndexId

_EVER = -1
"""A serial before the first."""


@dataclass(frozen=True, slots=True)
class DueName:
    """A name of which the documents are to be looked at.

    Attributes:
        file_id: a file of the name.
        ever_shown: whether the index ever showed one of the attested files; else no documents are laid.
        is_new: no file of the name was shown before `since`, so that nobody who finished laid a document.
        marks: that this takes away.
    """

    name: FileName
    file_id: FileId
    ever_shown: bool
    is_new: bool
    marks: tuple[int, ...]


async def names_due(
    connection: AsyncConnection, index_id: IndexId, project: NormalizedName, *, since: int | None
) -> list[DueName]:
    """Return the names of a project's attested files that were shown or hidden after a serial, or got an attestation,
    sorted. What it costs depends on how many there are, not on how many files the project has.

    Args:
        since: up to which serial all of the index was laid; None for all names that may have documents.
    """
    values = {"index_id": index_id, "project": project, "since": _EVER if since is None else since}
    return [
        DueName(
            FileName(row["file_name"]),
            FileId(row["file_id"]),
            row["ever_shown"],
            since is not None and row["first"] is not None and row["first"] > since,
            tuple(row["marks"] or ()),
        )
        for row in await _DUE.rows(connection, values)
    ]


async def names_laid(connection: AsyncConnection, index_id: IndexId) -> list[tuple[NormalizedName, FileName]]:
    """Return the project and the name of each attested file that an index ever showed: of these there are documents
    once all is laid."""
    attested = select(Attestation.id).where(Attestation.file_id == File.id).exists()
    shown = select(PublishedFile.file_id).where(PublishedFile.index_id == index_id, PublishedFile.file_id == File.id)
    rows = await connection.execute(
        select(Project.name, File.file_name)
        .join(Project, Project.id == File.project_id)
        .where(Project.index_id == index_id, Project.format == PYTHON, attested, shown.exists())
        .distinct()
    )
    return sorted((NormalizedName(row.name), FileName(row.file_name)) for row in rows)


def marking(file_ids: Collection[FileId]) -> Insert:
    """Return the statement that leaves a mark of each of some files: for the transaction that keeps attestations of
    them, and for whoever could not lay their documents."""
    files = select(File.project_id, File.id).where(File.id.in_(file_ids))
    return insert(ProvenanceDue).from_select(["project_id", "file_id"], files)


async def settle(connection: AsyncConnection, marks: Collection[int]) -> None:
    """Take marks away: what was seen with them is laid."""
    await connection.execute(delete(ProvenanceDue).where(ProvenanceDue.id.in_(marks)))


def _due() -> Prepared:
    """Return the query of `names_due`.

    Each part of `changed` reads an index of its own: open rows of a project by `from_serial`, closed ones by
    `to_serial` (one that was opened and closed since is among these), marks by project.
    """
    since = bindparam("since", type_=BigInteger)
    of_project = select(Project.id).where(
        Project.index_id == bindparam("index_id", type_=Uuid),
        Project.format == PYTHON,
        Project.name == bindparam("project", type_=String),
    )
    no_mark = cast(null(), BigInteger).label("mark")
    published = select(PublishedFile.file_id, no_mark).where(PublishedFile.project_id.in_(of_project))
    marked = select(ProvenanceDue.file_id, ProvenanceDue.id).where(ProvenanceDue.project_id.in_(of_project))
    changed = union_all(
        published.where(PublishedFile.to_serial.is_(None), PublishedFile.from_serial > since),
        published.where(PublishedFile.to_serial > since),
        marked,
    ).subquery()
    same = File.__table__.alias("same")
    first = (
        select(func.min(PublishedFile.from_serial))
        .join(same, (same.c.id == PublishedFile.file_id) & (same.c.index_id == PublishedFile.index_id))
        .where(same.c.index_id == File.index_id, same.c.file_name == File.file_name, same.c.project_id.in_(of_project))
        .correlate(File)
        .scalar_subquery()
    )
    any_file = func.array_agg(File.id, type_=ARRAY(Uuid()))[1]
    marks = func.array_agg(changed.c.mark).filter(changed.c.mark.is_not(None)).label("marks")
    attested = select(Attestation.id).where(Attestation.file_id == File.id).exists()
    shown = select(PublishedFile.file_id).where(
        PublishedFile.index_id == File.index_id, PublishedFile.file_id == File.id
    )
    ever_shown = func.bool_or(shown.exists()).label("ever_shown")
    return Prepared(
        select(File.file_name, any_file.label("file_id"), ever_shown, first.label("first"), marks)
        .join(changed, changed.c.file_id == File.id)
        .where(attested)
        .group_by(File.index_id, File.file_name)
        .order_by(File.file_name)
    )


_DUE = _due()
