"""Who may do what on an index, for those who may configure it: a list, a form, and an end to somebody's rights.

The gateway owns grants, so these pages write them directly (architecture section 11.1).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from gateway.dashboard.desk import Desk, Visitor
from gateway.dashboard.verbs import ADMINISTRATES, VERBS
from gateway.index_rights import MAX_SUBJECT
from gateway.writer import MAX_DESCRIPTION
from shared.auth.directory import IndexRecord
from shared.auth.principal import ANONYMOUS, AUTHENTICATED, Verb
from shared.catalogue import listings
from shared.errors import ErrorKind, ServiceError

_NAMES = {ANONYMOUS: "Everyone", AUTHENTICATED: "Everyone who is signed in"}
_SHOWN_AS_FAULT = {ErrorKind.INVALID, ErrorKind.CONFLICT, ErrorKind.NOT_FOUND}


@dataclass(frozen=True, slots=True)
class ShownGrant:
    """A subject's rights; `fixed` says why they cannot be changed, and is empty when they can."""

    subject: str
    name: str
    verbs: tuple[Verb, ...]
    fixed: str


class RightsPages:
    """The pages below `/indexes/{owner}/{index}/rights`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        base = "/indexes/{owner}/{index}/rights"
        self.routes: list[BaseRoute] = [
            Route(base, self.rights),
            Route(base + "/grant", self.ask),
            Route(base + "/grant", self.grant, methods=["POST"]),
            Route(base + "/revoke", self.ask_revoke),
            Route(base + "/revoke", self.revoke, methods=["POST"]),
            Route(base + "/describe", self.ask_describe),
            Route(base + "/describe", self.describe, methods=["POST"]),
        ]

    async def rights(self, request: Request) -> Response:
        """Show who may do what."""
        visitor = await self._desk.visitor(request)
        record = self._desk.configured(visitor, request)
        return self._desk.answer(
            "rights.html",
            visitor,
            index=record,
            grants=await self._grants(record),
            verbs=self._words(record),
            description=await self._description(record),
        )

    async def ask(self, request: Request) -> Response:
        """Show the form for somebody's rights: `?subject=` is filled in with what that subject has."""
        visitor = await self._desk.visitor(request)
        record = self._desk.configured(visitor, request)
        subject = request.query_params.get("subject", "")[:MAX_SUBJECT]
        has = {verb.value for grant in record.grants if grant.subject == subject for verb in (grant.verb,)}
        return self._form(visitor, record, subject, has or {Verb.READ.value})

    async def grant(self, request: Request) -> Response:
        """Let somebody do exactly what is ticked; with a fault, show the form again and what is wrong."""
        visitor, fields = await self._desk.posted(request)
        record = self._desk.configured(visitor, request)
        subject = fields.get("subject", "").strip()[:MAX_SUBJECT]
        verbs = {verb for verb in Verb if f"verb_{verb.value}" in fields}
        try:
            if not subject:
                raise ServiceError(ErrorKind.INVALID, "Say who is meant: an account's name, or a group.")
            if not verbs:
                raise ServiceError(ErrorKind.INVALID, "Tick at least one right, or go back and revoke all of them.")
            await self._desk.rights(visitor).set_grants(record.name, subject, verbs)
        except ServiceError as error:
            if error.kind not in _SHOWN_AS_FAULT:
                raise
            return self._form(visitor, record, subject, {verb.value for verb in verbs}, fault=error.detail)
        return await self._done(record)

    async def ask_revoke(self, request: Request) -> Response:
        """Ask whether all rights of somebody shall go."""
        visitor = await self._desk.visitor(request)
        record = self._desk.configured(visitor, request)
        subject = request.query_params.get("subject", "")
        found = [grant for grant in await self._grants(record) if grant.subject == subject and not grant.fixed]
        if not found:
            raise ServiceError(
                ErrorKind.NOT_FOUND, f"{subject[:64]} has no right on {record.name} that can be revoked."
            )
        return self._desk.answer("rights_revoke.html", visitor, index=record, grant=found[0])

    async def revoke(self, request: Request) -> Response:
        """Take all rights of a subject away; twice is no error."""
        visitor, fields = await self._desk.posted(request)
        record = self._desk.configured(visitor, request)
        await self._desk.rights(visitor).set_grants(record.name, fields.get("subject", "")[:MAX_SUBJECT], ())
        return await self._done(record)

    async def ask_describe(self, request: Request) -> Response:
        """Show the form for the line about what the index is for."""
        visitor = await self._desk.visitor(request)
        record = self._desk.configured(visitor, request)
        return self._describing(visitor, record, await self._description(record) or "")

    async def describe(self, request: Request) -> Response:
        """Set that line, or take it away."""
        visitor, fields = await self._desk.posted(request)
        record = self._desk.configured(visitor, request)
        text = fields.get("description", "").strip()
        try:
            await self._desk.rights(visitor).describe(record.name, text or None)
        except ServiceError as error:
            if error.kind is not ErrorKind.INVALID:
                raise
            return self._describing(visitor, record, text, fault=error.detail)
        return await self._done(record)

    async def _done(self, record: IndexRecord) -> Response:
        await self._desk.directory.refresh()
        return RedirectResponse(f"/indexes/{record.name}/rights", 303)

    async def _grants(self, record: IndexRecord) -> list[ShownGrant]:
        async with self._desk.backing.engine.connect() as connection:
            lines = await listings.grants(connection, record.id)
        shown = [
            ShownGrant(
                line.subject,
                _NAMES.get(line.subject) or (f"Group {line.subject[1:]}" if line.subject[:1] == ":" else line.subject),
                tuple(verb for verb in Verb if verb in line.verbs),
                _fixed(record, line.subject),
            )
            for line in lines
        ]
        return sorted(shown, key=lambda grant: (not grant.fixed, grant.subject))

    def _words(self, record: IndexRecord) -> Mapping[Verb, str]:
        """Return what the verbs mean on an index: on the default one, the last is more than it seems."""
        if record.name != self._desk.directory.default_index:
            return VERBS
        return {**VERBS, Verb.CONFIGURE: f"{VERBS[Verb.CONFIGURE]}, and {ADMINISTRATES}"}

    async def _description(self, record: IndexRecord) -> str | None:
        async with self._desk.backing.engine.connect() as connection:
            lines = await listings.indexes(connection, among=[record.id])
        return lines[0].description if lines else None

    def _form(
        self,
        visitor: Visitor,
        record: IndexRecord,
        subject: str,
        ticked: Collection[str],
        *,
        fault: str | None = None,
    ) -> Response:
        return self._desk.answer(
            "rights_grant.html",
            visitor,
            200 if fault is None else 400,
            index=record,
            subject=subject,
            ticked=ticked,
            verbs=self._words(record),
            max_subject=MAX_SUBJECT,
            fault=fault,
        )

    def _describing(self, visitor: Visitor, record: IndexRecord, text: str, *, fault: str | None = None) -> Response:
        return self._desk.answer(
            "index_describe.html",
            visitor,
            200 if fault is None else 400,
            index=record,
            text=text,
            max_description=MAX_DESCRIPTION,
            fault=fault,
        )


def _fixed(record: IndexRecord, subject: str) -> str:
    if subject == record.name.owner:
        return "owns the index"
    return "the index is public" if subject == ANONYMOUS else ""
