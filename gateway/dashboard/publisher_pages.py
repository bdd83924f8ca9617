"""Which CI jobs may upload to an index, for those who may configure it: a list, a form, and an end to one of them.

The form takes workflows of GitHub and GitLab; what is rarer has the operator's command and the API.
The gateway owns publishers, so these pages write them directly (architecture section 11.1).
"""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from countermark.core.names import InvalidName, parse_project_name
from gateway.dashboard.desk import Desk, Visitor
from gateway.trusted_publishing.identities import Exact, InvalidIdentity, parse_identity
from gateway.trusted_publishing.registry import MOST_A_DAY, NewPublisher, Publishers, Registered, publishers_of
from shared.auth.directory import IndexRecord
from shared.auth.principal import Verb
from shared.errors import ErrorKind, ServiceError

_FIELDS = ("project", "kind", "repository", "workflow", "environment", "issuer")
_SHOWN_AS_FAULT = {ErrorKind.INVALID, ErrorKind.CONFLICT, ErrorKind.FORBIDDEN, ErrorKind.TOO_MANY}
_MOST_FIELD = 300
_MOST = 500
"""Publishers on the page."""


class PublisherPages:
    """The pages below `/indexes/{owner}/{index}/publishers`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        base = "/indexes/{owner}/{index}/publishers"
        self.routes: list[BaseRoute] = [
            Route(base, self.publishers),
            Route(base + "/add", self.ask),
            Route(base + "/add", self.add, methods=["POST"]),
            Route(base + "/remove", self.ask_removal),
            Route(base + "/remove", self.remove, methods=["POST"]),
        ]

    async def publishers(self, request: Request) -> Response:
        """List the publishers of the index's projects."""
        visitor = await self._desk.visitor(request)
        record = self._desk.configured(visitor, request)
        now = self._desk.backing.clock.now()
        lines = [{"row": row, "is_expired": row.is_expired(now), **_words(row)} for row in await self._rows(record)]
        return self._desk.answer("publishers.html", visitor, index=record, publishers=lines)

    async def ask(self, request: Request) -> Response:
        """Show the form; `?project=` is filled in."""
        visitor = await self._desk.visitor(request)
        record = self._desk.configured(visitor, request)
        given = dict.fromkeys(_FIELDS, "") | {"kind": "github", "project": request.query_params.get("project", "")}
        return self._form(visitor, record, given)

    async def add(self, request: Request) -> Response:
        """Register a publisher; with a fault, show the form again and what is wrong."""
        visitor, fields = await self._desk.posted(request)
        record = self._desk.configured(visitor, request)
        given = {name: fields.get(name, "").strip()[:_MOST_FIELD] for name in _FIELDS}
        try:
            new = _new(record, given, visitor.account)
            if not visitor.may(Verb.UPLOAD, record, new.project):
                detail = f"Your account may not upload to {record.name}: who registers a publisher vouches for it."
                raise ServiceError(ErrorKind.FORBIDDEN, detail)
            await self._writer(visitor).add(new, most=MOST_A_DAY)
        except ServiceError as error:
            if error.kind not in _SHOWN_AS_FAULT:
                raise
            return self._form(visitor, record, given, fault=error.detail)
        return RedirectResponse(f"/indexes/{record.name}/publishers", 303)

    async def ask_removal(self, request: Request) -> Response:
        """Ask whether a publisher shall go."""
        visitor = await self._desk.visitor(request)
        record = self._desk.configured(visitor, request)
        wanted = request.query_params.get("id", "")
        found = [row for row in await self._rows(record) if str(row.id) == wanted]
        if not found:
            raise ServiceError(ErrorKind.NOT_FOUND, f"There is no such publisher on {record.name}.")
        line = {"row": found[0], **_words(found[0])}
        return self._desk.answer("publisher_remove.html", visitor, index=record, publisher=line)

    async def remove(self, request: Request) -> Response:
        """Take a publisher away; twice is no error."""
        visitor, fields = await self._desk.posted(request)
        record = self._desk.configured(visitor, request)
        try:
            publisher_id = UUID(fields.get("id", ""))
        except ValueError as error:
            raise ServiceError(ErrorKind.NOT_FOUND, f"There is no such publisher on {record.name}.") from error
        await self._writer(visitor).remove(publisher_id, index=record.name)
        await self._desk.directory.refresh()
        return RedirectResponse(f"/indexes/{record.name}/publishers", 303)

    async def _rows(self, record: IndexRecord) -> list[Registered]:
        async with self._desk.backing.engine.connect() as connection:
            return await publishers_of(connection, record.id, limit=_MOST)

    def _writer(self, visitor: Visitor) -> Publishers:
        return Publishers(self._desk.backing.engine, self._desk.backing.clock, actor=visitor.account)

    def _form(
        self, visitor: Visitor, record: IndexRecord, given: Mapping[str, str], *, fault: str | None = None
    ) -> Response:
        status = 200 if fault is None else 400
        return self._desk.answer("publisher_add.html", visitor, status, index=record, given=given, fault=fault)


def _new(record: IndexRecord, given: Mapping[str, str], account: str) -> NewPublisher:
    told = {name: value for name, value in given.items() if value}
    try:
        project = parse_project_name(given["project"])
        identity = parse_identity(given["kind"], told.get("issuer"), told)
    except (InvalidName, InvalidIdentity) as error:
        raise ServiceError(ErrorKind.INVALID, f"{error}.") from error
    return NewPublisher(record.name, project, identity, account)


def _words(row: Registered) -> dict[str, str | None]:
    """Return who a publisher is, and in which environment."""
    identity = row.identity
    if isinstance(identity, Exact):
        return {"who": identity.subject, "workflow": identity.issuer, "environment": None}
    return {"who": identity.repository, "workflow": identity.workflow, "environment": identity.environment}
