"""Routes for administrators: jobs and the audit.

Source: architecture sections 11.1 and 11.8.
"""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Request

from gateway.v1 import schemas
from gateway.v1.callers import Callers
from shared.catalogue import listings, outbox
from shared.catalogue.listings import AuditLine, JobLine
from shared.catalogue.unit_of_work import UnitOfWork
from shared.errors import ErrorKind, ServiceError
from shared.ids import OutboxId
from shared.paging import DEFAULT_LIMIT, After, Limit, Page, cursor_number, decode_cursor, page_of

State = Annotated[Literal["open", "dead"], Query(description="those that wait or run, or those that were given up")]
JobNumber = Annotated[int, Path(ge=1, lt=2**63)]


class OperationRoutes:
    """`/api/v1/jobs` and `/api/v1/audit`."""

    def __init__(self, callers: Callers) -> None:
        self._callers = callers
        self._engine = callers.resources.engine
        self.router = router = APIRouter(tags=["operations"])
        router.get("/jobs")(self.jobs)
        router.post("/jobs/{job}/retry")(self.retry)
        router.get("/audit")(self.audit)

    async def jobs(
        self, request: Request, state: State = "open", limit: Limit = DEFAULT_LIMIT, after: After = None
    ) -> Page[schemas.Job]:
        """List jobs, newest first."""
        await self._callers.administrator(request)
        async with self._engine.connect() as connection:
            lines = await listings.jobs(connection, dead=state == "dead", before=_before(after), limit=limit + 1)
        return page_of(lines, limit, _job, lambda line: {"id": line.id})

    async def retry(self, job: JobNumber, request: Request) -> schemas.Job:
        """Have a job run again that was given up, with its attempts counted from zero."""
        await self._callers.administrator(request)
        async with UnitOfWork(self._engine) as work:
            if not await outbox.revive(work.connection, OutboxId(job)):
                raise ServiceError(ErrorKind.NOT_FOUND, f"No job {job} was given up.")
            (line,) = await listings.jobs(work.connection, dead=False, before=job + 1, limit=1)
            await work.commit()
        return _job(line)

    async def audit(
        self, request: Request, limit: Limit = DEFAULT_LIMIT, after: After = None
    ) -> Page[schemas.AuditEntry]:
        """List what changed trust or rights, newest first."""
        await self._callers.administrator(request)
        async with self._engine.connect() as connection:
            lines = await listings.audit(connection, before=_before(after), limit=limit + 1)
        return page_of(lines, limit, _entry, lambda line: {"id": line.id})


def _before(after: str | None) -> int | None:
    return None if after is None else cursor_number(decode_cursor(after), "id")


def _job(line: JobLine) -> schemas.Job:
    return schemas.Job(
        id=line.id,
        kind=line.kind,
        ids=line.ids,
        state="dead" if line.state == "dead" else "open",
        created_at=line.created_at,
        attempts=line.attempts,
        last_error=line.last_error,
    )


def _entry(line: AuditLine) -> schemas.AuditEntry:
    return schemas.AuditEntry(
        id=line.id,
        at=line.at,
        source=line.source,
        actor=line.actor,
        action=line.action,
        subject=line.subject,
        detail=line.detail,
    )
