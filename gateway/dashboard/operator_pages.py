"""The pages of administrators: jobs that are open or given up, and the audit log."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from gateway.dashboard.desk import Desk, Visitor, only_administrators
from gateway.dashboard.remote import Query, api_path
from gateway.dashboard.shapes import Nothing, Shape
from shared.auth.principal import Verb

_JOBS = 50
_AUDIT = 50


class Job(Shape):
    """A job as the API lists it."""

    id: int
    kind: str
    ids: dict[str, object] = Field(default_factory=dict)
    created_at: datetime
    attempts: int
    last_error: str | None = None


class JobList(Shape):
    """One page of jobs."""

    items: list[Job]
    next: str | None = None


class AuditLine(Shape):
    """One row of the audit log."""

    at: datetime
    source: str | None = None
    actor: str | None = None
    action: str
    subject: str
    detail: dict[str, object] = Field(default_factory=dict)


class AuditList(Shape):
    """One page of the audit log, newest first."""

    items: list[AuditLine]
    next: str | None = None


class OperatorPages:
    """The pages below `/jobs` and `/audit`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.routes: list[BaseRoute] = [
            Route("/jobs", self.jobs),
            Route("/jobs/{job}/retry", self.retry, methods=["POST"]),
            Route("/audit", self.audit),
        ]

    async def jobs(self, request: Request) -> Response:
        """Show jobs: open ones, or with `?state=dead` those that were given up."""
        visitor = await self._desk.visitor(request)
        state = "dead" if request.query_params.get("state") == "dead" else "open"
        query: Query = {"state": state, "limit": _JOBS, "after": request.query_params.get("after")}
        listed = await self._desk.remote.get(JobList, api_path("jobs"), await self._token(visitor), query)
        return self._desk.answer(
            "jobs.html", visitor, listed=listed, state=state, paged="after" in request.query_params
        )

    async def retry(self, request: Request) -> Response:
        """Let a job that was given up begin again."""
        visitor, _ = await self._desk.posted(request)
        path = api_path("jobs", request.path_params["job"], "retry")
        await self._desk.remote.change(Nothing, "POST", path, await self._token(visitor))
        return RedirectResponse("/jobs", 303)

    async def audit(self, request: Request) -> Response:
        """Show what changed trust or rights, newest first."""
        visitor = await self._desk.visitor(request)
        query: Query = {"limit": _AUDIT, "after": request.query_params.get("after")}
        listed = await self._desk.remote.get(AuditList, api_path("audit"), await self._token(visitor), query)
        return self._desk.answer("audit.html", visitor, listed=listed, paged="after" in request.query_params)

    async def _token(self, visitor: Visitor) -> str:
        default = self._desk.directory.default_index
        only_administrators(visitor)
        assert default is not None, "administrators are those of the default index"
        return await self._desk.tokens.acting(visitor.session, Verb.CONFIGURE, default)
