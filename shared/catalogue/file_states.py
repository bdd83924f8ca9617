"""The files that a batch is about, as signing sees them: marks, whether they are visible, and what is attested of them.

Reads only. Source: architecture sections 11.2, 11.4 and 11.8.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, exists, func, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import aliased

from countermark.core.digest import Length, Sha256
from countermark.core.names import FileName
from shared.catalogue.publication_rows import FileState, NamedBundle
from shared.catalogue.tables import Attestation, File, PublishedFile, Release
from shared.ids import FileId, ProjectId
from shared.reading import provenance


async def file_states(
    connection: AsyncConnection,
    projects: Collection[ProjectId],
    batch: Collection[FileId],
    whole: Collection[ProjectId] = (),
) -> list[FileState]:
    """Return the files a batch is about: those of its own, and those of the touched projects that are visible now.

    A file that was uploaded but is not in this batch is left out: its bytes were not checked yet.

    Args:
        whole: projects of which every file is wanted that was not removed, since their status decides what is visible.
    """
    if not projects:
        return []
    wanted = _IS_OPEN | File.id.in_(batch) | (File.project_id.in_(whole) & File.removed_at.is_(None))
    rows = await connection.execute(_file_rows().where(File.project_id.in_(projects), wanted))
    return [_file_state(row) for row in rows]


async def changed_files(
    connection: AsyncConnection,
    projects: Collection[ProjectId],
    batch: Collection[FileId],
    releases: Collection[tuple[ProjectId, str]],
) -> list[FileState]:
    """Return the files of some projects that a batch may change, and no others, however many the projects have.

    Args:
        batch: files that are new.
        releases: (project, version) of those of which something was asked for: their files that are visible now.
    """
    if not projects:
        return []
    rows = list(await connection.execute(_file_rows().where(File.id.in_(batch), File.project_id.in_(projects))))
    if releases:
        marked = tuple_(File.project_id, Release.version).in_(list(releases)) & _IS_OPEN
        rows += await connection.execute(_file_rows().where(marked, File.id.not_in(batch)))
    return [_file_state(row) for row in rows]


_IS_OPEN = PublishedFile.file_id.is_not(None)


_LAST_STEP = File.history[-1]
_BROUGHT_BY = case(
    (_LAST_STEP["what"].astext == "push", func.coalesce(_LAST_STEP["who"].astext, "")), else_=File.uploader
).label("uploader")
"""Who brought a file into this index: of one that was pushed here, whoever pushed it and not who made it elsewhere."""


def _published_by_known() -> ColumnElement[bool]:
    """Return whether an attestation's certificate is of a publisher that PEP 740 knows."""
    facts = Attestation.facts
    issuer, repository = facts["issuer"].astext, facts["certificate"]["1.3.6.1.4.1.57264.1.12"].astext
    return or_(
        and_(issuer == provenance.GITHUB_ISSUER, repository.like(f"{provenance.GITHUB}%")),
        and_(issuer == provenance.GITLAB_ISSUER, repository.like(f"{provenance.GITLAB}/%")),
        and_(issuer == provenance.GOOGLE_ISSUER, facts["san_type"].astext == "email"),
    )


_HAS_PROVENANCE = exists().where(
    Attestation.file_id == File.id,
    Attestation.facts["root_kind"].astext == "sigstore",
    Attestation.facts["log"].astext == "v1",
    or_(
        Attestation.predicate_type == provenance.SLSA_V1,
        Attestation.predicate_type.like(f"%{provenance.PUBLISH_V1}"),
    ),
    or_(Attestation.publisher.is_not(None), _published_by_known()),
)
"""Whether a file has an attestation that PEP 740 can express, as `shared.reading.provenance.publisher_in_object` says,
which reads the workflow of a certificate too. What is in no provenance object is no reason to print its address."""


def _file_rows() -> Select[*tuple[Any, ...]]:
    earlier = aliased(PublishedFile)
    named, signed = aliased(Attestation), aliased(Attestation)
    was_open = exists().where(earlier.index_id == File.index_id, earlier.file_id == File.id)
    columns = (File.id, File.project_id, Release.version, File.file_name, File.package_type, File.sha256, File.length)
    more = (File.requires_python, File.core_metadata_sha256, File.uploaded_at, _BROUGHT_BY, File.yanked_at)
    marks = (File.yanked_reason, File.removed_at, File.removed_by, File.held_at, _IS_OPEN.label("published"))
    attested = (
        named.sha256.label("named_sha256"),
        named.length.label("named_length"),
        PublishedFile.attestation_sha256.label("signed_sha256"),
        signed.length.label("signed_length"),
        _HAS_PROVENANCE.label("has_provenance"),
    )
    return (
        select(*columns, *more, *marks, (_IS_OPEN | was_open).label("was_published"), *attested)
        .join(Release, Release.id == File.release_id)
        .outerjoin(PublishedFile, (PublishedFile.file_id == File.id) & PublishedFile.to_serial.is_(None))
        .outerjoin(named, (named.file_id == File.id) & named.named)
        .outerjoin(signed, (signed.file_id == File.id) & (signed.sha256 == PublishedFile.attestation_sha256))
    )


def _bundle(sha256: str | None, length: int | None) -> NamedBundle | None:
    # A digest without its row, which nobody deletes, gives a pointer that is not the one that was signed: seen as such.
    return None if sha256 is None else NamedBundle(Sha256(sha256), Length(length or 0))


def _file_state(row: Any) -> FileState:
    return FileState(
        id=FileId(row.id),
        project_id=ProjectId(row.project_id),
        version=row.version,
        file_name=FileName(row.file_name),
        package_type=row.package_type,
        sha256=Sha256(row.sha256),
        length=Length(row.length),
        requires_python=row.requires_python,
        core_metadata_sha256=None if row.core_metadata_sha256 is None else Sha256(row.core_metadata_sha256),
        uploaded_at=row.uploaded_at,
        uploader=row.uploader,
        yanked=None if row.yanked_at is None else (row.yanked_reason or ""),
        removed=row.removed_at is not None,
        held=row.held_at is not None,
        published=row.published,
        was_published=row.was_published,
        removed_by=row.removed_by,
        attestation=_bundle(row.named_sha256, row.named_length),
        signed_attestation=_bundle(row.signed_sha256, row.signed_length),
        has_provenance=row.has_provenance,
    )
