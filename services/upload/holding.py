"""Holds files for review that did not verify when they were read: asked for by who serves them, done by who owns them.

A held file is left out of the next publication, and 403 from then on. Asked twice it is held once.
Source: architecture sections 11.1 and 11.5; ADR 0039.
"""

from __future__ import annotations

import structlog

from shared.catalogue import audit, marks
from shared.catalogue.marks import Mark
from shared.catalogue.unit_of_work import UnitOfWork
from shared.jobs.messages import HoldFile, Message, PublishIndex
from shared.resources import Resources
from shared.service import JobHandler

log = structlog.get_logger()

ACTOR = "verify-on-read"
"""Who holds what no person asked to be held."""

_MAX_REASON = 500


def job_handlers(resources: Resources) -> dict[type[Message], JobHandler]:
    """Return the jobs of the upload service."""

    async def hold(message: Message) -> None:
        assert isinstance(message, HoldFile)
        await hold_file(resources, message)

    return {HoldFile: hold}


async def hold_file(resources: Resources, message: HoldFile) -> None:
    """Hold a file, in the words of the audit row that the message names; nothing when it is held or gone already."""
    async with UnitOfWork(resources.engine) as work:
        file = await marks.holdable(work.connection, message.index_id, message.file_id)
        if file is None:
            return
        told = await audit.detail_of(work.connection, message.audit_id)
        reason = str(told.get("reason") or "it did not verify when it was read")[:_MAX_REASON]
        mark = Mark(resources.clock.now(), ACTOR, reason)
        await marks.hold(work.connection, [message.file_id], mark)
        names = {"project": file.project, "version": file.version, "file": file.file_name}
        subject = "/".join((str(file.index), file.project, file.version, file.file_name))
        audit_id = await audit.record(
            work.connection, at=mark.at, actor=ACTOR, action="file.hold", subject=subject, **names, reason=reason
        )
        await work.enqueue(PublishIndex(message.index_id, file.project_id, audit_id=audit_id))
        await work.commit()
    log.warning("file_held", subject=subject, reason=reason)
