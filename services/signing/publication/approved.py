"""What was approved is what is signed: the files of a batch, with the pointers that people approved.

An approval is over a pointer's digest, and a pointer names the build provenance. So a file is signed with the
attestation that its approved pointer names, whatever was added since; and its pointer stays that one.
Source: architecture sections 11.1, 11.7 and 11.8; ADR 0034; ADR 0040.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from countermark.core.digest import Sha256, sha256_of
from countermark.core.names import NormalizedName
from services.signing.publication import rules
from services.signing.publication.approving import pointer_bytes
from shared.catalogue import approvals, attestations
from shared.catalogue.publication_rows import FileState, IndexFacts, NamedBundle, ProjectState
from shared.ids import FileId, ProjectId

log = structlog.get_logger()

KEPT = "the pointer that was approved names another attestation or none, and stays: the file was published as approved"


@dataclass(frozen=True, slots=True)
class Approved:
    """What approvals say of a batch's files.

    Attributes:
        refused: files that must not be shown, each with the reason.
        kept: visible files whose pointers stay as they were approved, each with the reason.
        pinned: files that are shown with another attestation than their rows name now.
    """

    refused: dict[FileId, str] = field(default_factory=dict)
    kept: dict[FileId, str] = field(default_factory=dict)
    pinned: dict[FileId, FileState] = field(default_factory=dict)


async def approved(
    connection: AsyncConnection,
    index: IndexFacts,
    projects: Sequence[ProjectState],
    files: Sequence[FileState],
    arrived: Collection[FileId],
) -> Approved:
    """Return what approvals say of the files of a batch.

    Args:
        files: that were read for the batch.
        arrived: those of them whose own jobs are in the batch: they passed the gate.
    """
    names: dict[ProjectId, NormalizedName] = {project.id: project.name for project in projects}
    new = {file.id: file for file in files if not file.published and rules.is_visible(file)}
    found = Approved()
    for file_id, verdict in (await approvals.verdicts(connection, index.id, list(new))).items():
        file = new[file_id]
        if verdict.kept is None and (verdict.was_published or file_id in arrived):
            # Visible before approvals were demanded, or let through a moment before they were.
            continue
        if verdict.kept != approvals.APPROVED or verdict.pointer_sha256 is None:
            found.refused[file_id] = "it was not approved"
            continue
        signed = await _as_approved(connection, index, names[file.project_id], file, verdict.pointer_sha256)
        if signed is None:
            log.error("file_is_not_what_was_approved", file_id=str(file_id), index=str(index.name))
            found.refused[file_id] = "it is not what was approved: its pointer would be another one"
        elif signed is not file:
            found.pinned[file_id] = signed
    await _keep_approved(connection, index, names, [file for file in files if file.repointed], found)
    return found


async def _as_approved(
    connection: AsyncConnection, index: IndexFacts, project: NormalizedName, file: FileState, pointer: Sha256
) -> FileState | None:
    """Return a file with the attestation, of those it has, or none, that the approved pointer names; None when it names
    something else."""
    if sha256_of(pointer_bytes(index, project, file)) == pointer:
        return file
    rows = await attestations.of_file(connection, file.id)
    for bundle in (None, *(NamedBundle(row.sha256, row.length) for row in rows)):
        other = replace(file, attestation=bundle)
        if sha256_of(pointer_bytes(index, project, other)) == pointer:
            return other
    return None


async def _keep_approved(
    connection: AsyncConnection,
    index: IndexFacts,
    names: Mapping[ProjectId, NormalizedName],
    repointed: Sequence[FileState],
    found: Approved,
) -> None:
    """Keep the pointers of visible files that were approved."""
    pointers = await approvals.approved_pointers(connection, [file.id for file in repointed]) if repointed else {}
    for file in repointed:
        pointer = pointers.get(file.id)
        if pointer is not None and sha256_of(pointer_bytes(index, names[file.project_id], file)) != pointer:
            found.kept[file.id] = KEPT
