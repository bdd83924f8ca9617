"""Queries on attestations: verified statements about hosted files. Writer: upload.

Rows are never deleted: those of a removed or replaced file go with it, and stay.
Source: architecture sections 11.1 and 11.8; ADR 0037.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NewType
from uuid import UUID

from sqlalchemy import Row, Select, exists, select, update
from sqlalchemy.dialects.postgresql import insert as pg_insert
from sqlalchemy.ext.asyncio import AsyncConnection

from countermark.core.digest import Length, Sha256
from countermark.core.names import FileName, NormalizedName
from shared.catalogue import provenance_due
from shared.catalogue.attestation_rows import AttestationRow
from shared.catalogue.projects import FORMAT
from shared.catalogue.tables import Attestation, File, Project, PublishedFile, Release, StoredObject, Token
from shared.ids import FileId, IndexId, ProjectId, TokenId, new_uuid

AttestationId = NewType("AttestationId", UUID)

PEP740, BUNDLE = "pep740", "bundle"
"""Where attestations come from: a PEP 740 object, or a Sigstore bundle as it is."""

SUFFIX = ".sigstore.json"
"""What follows a file's name in the name of its attestations' objects. Source: trust contract section 3.2."""

MOST = 16
"""Attestations that one file may have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored(AttestationRow):
    """An attestation that is kept."""

    id: AttestationId


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAttestation(AttestationRow):
    """An attestation that was verified and whose bytes are stored."""

    index_id: IndexId
    file_name: FileName


@dataclass(frozen=True, slots=True)
class AttestedFile:
    """A file that attestations may be about.

    Attributes:
        status: of its project.
        held: why it is held, "" without words, None when it is not.
        visible: whether a publication shows it now, as pages do.
    """

    id: FileId
    project_id: ProjectId
    project: NormalizedName
    version: str
    status: str
    removed: bool
    held: str | None
    visible: bool


class TooMany(Exception):
    """The file has as many attestations as one may have."""


def object_name(file_name: FileName) -> FileName:
    """Return under which name the bytes of a file's attestations lie."""
    return FileName(f"{file_name}{SUFFIX}")


async def of_files(connection: AsyncConnection, file_ids: Sequence[FileId]) -> dict[FileId, list[Stored]]:
    """Return the attestations of files, oldest first; files without any are left out."""
    found: dict[FileId, list[Stored]] = {}
    if not file_ids:
        return found
    query = _stored().where(Attestation.file_id.in_(file_ids)).order_by(Attestation.added_at, Attestation.id)
    for row in await connection.execute(query):
        found.setdefault(FileId(row.file_id), []).append(_from(row))
    return found


async def of_file(connection: AsyncConnection, file_id: FileId) -> list[Stored]:
    """Return the attestations of a file, oldest first."""
    return (await of_files(connection, [file_id])).get(file_id, [])


async def of_shown_file(
    connection: AsyncConnection, index_id: IndexId, project: NormalizedName, file_name: FileName
) -> list[Stored]:
    """Return the attestations of the file that an index shows under a name, oldest first; none where it shows none."""
    shown = (PublishedFile.file_id == File.id) & PublishedFile.to_serial.is_(None)
    query = (
        _stored()
        .join(File, File.id == Attestation.file_id)
        .join(PublishedFile, shown)
        .join(Project, Project.id == File.project_id)
        .where(File.index_id == index_id, File.file_name == file_name)
        .where(Project.format == FORMAT, Project.name == project)
        .order_by(Attestation.added_at, Attestation.id)
    )
    return [_from(row) for row in await connection.execute(query)]


async def had_provenance(connection: AsyncConnection, project_id: ProjectId, *, before: datetime | None = None) -> bool:
    """Return whether any file of a project ever had an attestation, also one that was removed.

    Args:
        before: only files that were uploaded earlier count; a file is not judged by what came after it.
    """
    query = select(Attestation.id).join(File, File.id == Attestation.file_id).where(File.project_id == project_id)
    if before is not None:
        query = query.where(File.uploaded_at < before)
    return bool(await connection.scalar(select(query.exists())))


async def project_had_provenance(
    connection: AsyncConnection, index_id: IndexId, life: int, project: NormalizedName
) -> bool:
    """Return the same of a project by its name; one that is new had none."""
    place = (Project.index_id == index_id) & (Project.life == life) & (Project.format == FORMAT)
    found = await connection.scalar(select(Project.id).where(place, Project.name == project))
    return found is not None and await had_provenance(connection, ProjectId(found))


