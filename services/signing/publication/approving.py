"""The gate before a batch: a file that still waits for approvals is left out, and what was approved is what is signed.

1. A file that arrives where approvals are demanded gets a request with the pointer that would be signed now; its job is
   done with that. The approval that completes it asks for a publication again (`services.signing.approvals.usecases`).
2. Files that came in one transaction wait as one group.
3. Whatever else brings a file into a batch (a project that leaves quarantine, say) brings none that was not approved.
4. At the signature the pointer's digest is compared with the one that was approved.

Source: architecture sections 11.1 and 11.7.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from countermark.core.approval.message import InvalidApproval, approval_of
from countermark.core.digest import sha256_of
from countermark.core.names import NormalizedName
from services.signing.publication import rules
from shared.catalogue import approval_writing, approvals, audit, file_states, outbox, publications
from shared.catalogue.approval_writing import LockedRequest, NewRequest
from shared.catalogue.approvals import OPEN, Verdict
from shared.catalogue.heads import CHANNEL
from shared.catalogue.outbox import Waiting
from shared.catalogue.publication_rows import FileState, IndexFacts
from shared.catalogue.unit_of_work import UnitOfWork
from shared.clock import whole_seconds
from shared.formats.python.listing import pointer_of
from shared.ids import FileId, IndexId, OutboxId, ProjectId, new_uuid
from shared.jobs.messages import PublishIndex
from shared.resources import Resources

log = structlog.get_logger()

_ACTOR = "signing"
"""Who the audit says it was: no person."""


def pointer_bytes(index: IndexFacts, project: NormalizedName, file: FileState) -> bytes:
    """Return the pointer that is signed for a file."""
    return pointer_of(index.name, project, rules.page_file(file)).to_bytes()


async def publishable(resources: Resources, index_id: IndexId) -> tuple[IndexFacts, list[Waiting]] | None:
    """Return what signing needs to know of an index, with the changes that wait in it and may be published now; None
    when it is never signed. Changes of files that need approvals first are settled here."""
    while True:
        # Each connection is given back before the next is asked for: else signers of a small pool wait for each other.
        async with resources.engine.connect() as connection:
            index = await publications.index_facts(connection, index_id)
            if index is None:
                return None
            waiting = await outbox.waiting_changes(connection, index_id, limit=resources.settings.signing.batch)
            arrived = {one.message.file_id for one in waiting if one.message.file_id is not None}
            found = {} if index.deleted else await approvals.verdicts(connection, index_id, arrived)
            changed = {one.message.project_id for one in waiting if one.message.audit_id is not None}
            settling = await approvals.any_to_settle(connection, projects := changed - {None})
        if settling:
            await _settle(resources, index, projects)
        if not any(verdict.blocks for verdict in found.values()):
            return index, waiting
        passing = await _let_through(resources, index, waiting, arrived)
        if passing:
            return index, passing


async def _settle(resources: Resources, index: IndexFacts, projects: Collection[ProjectId | None]) -> None:
    """Withdraw what was asked for removed files, so that it counts for nothing when they come back; and approve what
    waited for a file of its group alone that was removed meanwhile: it is published with the next batch."""
    now = resources.clock.now()
    async with UnitOfWork(resources.engine) as work:
        found = await approval_writing.locked_to_settle(work.connection, index.id, index.life)
        gone = [one for one in found if one.removed and one.project_id in projects]
        await approval_writing.decide(work.connection, gone, approvals.WITHDRAWN, _ACTOR, now)
        await _record(work.connection, index, "approval.withdraw", gone, now)
        # Whole groups: an import may have brought files of several projects, of which none goes before the others.
        touched = {one.group_id for one in found if one.project_id in projects}
        of_them = [one for one in found if one.group_id in touched]
        done = await approval_writing.complete(work.connection, of_them, _ACTOR, now)
        await _record(work.connection, index, "approval.complete", done, now)
        await work.enqueue_all([PublishIndex(index.id, one.project_id, one.file_id) for one in done])
        await work.commit()


async def _let_through(
    resources: Resources, index: IndexFacts, waiting: list[Waiting], arrived: Collection[FileId]
) -> list[Waiting]:
    """Return the changes without those of files that need approvals first, which are asked for here.

    Args:
        arrived: the files of the changes.
    """
    async with UnitOfWork(resources.engine) as work:
        await approval_writing.take_turn(work.connection, index.id)
        found = await approvals.verdicts(work.connection, index.id, arrived)
        blocking = {
            one.id: found[file_id]
            for one in waiting
            if (file_id := one.message.file_id) is not None and file_id in found and found[file_id].blocks
        }
        parked = {job: verdict for job, verdict in blocking.items() if verdict.demand is not None}
        await _lift(work, resources, index, [verdict for verdict in blocking.values() if verdict.demand is None])
        refused = await _ask(work, resources, index, parked)
        for job, fault in refused.items():
            await outbox.mark_failed(work.connection, job, fault, retry_in=None)
        await outbox.mark_done(work.connection, [job for job in parked if job not in refused])
        # Whoever waits until their change is settled need not wait for the next head.
        await work.connection.execute(
            text("select pg_notify(:channel, :payload)"), {"channel": CHANNEL, "payload": str(index.id)}
        )
        await work.commit()
    log.info("files_wait_for_approvals", index=str(index.name), files=len(parked))
    return [one for one in waiting if one.id not in parked]


async def _lift(work: UnitOfWork, resources: Resources, index: IndexFacts, found: Sequence[Verdict]) -> None:
    """Approve what was asked for when nothing is demanded any more."""
    now = resources.clock.now()
    # In the order in which all others lock them, so that no two wait for each other.
    for verdict in sorted(found, key=lambda one: one.file_id):
        locked = await approval_writing.locked_one(work.connection, verdict.file_id)
        await approval_writing.decide(work.connection, locked, approvals.APPROVED, _ACTOR, now)
        await _record(work.connection, index, "approval.complete", locked, now)


async def _record(
    connection: AsyncConnection, index: IndexFacts, action: str, requests: Sequence[LockedRequest], now: datetime
) -> None:
    """Leave an audit row for each file of which signing itself decided: it has what it needs, or was removed."""
    for one in requests:
        about = approval_of(one.pointer, one.round)[0]
        await audit.record(
            connection,
            at=now,
            actor=_ACTOR,
            action=action,
            subject=f"{index.name}/{about.project}/{about.version}/{about.file_name}",
            pointer_sha256=one.pointer_sha256,
            round=one.round,
        )


async def _ask(
    work: UnitOfWork, resources: Resources, index: IndexFacts, parked: Mapping[OutboxId, Verdict]
) -> dict[OutboxId, str]:
    """Open the requests of files that wait and have none that is open; returns why some cannot be asked for.

    Args:
        parked: job -> what stands between its file and the publication.
    """
    now = whole_seconds(resources.clock.now())
    until = now + timedelta(days=resources.settings.signing.approval_days)
    projects = {verdict.project_id for verdict in parked.values()}
    of_them = [verdict.file_id for verdict in parked.values()]
    states = await file_states.changed_files(work.connection, list(projects), of_them, [])
    files = {state.id: state for state in states}
    names = {state.id: state.name for state in await publications.project_states(work.connection, projects)}
    pointers = {file.id: pointer_bytes(index, names[file.project_id], file) for file in states}
    to_open = {
        verdict.file_id: verdict
        for verdict in parked.values()
        # An attestation that was added meanwhile makes another pointer: what was approved of the one before is void.
        if not _is_open(verdict, now) or verdict.pointer_sha256 != sha256_of(pointers[verdict.file_id])
    }
    if not to_open:
        return {}
    former = await _groups(work.connection, [one.file_id for one in to_open.values() if _is_open(one, now)])
    moments = await approval_writing.created_at(work.connection, list(parked))
    groups: dict[datetime, UUID] = {}
    new: dict[FileId, NewRequest] = {}
    refused: dict[OutboxId, str] = {}
    for job, verdict in parked.items():
        file_id = verdict.file_id
        if file_id not in to_open:
            continue
        file = files[file_id]
        pointer = pointers[file_id]
        try:
            approval_of(pointer, verdict.round + 1)
        except InvalidApproval as error:
            refused[job] = f"approvals are demanded here, and this file cannot be approved: {error}"
            continue
        assert verdict.demand is not None
        needed, people, own = verdict.demand
        new[file_id] = NewRequest(
            file_id=file_id,
            index_id=index.id,
            project_id=file.project_id,
            group_id=former.get(file_id) or groups.setdefault(moments[job], new_uuid()),
            round=verdict.round + 1,
            needed=needed,
            people=people,
            own=own,
            pointer=pointer,
            pointer_sha256=sha256_of(pointer),
            asked_by=file.uploader,
            opened_at=now,
            expires_at=until,
        )
    await approval_writing.open_requests(work.connection, list(new.values()))
    for request in new.values():
        file = files[request.file_id]
        await audit.record(
            work.connection,
            at=now,
            actor=request.asked_by,
            action="approval.ask",
            subject=f"{index.name}/{names[file.project_id]}/{file.version}/{file.file_name}",
            pointer_sha256=request.pointer_sha256,
            needed=request.needed,
            round=request.round,
        )
    return refused


async def _groups(connection: AsyncConnection, files: Sequence[FileId]) -> dict[FileId, UUID]:
    """Return the groups of files that are asked about anew: they stay with what they came with."""
    locked = [one for file_id in sorted(files) for one in await approval_writing.locked_one(connection, file_id)]
    return {one.file_id: one.group_id for one in locked}


def _is_open(verdict: Verdict, now: datetime) -> bool:
    return verdict.kept == OPEN and verdict.expires_at is not None and verdict.expires_at > now
