"""Routes of trusted publishers: which CI identity may upload to a project of an index.

Source: contract python-index sections 3.4 and 3.5.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from fastapi import APIRouter, Request

from countermark.core.names import InvalidName, parse_project_name
from gateway.trusted_publishing.identities import InvalidIdentity, parse_identity, parse_pins
from gateway.trusted_publishing.registry import MOST_A_DAY, NewPublisher, Publishers, Registered, publishers_of
from gateway.v1 import publisher_schemas as schemas
from gateway.v1.callers import Callers, name_of
from gateway.v1.may import may
from shared.auth.access import require
from shared.auth.directory import IndexRecord
from shared.auth.principal import Principal, Verb
from shared.errors import ErrorKind, ServiceError
from shared.paging import DEFAULT_LIMIT, After, Limit, Page, cursor_text, decode_cursor, page_of


class PublisherRoutes:
    """`/api/v1/indexes/{owner}/{index}/publishers`."""

    def __init__(self, callers: Callers) -> None:
        self._callers = callers
        self._resources = callers.resources
        self.router = router = APIRouter(prefix="/indexes/{owner}/{index}/publishers", tags=["trusted publishing"])
        router.get("")(self.publishers)
        router.post("", status_code=201)(self.add)
        router.delete("/{publisher}", status_code=204)(self.remove)

    async def publishers(
        self, owner: str, index: str, request: Request, limit: Limit = DEFAULT_LIMIT, after: After = None
    ) -> Page[schemas.Publisher]:
        """List the trusted publishers of an index's projects."""
        _, record = await self._configuring(owner, index, request)
        last = None if after is None else _position(after)
        async with self._resources.engine.connect() as connection:
            rows = await publishers_of(connection, record.id, after=last, limit=limit + 1)
        now = self._resources.clock.now()
        return page_of(rows, limit, lambda row: _shown(row, now), lambda row: {"id": str(row.id)})

    async def add(
        self, owner: str, index: str, payload: schemas.PublisherPayload, request: Request
    ) -> schemas.Publisher:
        """Let a CI identity upload to a project, which need not exist yet; whoever asks must be allowed to upload."""
        principal, record = await self._configuring(owner, index, request)
        new = _new(record, payload, name_of(principal))
        require(principal, Verb.UPLOAD, record, new.project)
        made = await self._writer(principal).add(new, most=MOST_A_DAY)
        return _shown(made, self._resources.clock.now())

    async def remove(self, owner: str, index: str, publisher: UUID, request: Request) -> None:
        """Take a publisher away, with the upload tokens it holds; twice is no error."""
        principal, record = await self._configuring(owner, index, request)
        await self._writer(principal).remove(publisher, index=record.name)
        await self._callers.directory.refresh()

    async def _configuring(self, owner: str, index: str, request: Request) -> tuple[Principal, IndexRecord]:
        principal = await self._callers.known(request)
        return principal, await may(self._callers, principal, Verb.CONFIGURE, owner, index)

    def _writer(self, principal: Principal) -> Publishers:
        return Publishers(self._resources.engine, self._resources.clock, actor=name_of(principal))


def _new(record: IndexRecord, payload: schemas.PublisherPayload, account: str) -> NewPublisher:
    given = payload.model_dump(exclude_none=True)
    try:
        return NewPublisher(
            record.name,
            parse_project_name(payload.project),
            parse_identity(payload.kind, payload.issuer, given),
            account,
            parse_pins(payload.kind, {"repository_id": payload.repository_id, "owner_id": payload.owner_id}),
        )
    except (InvalidName, InvalidIdentity) as error:
        raise ServiceError(ErrorKind.INVALID, f"{error}.") from error


def _shown(row: Registered, now: datetime) -> schemas.Publisher:
    return schemas.Publisher(
        id=row.id,
        index=str(row.index),
        project=row.project,
        kind=row.identity.kind,
        issuer=row.identity.issuer,
        identity=row.identity.to_document(),
        pinned=row.pinned,
        state="active" if row.pending_until is None else "expired" if row.is_expired(now) else "pending",
        pending_until=row.pending_until,
        created_at=row.created_at,
        account=row.account,
        used_at=row.used_at,
    )


def _position(after: str) -> UUID:
    try:
        return UUID(cursor_text(decode_cursor(after), "id"))
    except ValueError as error:
        raise ServiceError(ErrorKind.MALFORMED, "The cursor in `after` is none of this server.") from error
