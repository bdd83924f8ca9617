"""What an index holds back, and leave for some of it: a list, a form, and an end to what was given.

The gateway owns exemptions, so these pages write them directly (architecture section 11.1); what is held back is told
by the API, as to any client.
"""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from countermark.core.names import InvalidName, parse_index_name, parse_project_name
from gateway.dashboard.desk import Desk, Visitor
from gateway.dashboard.holding import held_releases
from gateway.dashboard.remote import api_path
from gateway.dashboard.shapes import HoldList
from gateway.policies import ExemptionLine, NewExemption, exemptions
from gateway.policy_values import LONGEST_EXEMPTION, MAX_REASON, MOST_EXEMPTIONS
from shared.auth.directory import IndexRecord
from shared.errors import ErrorKind, ServiceError
from shared.paging import cursor_text, decode_cursor, encode_cursor

DAYS = 7
"""How long leave holds unless the form says otherwise."""

_PROJECTS = 25
_SHOWN_AS_FAULT = {ErrorKind.INVALID, ErrorKind.CONFLICT}
_MAX_GIVEN = 200
_NOTICES = {"given": "Done. It is shown from now on.", "revoked": "Done. The exemption has ended."}


class HoldPages:
    """The pages `holds`, `lookup` and `exemptions` below `/indexes/{owner}/{index}`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        base = "/indexes/{owner}/{index}"
        self.routes: list[BaseRoute] = [
            Route(base + "/holds", self.holds),
            Route(base + "/lookup", self.lookup),
            Route(base + "/exemptions", self.exemptions),
            Route(base + "/exemptions/give", self.ask),
            Route(base + "/exemptions/give", self.give, methods=["POST"]),
            Route(base + "/exemptions/revoke", self.ask_revoke),
            Route(base + "/exemptions/revoke", self.revoke, methods=["POST"]),
        ]

    async def holds(self, request: Request) -> Response:
        """Show what is held back now of the projects that are kept; `?after=` is the next page."""
        visitor = await self._desk.visitor(request)
        record = self._desk.index(visitor, request)
        listed = await self._desk.remote.get(
            HoldList,
            api_path("indexes", record.name.owner, record.name.name, "holds"),
            await self._desk.reading(visitor),
            {"limit": _PROJECTS, "after": request.query_params.get("after")},
        )
        return self._desk.answer(
            "holds.html",
            visitor,
            index=record,
            holds=held_releases(listed.items, str(record.name), lambda name: self._desk.configures(visitor, name)),
            next=listed.next,
            paged="after" in request.query_params,
            mirrors=self._desk.has_mirrors(record),
        )

    async def lookup(self, request: Request) -> Response:
        """Lead to the page of the project whose name was typed."""
        visitor = await self._desk.visitor(request)
        record = self._desk.index(visitor, request)
        try:
            name = parse_project_name(request.query_params.get("name", "").strip())
        except InvalidName as error:
            raise ServiceError(ErrorKind.INVALID, f"{error}.") from error
        return RedirectResponse(f"/indexes/{record.name}/projects/{name}", 303)

    async def exemptions(self, request: Request) -> Response:
        """Show the exemptions that hold, those that end first before the others."""
        visitor = await self._desk.visitor(request)
        record = self._desk.configured(visitor, request)
        after = request.query_params.get("after")
        lines = await self._living(record)
        start = 0 if after is None else _place(lines, cursor_text(decode_cursor(after), "id"))
        shown = lines[start : start + _PROJECTS]
        more = encode_cursor({"id": str(shown[-1].id)}) if start + _PROJECTS < len(lines) else None
        return self._desk.answer(
            "exemptions.html",
            visitor,
            index=record,
            exemptions=shown,
            next=more,
            paged=after is not None,
            notice=_NOTICES.get(request.query_params.get("done", "")),
        )

    async def ask(self, request: Request) -> Response:
        """Show the form for leave: `?project=` and `?version=` are filled in."""
        visitor = await self._desk.visitor(request)
        record = self._desk.configured(visitor, request)
        given = {name: request.query_params.get(name, "")[:_MAX_GIVEN] for name in ("project", "version", "seen")}
        return self._form(visitor, record, {**given, "reason": "", "days": str(DAYS)})

    async def give(self, request: Request) -> Response:
        """Give leave; with a fault, show the form again and what is wrong."""
        visitor, fields = await self._desk.posted(request)
        record = self._desk.configured(visitor, request)
        given = {name: fields.get(name, "").strip()[:_MAX_GIVEN] for name in ("project", "version", "seen", "days")}
        given["reason"] = fields.get("reason", "").strip()
        try:
            if not given["days"].isascii() or not given["days"].isdecimal() or len(given["days"]) > 3:
                raise ServiceError(ErrorKind.INVALID, f"Say for how many days: 1 to {LONGEST_EXEMPTION.days}.")
            until = self._desk.backing.clock.now() + timedelta(days=int(given["days"]))
            new = NewExemption(given["project"], given["version"] or None, given["reason"], until)
            made = await self._desk.policies(visitor).exempt(record.name, new)
        except ServiceError as error:
            if error.kind not in _SHOWN_AS_FAULT:
                raise
            return self._form(visitor, record, given, fault=error.detail)
        await self._desk.directory.refresh()
        seen = self._seen(visitor, given["seen"])
        if seen is not None:
            return RedirectResponse(f"/indexes/{seen.name}/projects/{made.project}?done=exempt", 303)
        return RedirectResponse(f"/indexes/{record.name}/exemptions?done=given", 303)

    async def ask_revoke(self, request: Request) -> Response:
        """Ask whether an exemption shall end now."""
        visitor = await self._desk.visitor(request)
        record = self._desk.configured(visitor, request)
        wanted = request.query_params.get("id", "")
        found = [line for line in await self._living(record) if str(line.id) == wanted]
        if not found:
            raise ServiceError(ErrorKind.NOT_FOUND, f"{record.name} has no such exemption that holds.")
        return self._desk.answer("exemption_revoke.html", visitor, index=record, exemption=found[0])

    async def revoke(self, request: Request) -> Response:
        """End an exemption; twice is no error."""
        visitor, fields = await self._desk.posted(request)
        record = self._desk.configured(visitor, request)
        try:
            exemption = UUID(fields.get("id", ""))
        except ValueError as error:
            raise ServiceError(ErrorKind.INVALID, "That is no exemption. Go back to the list.") from error
        await self._desk.policies(visitor).revoke(record.name, exemption)
        await self._desk.directory.refresh()
        return RedirectResponse(f"/indexes/{record.name}/exemptions?done=revoked", 303)

    async def _living(self, record: IndexRecord) -> list[ExemptionLine]:
        now = self._desk.backing.clock.now()
        async with self._desk.backing.engine.connect() as connection:
            return await exemptions(connection, record.id, record.life, now, limit=MOST_EXEMPTIONS)

    def _seen(self, visitor: Visitor, written: str) -> IndexRecord | None:
        """Return the index on whose page leave was asked for, if there is one that the visitor may read."""
        try:
            record = self._desk.directory.index(parse_index_name(written))
        except InvalidName:
            return None
        return record if record is not None and record in self._desk.readable(visitor) else None

    def _form(
        self, visitor: Visitor, record: IndexRecord, given: dict[str, str], *, fault: str | None = None
    ) -> Response:
        return self._desk.answer(
            "exemption_give.html",
            visitor,
            200 if fault is None else 400,
            index=record,
            given=given,
            max_days=LONGEST_EXEMPTION.days,
            max_reason=MAX_REASON,
            fault=fault,
        )


def _place(lines: list[ExemptionLine], last: str) -> int:
    """Return where the page after an exemption begins; the beginning when it holds no more."""
    return next((place + 1 for place, line in enumerate(lines) if str(line.id) == last), 0)