async def publisher_of(connection: AsyncConnection, token_id: TokenId) -> dict[str, Any] | None:
    """Return the CI identity that a token was made for by trusted publishing; None for tokens of people."""
    found: dict[str, Any] | None = await connection.scalar(select(Token.publisher).where(Token.id == token_id))
    return found


async def file_at(
    connection: AsyncConnection, index_id: IndexId, life: int, sha256: Sha256, file_name: FileName
) -> AttestedFile | None:
    """Return the file that has a name and a digest in an index, also one that was removed; None when none ever had."""
    shown = exists().where(PublishedFile.file_id == File.id, PublishedFile.to_serial.is_(None))
    row = (
        await connection.execute(
            select(File.id, File.project_id, Project.name, Project.status, Release.version)
            .add_columns((File.removed_at.is_not(None) | (Project.life != life)).label("removed"))
            .add_columns(File.held_at, File.held_reason, shown.label("visible"))
            .join(Project, Project.id == File.project_id)
            .join(Release, Release.id == File.release_id)
            .where(File.index_id == index_id, File.path_key == sha256[:16])
            .where(File.file_name == file_name, File.sha256 == sha256)
        )
    ).first()
    if row is None:
        return None
    names = (NormalizedName(row.name), row.version)
    held = None if row.held_at is None else row.held_reason or ""
    place = (FileId(row.id), ProjectId(row.project_id))
    return AttestedFile(*place, *names, row.status, row.removed, held, row.visible)


async def lock_living(connection: AsyncConnection, file_id: FileId) -> bool:
    """Return whether a file was not removed; it is not until the transaction ends."""
    living = select(File.id).where(File.id == file_id, File.removed_at.is_(None))
    return await connection.scalar(living.with_for_update()) is not None


async def insert(connection: AsyncConnection, side: str, new: NewAttestation) -> bool:
    """Keep an attestation; the caller's transaction decides. Returns False when the file has it already.

    The file's row is locked: of two at once the second sees the first. One that is named takes the place of the one
    that was. The documents about the file are due from the same commit on.

    Args:
        side: of the store that has the bytes, `public` or `private`.

    Raises:
        TooMany: the file has `MOST` already.
    """
    await connection.execute(select(File.id).where(File.id == new.file_id).with_for_update())
    there = set(await connection.scalars(select(Attestation.sha256).where(Attestation.file_id == new.file_id)))
    if new.sha256 in there:
        return False
    if len(there) >= MOST:
        raise TooMany
    if new.named:
        await name_none(connection, new.file_id)
    row = pg_insert(Attestation).values(
        id=new_uuid(),
        index_id=new.index_id,
        file_id=new.file_id,
        sha256=new.sha256,
        length=new.length,
        predicate_type=new.predicate_type,
        origin=new.origin,
        publisher=None if new.publisher is None else dict(new.publisher),
        facts=dict(new.facts),
        named=new.named,
        added_at=new.added_at,
        added_by=new.added_by,
        token_id=new.token_id,
    )
    await connection.execute(row.add_cte(provenance_due.marking([new.file_id]).cte("marked")))
    await _note_object(connection, side, new)
    return True


async def name_none(connection: AsyncConnection, file_id: FileId) -> None:
    """Let no attestation of a file be the one that its pointer names."""
    named = update(Attestation).where(Attestation.file_id == file_id, Attestation.named)
    await connection.execute(named.values(named=False))


async def _note_object(connection: AsyncConnection, side: str, new: NewAttestation) -> None:
    """Note that the store has the bytes, so that they move with the index and are not swept."""
    stored = pg_insert(StoredObject).values(
        side=side,
        sha256=new.sha256,
        file_name=object_name(new.file_name),
        length=new.length,
        stored_at=new.added_at,
    )
    await connection.execute(stored.on_conflict_do_nothing())


def _stored() -> Select[*tuple[Any, ...]]:
    columns = (Attestation.id, Attestation.file_id, Attestation.sha256, Attestation.length, Attestation.predicate_type)
    more = (Attestation.origin, Attestation.publisher, Attestation.facts, Attestation.named)
    return select(*columns, *more, Attestation.added_at, Attestation.added_by, Attestation.token_id)


def _from(row: Row[*tuple[Any, ...]]) -> Stored:
    return Stored(
        id=AttestationId(row.id),
        file_id=FileId(row.file_id),
        sha256=Sha256(row.sha256),
        length=Length(row.length),
        predicate_type=row.predicate_type,
        origin=row.origin,
        publisher=row.publisher,
        facts=row.facts,
        named=row.named,
        added_at=row.added_at,
        added_by=row.added_by,
        token_id=None if row.token_id is None else TokenId(row.token_id),
    )
