"""Routes of what an index shows of mirrored files: its policy, and the exemptions from its minimum age.

What is held back by them is told by the index service (`holds`, `explain`).
Source: architecture sections 11.1 and 11.5; contract python-index section 6.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import cast
from uuid import UUID

from fastapi import APIRouter, Request

from gateway.policies import ExemptionLine, NewExemption, Policies, exemptions, own_policy
from gateway.policy_values import Given, written_age
from gateway.v1 import schemas
from gateway.v1.callers import Callers, name_of
from gateway.v1.may import may
from shared.auth.directory import IndexRecord
from shared.auth.principal import Principal, Verb
from shared.errors import ErrorKind, ServiceError
from shared.paging import DEFAULT_LIMIT, After, Limit, Page, cursor_text, decode_cursor, page_of
from shared.reading.policy import Policy

_DEFAULT_DAYS = 7
"""How long an exemption holds of which nothing is said."""


class PolicyRoutes:
    """`/api/v1/indexes/{owner}/{index}/policy` and `.../exemptions`."""

    def __init__(self, callers: Callers) -> None:
        self._callers = callers
        self._resources = callers.resources
        self.router = router = APIRouter(prefix="/indexes/{owner}/{index}", tags=["policies"])
        router.get("/policy")(self.policy)
        router.patch("/policy")(self.change)
        router.get("/exemptions")(self.exemptions)
        router.post("/exemptions", status_code=201)(self.exempt)
        router.delete("/exemptions/{exemption}", status_code=204)(self.revoke)

    async def policy(self, owner: str, index: str, request: Request) -> schemas.Policy:
        """Tell what an index shows of mirrored files; for those who may read it."""
        principal = await self._callers.anyone(request)
        record = await may(self._callers, principal, Verb.READ, owner, index)
        async with self._resources.engine.connect() as connection:
            return self._shown(await own_policy(connection, record.name, record.id))

    async def change(self, owner: str, index: str, payload: schemas.PolicyChange, request: Request) -> schemas.Policy:
        """Change it; what is left out stays. It counts for every page and file at once."""
        principal, record = await self._configuring(owner, index, request)
        given = cast(Given, payload.model_dump(exclude_unset=True))
        changed = await self._writer(principal).change(record.name, given)
        await self._callers.directory.refresh()
        return self._shown(changed)

    async def exemptions(
        self, owner: str, index: str, request: Request, limit: Limit = DEFAULT_LIMIT, after: After = None
    ) -> Page[schemas.Exemption]:
        """List the exemptions that hold, those that end first before the others."""
        _, record = await self._configuring(owner, index, request)
        last = None if after is None else _position(after)
        now = self._resources.clock.now()
        async with self._resources.engine.connect() as connection:
            rows = await exemptions(connection, record.id, record.life, now, limit=limit + 1, after=last)
        return page_of(rows, limit, _exemption, lambda line: {"until": line.until.isoformat(), "id": str(line.id)})

    async def exempt(
        self, owner: str, index: str, payload: schemas.ExemptionPayload, request: Request
    ) -> schemas.Exemption:
        """Let a project, or one version of it, be shown before it is old enough: for some days, with a reason."""
        principal, record = await self._configuring(owner, index, request)
        if payload.days is not None and payload.until is not None:
            raise ServiceError(ErrorKind.INVALID, "Say either `days` or `until`.")
        until = payload.until or self._resources.clock.now() + timedelta(days=payload.days or _DEFAULT_DAYS)
        new = NewExemption(payload.project, payload.version, payload.reason, until)
        made = await self._writer(principal).exempt(record.name, new)
        await self._callers.directory.refresh()
        return _exemption(made)

    async def revoke(self, owner: str, index: str, exemption: UUID, request: Request) -> None:
        """End an exemption now; twice is no error."""
        principal, record = await self._configuring(owner, index, request)
        await self._writer(principal).revoke(record.name, exemption)
        await self._callers.directory.refresh()

    async def _configuring(self, owner: str, index: str, request: Request) -> tuple[Principal, IndexRecord]:
        principal = await self._callers.known(request)
        return principal, await may(self._callers, principal, Verb.CONFIGURE, owner, index)

    def _writer(self, principal: Principal) -> Policies:
        return Policies(self._resources.engine, self._resources.clock, actor=name_of(principal))

    def _shown(self, policy: Policy) -> schemas.Policy:
        return schemas.Policy(
            index=str(policy.index),
            min_age=int(policy.min_age.total_seconds()),
            min_age_words=written_age(policy.min_age),
            reserved=list(policy.reserved),
            reserved_everywhere=list(self._resources.settings.mirrors.reserved_prefixes),
            denied=dict(policy.denied),
            allowed=None if policy.allowed is None else sorted(policy.allowed),
            quarantined=dict(policy.quarantined),
        )


def _exemption(line: ExemptionLine) -> schemas.Exemption:
    return schemas.Exemption(
        id=line.id,
        project=line.project,
        version=line.version,
        owner=line.owner,
        reason=line.reason,
        created_at=line.created_at,
        until=line.until,
    )


def _position(after: str) -> tuple[datetime, UUID]:
    position = decode_cursor(after)
    try:
        until = datetime.fromisoformat(cursor_text(position, "until")).astimezone(UTC)
        return until, UUID(cursor_text(position, "id"))
    except (ValueError, OverflowError) as error:
        raise ServiceError(ErrorKind.MALFORMED, "The cursor in `after` is none of this server.") from error
