"""Attestations that go along with the files of a push. Writer: upload.

Source: architecture sections 11.1 and 11.8; ADR 0037.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.catalogue import attestations, provenance_due
from shared.catalogue.promotion_rows import Carried, CarriedAttestation
from shared.catalogue.tables import Attestation
from shared.ids import FileId, IndexId, new_uuid


async def living_attestations(connection: AsyncConnection, files: Sequence[Carried]) -> list[CarriedAttestation]:
    """Return the attestations of files, oldest first of each."""
    names = {file.id: file.file_name for file in files}
    found = await attestations.of_files(connection, list(names))
    return [
        CarriedAttestation(
            file_id=file_id,
            file_name=attestations.object_name(name),
            sha256=one.sha256,
            length=one.length,
            predicate_type=one.predicate_type,
            origin=one.origin,
            publisher=one.publisher,
            facts=one.facts,
            named=one.named,
            added_at=one.added_at,
            added_by=one.added_by,
            token_id=one.token_id,
        )
        for file_id, name in names.items()
        for one in found.get(file_id, ())
    ]


async def write_attestations(
    connection: AsyncConnection, index_id: IndexId, carried: Sequence[CarriedAttestation], ids: Mapping[FileId, FileId]
) -> list[CarriedAttestation]:
    """Write the rows of attestations in the index that files are pushed to; returns those that it did not have.

    A file that has a named one keeps it: what it brought along then was decided before.

    Args:
        ids: the file of the target for each one of the source; both are locked by whoever pushes.

    Raises:
        TooMany: a file would have more than one may have; the message is its name.
    """
    if not carried:
        return []
    targets = [ids[one.file_id] for one in carried]
    columns = (Attestation.file_id, Attestation.sha256, Attestation.named)
    rows = (await connection.execute(select(*columns).where(Attestation.file_id.in_(targets)))).all()
    there = {(row.file_id, row.sha256) for row in rows}
    named = {row.file_id for row in rows if row.named}
    new = [one for one in carried if (ids[one.file_id], one.sha256) not in there]
    counts = Counter([row.file_id for row in rows] + [ids[one.file_id] for one in new])
    for one in new:
        if counts[ids[one.file_id]] > attestations.MOST:
            raise attestations.TooMany(one.file_name.removesuffix(attestations.SUFFIX))
    if new:
        await connection.execute(upsert(Attestation), [_row(index_id, ids[one.file_id], one, named) for one in new])
        await connection.execute(provenance_due.marking({ids[one.file_id] for one in new}))
    return new


def _row(index_id: IndexId, file_id: FileId, one: CarriedAttestation, named: set[Any]) -> dict[str, Any]:
    return {
        "id": new_uuid(),
        "index_id": index_id,
        "file_id": file_id,
        "sha256": one.sha256,
        "length": one.length,
        "predicate_type": one.predicate_type,
        "origin": one.origin,
        "publisher": None if one.publisher is None else dict(one.publisher),
        "facts": dict(one.facts),
        "named": one.named and file_id not in named,
        "added_at": one.added_at,
        "added_by": one.added_by,
        "token_id": one.token_id,
    }
