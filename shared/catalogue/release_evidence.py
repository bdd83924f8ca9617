"""Who attested the files of releases, for the labels of their provenance. Reads only."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.catalogue.tables import Attestation, File
from shared.ids import ProjectId, ReleaseId
from shared.reading.provenance_labels import Identities, identity_of

MAX_ROWS = 50_000
"""Attestations and files without any that are looked at; the largest project of the public index has some 20,000
files."""

_FACTS = ("issuer", "san", "san_type", "key")


async def identities_of(
    connection: AsyncConnection, project_id: ProjectId, releases: Collection[ReleaseId] | None = None
) -> dict[ReleaseId, list[Identities]]:
    """Return who attested each living file, by release.

    Args:
        releases: None for all of the project.
    """
    facts = [Attestation.facts[one].astext.label(one) for one in _FACTS]
    query = (
        select(File.release_id, File.id, Attestation.id.label("attestation"), *facts)
        .outerjoin(Attestation, Attestation.file_id == File.id)
        .where(File.project_id == project_id, File.removed_at.is_(None))
        .order_by(File.id)
        .limit(MAX_ROWS)
    )
    if releases is not None:
        query = query.where(File.release_id.in_(releases))
    files: dict[ReleaseId, dict[object, set[str]]] = {}
    for row in await connection.execute(query):
        of_file = files.setdefault(ReleaseId(row.release_id), {}).setdefault(row.id, set())
        if row.attestation is not None:
            of_file.add(identity_of({one: getattr(row, one) for one in _FACTS}))
    return {release: [frozenset(one) for one in found.values()] for release, found in files.items()}
