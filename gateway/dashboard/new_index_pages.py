"""Another index: one's own, or anybody's for administrators, as the API has it."""

from __future__ import annotations

from typing import get_args

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from countermark.core.names import IndexName
from gateway.accounts import NewIndex, Visibility
from gateway.dashboard.desk import Desk, Visitor
from gateway.writer import MAX_DESCRIPTION, index_name_from
from shared.errors import ErrorKind, ServiceError

_SHOWN_AS_FAULT = {ErrorKind.INVALID, ErrorKind.CONFLICT, ErrorKind.NOT_FOUND}


class NewIndexPages:
    """The page `/indexes/new`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.routes: list[BaseRoute] = [
            Route("/indexes/new", self.ask),
            Route("/indexes/new", self.create, methods=["POST"]),
        ]

    async def ask(self, request: Request) -> Response:
        """Show the form."""
        visitor = await self._desk.visitor(request)
        return self._form(visitor, {"owner": visitor.account, "visibility": "private"})

    async def create(self, request: Request) -> Response:
        """Make the index, which is published empty, and show it; with a fault, show the form again and what is wrong.

        Raises:
            ServiceError: FORBIDDEN for an index of another account, unless for administrators.
        """
        visitor, fields = await self._desk.posted(request)
        owner = fields.get("owner", visitor.account).strip()
        if owner != visitor.account and not visitor.administrator:
            raise ServiceError(
                ErrorKind.FORBIDDEN, f"Only {owner[:64]} and administrators make indexes of {owner[:64]}."
            )
        try:
            name = await self._make(visitor, owner, fields)
        except ServiceError as error:
            if error.kind not in _SHOWN_AS_FAULT:
                raise
            return self._form(visitor, fields, fault=error.detail)
        await self._desk.directory.refresh()
        record = self._desk.directory.index(name)
        # A private index of somebody else is nothing that its maker may read.
        readable = record is not None and record in self._desk.readable(visitor)
        return RedirectResponse(f"/indexes/{name}/setup" if readable else "/", 303)

    async def _make(self, visitor: Visitor, owner: str, fields: dict[str, str]) -> IndexName:
        name = index_name_from(f"{owner}/{fields.get('name', '').strip()}")
        visibility = fields.get("visibility")
        for known in get_args(Visibility):
            if visibility == known:
                new = NewIndex(name, known, fields.get("description", "").strip() or None)
                await self._desk.accounts(visitor).create_index(new, most=self._desk.backing.most_indexes)
                return name
        raise ServiceError(ErrorKind.INVALID, "Choose who may read the index: everyone, or who is given the right.")

    def _form(self, visitor: Visitor, fields: dict[str, str], *, fault: str | None = None) -> Response:
        return self._desk.answer(
            "index_new.html",
            visitor,
            200 if fault is None else 400,
            fields=fields,
            fault=fault,
            max_description=MAX_DESCRIPTION,
        )
