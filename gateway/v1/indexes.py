"""Routes of indexes and of what may be done on them. What is in an index is the other services' matter.

Source: architecture sections 11.1, 11.5 and 11.8.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from countermark.core.names import IndexName
from gateway.accounts import NewIndex
from gateway.v1 import schemas
from gateway.v1.callers import Callers
from gateway.v1.may import may
from gateway.writer import index_name_from
from shared.auth.access import is_administrator, resolve
from shared.auth.directory import IndexRecord
from shared.auth.permissions import Decision, authorize
from shared.auth.principal import Principal, Verb
from shared.catalogue import listings
from shared.catalogue.listings import IndexLine
from shared.errors import ErrorKind, ServiceError
from shared.paging import DEFAULT_LIMIT, After, Limit, Page, cursor_text, decode_cursor, page_of

Subject = Annotated[str, Query(min_length=1, max_length=200, description="whose grants to take away")]


class IndexRoutes:
    """`/api/v1/indexes`, but for what the services answer below it."""

    def __init__(self, callers: Callers) -> None:
        self._callers = callers
        self._directory = callers.directory
        self._engine = callers.resources.engine
        self.router = router = APIRouter(prefix="/indexes", tags=["indexes"])
        router.get("")(self.indexes)
        router.post("", status_code=201)(self.create)
        router.get("/{owner}/{index}")(self.index)
        router.patch("/{owner}/{index}")(self.change)
        router.get("/{owner}/{index}/grants")(self.grants)
        router.put("/{owner}/{index}/grants")(self.set_grants)
        router.delete("/{owner}/{index}/grants", status_code=204)(self.drop_grants)

    async def indexes(self, request: Request, limit: Limit = DEFAULT_LIMIT, after: After = None) -> Page[schemas.Index]:
        """List the indexes that the caller may read, by name."""
        principal = await self._callers.anyone(request)
        name = None if after is None else index_name_from(cursor_text(decode_cursor(after), "name"))
        readable = (
            record
            for record in self._directory.indexes()
            if (name is None or record.name > name)
            and authorize(principal, Verb.READ, record.resource()) is Decision.ALLOWED
        )
        records = [record for record, _ in zip(readable, range(limit + 1), strict=False)]
        shown = await self._shown(principal, records)
        return page_of(shown, limit, lambda item: item, lambda item: {"name": item.name})

    async def create(self, payload: schemas.IndexPayload, request: Request, response: Response) -> schemas.Index:
        """Make a stage index: one's own, or anybody's for administrators. It is published, empty, at once."""
        principal = await self._callers.known(request)
        name = index_name_from(payload.name)
        if not is_administrator(self._directory, principal):
            _may_own(principal, name)
        new = NewIndex(name, payload.visibility, payload.description)
        most = self._callers.resources.settings.indexes.per_owner
        await self._callers.accounts(principal).create_index(new, most=most)
        await self._directory.refresh()
        response.headers["location"] = f"/api/v1/indexes/{name}"
        return await self._one(principal, resolve(self._directory, name))

    async def index(self, owner: str, index: str, request: Request) -> schemas.Index:
        """Tell what an index is."""
        principal = await self._callers.anyone(request)
        return await self._one(principal, await may(self._callers, principal, Verb.READ, owner, index))

    async def change(self, owner: str, index: str, payload: schemas.IndexChange, request: Request) -> schemas.Index:
        """Change an index's description, and whether what it serves is verified when it is read."""
        principal, record = await self._configuring(owner, index, request)
        visibility = "public" if record.public else "private"
        if payload.visibility not in {None, visibility}:
            detail = f"{record.name} is {visibility}, which was chosen when it was made. Make another index."
            raise ServiceError(ErrorKind.CONFLICT, detail)
        if "description" in payload.model_fields_set:
            await self._callers.index_rights(principal).describe(record.name, payload.description)
        if payload.verify_on_read is not None:
            await self._callers.index_rights(principal).verify_on_read(record.name, on=payload.verify_on_read)
            await self._directory.refresh()
        return await self._one(principal, resolve(self._directory, record.name))

    async def grants(self, owner: str, index: str, request: Request) -> schemas.Grants:
        """List who may do what on an index."""
        _, record = await self._configuring(owner, index, request)
        return await self._grants(record)

    async def set_grants(
        self, owner: str, index: str, payload: schemas.GrantPayload, request: Request
    ) -> schemas.Grants:
        """Let a subject do exactly these verbs, in place of what it could do before."""
        principal, record = await self._configuring(owner, index, request)
        await self._callers.index_rights(principal).set_grants(record.name, payload.subject, payload.verbs)
        await self._directory.refresh()
        return await self._grants(record)

    async def drop_grants(self, owner: str, index: str, subject: Subject, request: Request) -> None:
        """Take all grants of a subject away; twice is no error."""
        principal, record = await self._configuring(owner, index, request)
        await self._callers.index_rights(principal).set_grants(record.name, subject, ())
        await self._directory.refresh()

    async def _configuring(self, owner: str, index: str, request: Request) -> tuple[Principal, IndexRecord]:
        principal = await self._callers.known(request)
        return principal, await may(self._callers, principal, Verb.CONFIGURE, owner, index)

    async def _one(self, principal: Principal, record: IndexRecord) -> schemas.Index:
        (shown,) = await self._shown(principal, [record])
        return shown

    async def _shown(self, principal: Principal, records: list[IndexRecord]) -> list[schemas.Index]:
        async with self._engine.connect() as connection:
            lines = await listings.indexes(connection, among=[record.id for record in records])
        by_name = {record.name: record for record in records}
        pairs = ((line, by_name.get(IndexName(line.owner, line.name))) for line in lines)
        return [_shown(principal, line, record) for line, record in pairs if record is not None]

    async def _grants(self, record: IndexRecord) -> schemas.Grants:
        async with self._engine.connect() as connection:
            lines = await listings.grants(connection, record.id)
        return schemas.Grants(items=[schemas.Grant(subject=line.subject, verbs=list(line.verbs)) for line in lines])


def _may_own(principal: Principal, name: IndexName) -> None:
    """Refuse to make an index of another account, or with a token that may not configure every index."""
    if name.owner != principal.account:
        raise ServiceError(ErrorKind.FORBIDDEN, f"Only {name.owner} and administrators make indexes of {name.owner}.")
    everywhere = principal.scopes is None or any(
        scope.index is None and scope.project is None and Verb.CONFIGURE in scope.verbs for scope in principal.scopes
    )
    if not everywhere:
        raise ServiceError(ErrorKind.FORBIDDEN, "This token does not configure every index, so it cannot make one.")


def _shown(principal: Principal, line: IndexLine, record: IndexRecord) -> schemas.Index:
    return schemas.Index(
        name=str(record.name),
        owner=line.owner,
        index=line.name,
        type=line.type,
        visibility=line.visibility,
        description=line.description,
        serial=line.serial,
        created_at=line.created_at,
        verify_on_read=record.verify_on_read,
        verbs=[verb for verb in Verb if authorize(principal, verb, record.resource()) is Decision.ALLOWED],
    )
