"""What waits for approvals in an index, with counts. View only: a signature is made where the key is."""

from __future__ import annotations

from datetime import datetime

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from gateway.dashboard.desk import Desk
from gateway.dashboard.remote import api_path
from gateway.dashboard.shapes import Shape

_ITEMS = 50


class ApprovalLine(Shape):
    """A file that waits."""

    id: str
    project: str
    version: str
    filename: str
    state: str
    words: str
    needed: int
    given: int
    given_by: list[str]
    people: list[str] | None = None
    asked_by: str
    asked_at: datetime
    expires_at: datetime


class ApprovalList(Shape):
    """One page of what waits."""

    items: list[ApprovalLine]
    next: str | None = None


class DemandLine(Shape):
    """What is demanded of an index (`project` None), or of a project."""

    project: str | None = None
    needed: int
    people: list[str] | None = None
    own: bool


class DemandList(Shape):
    """Everything that is demanded in an index."""

    items: list[DemandLine]


class ApprovalPages:
    """The page `approvals` below `/indexes/{owner}/{index}`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.routes: list[BaseRoute] = [Route("/indexes/{owner}/{index}/approvals", self.waiting)]

    async def waiting(self, request: Request) -> Response:
        """Show what waits, oldest first, and what is demanded; `?after=` is the next page."""
        visitor = await self._desk.visitor(request)
        record = self._desk.index(visitor, request)
        token = await self._desk.reading(visitor)
        at = ("indexes", record.name.owner, record.name.name)
        after = request.query_params.get("after")
        query = {"limit": _ITEMS, "after": after}
        listed = await self._desk.remote.get(ApprovalList, api_path(*at, "approvals"), token, query)
        demands = await self._desk.remote.get(DemandList, api_path(*at, "approval-demands"), token)
        return self._desk.answer(
            "approvals.html",
            visitor,
            index=record,
            listed=listed,
            demands=demands.items,
            paged=after is not None,
        )
