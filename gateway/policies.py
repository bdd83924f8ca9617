"""The writer of what indexes show of mirrored files: their policies, and the exemptions from a minimum age.

Every change is audited, and read by all processes at once: what it changes in pages shows with the next request.
Source: architecture sections 11.1 and 11.9; contract python-index section 6.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import and_, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from countermark.core.names import IndexName, NormalizedName
from gateway.policy_values import (
    MOST_EXEMPTIONS,
    Given,
    changed_policy,
    checked_project,
    checked_reason,
    checked_span,
    checked_version,
)
from gateway.writer import CatalogueWriter
from shared.catalogue.tables import IndexRow, PolicyExemption
from shared.catalogue.unit_of_work import UnitOfWork
from shared.errors import ErrorKind, ServiceError
from shared.ids import IndexId, new_uuid
from shared.reading.mirror_options import POLICY, policy_from, policy_settings
from shared.reading.policy import Policy


@dataclass(frozen=True, slots=True)
class NewExemption:
    """Leave that is asked for; `version` None for all versions."""

    project: str
    version: str | None
    reason: str
    until: datetime


@dataclass(frozen=True, slots=True)
class ExemptionLine:
    """Leave that was given and holds."""

    id: UUID
    project: NormalizedName
    version: str | None
    owner: str
    reason: str
    created_at: datetime
    until: datetime


_LINE = (
    PolicyExemption.id,
    PolicyExemption.project,
    PolicyExemption.version,
    PolicyExemption.owner,
    PolicyExemption.reason,
    PolicyExemption.created_at,
    PolicyExemption.until,
)


class Policies(CatalogueWriter):
    """Changes policies and exemptions in the name of `actor`."""

    async def change(self, index: IndexName, given: Given) -> Policy:
        """Change what an index shows of mirrored files; what is left out stays.

        Raises:
            ServiceError: NOT_FOUND without such an index; INVALID, with every fault.
        """
        async with UnitOfWork(self._engine) as work:
            row = await self._locked(work, index)
            before = policy_from(index, row.settings)
            after = changed_policy(before, given)
            if policy_settings(after) == row.settings.get(POLICY, policy_settings(Policy(index))):
                return after
            settings = {**row.settings, POLICY: policy_settings(after)}
            await work.connection.execute(update(IndexRow).where(IndexRow.id == row.id).values(settings=settings))
            await self._record(work, "policy.change", str(index), **_told(before, after))
            await self._commit(work)
        return after

    async def exempt(self, index: IndexName, new: NewExemption) -> ExemptionLine:
        """Let a project, or one version of it, be shown before it is old enough.

        Raises:
            ServiceError: NOT_FOUND without such an index; INVALID; CONFLICT when as many hold as may.
        """
        now = self._clock.now()
        project, reason = checked_project(new.project), checked_reason(new.reason)
        version = None if new.version is None else checked_version(new.version)
        until = now + checked_span(new.until - now)
        async with UnitOfWork(self._engine) as work:
            row = await self._locked(work, index)
            living = select(func.count()).where(*_living(IndexId(row.id), row.life, now))
            if (await work.connection.scalar(living) or 0) >= MOST_EXEMPTIONS:
                raise ServiceError(
                    ErrorKind.CONFLICT,
                    f"{index} has {MOST_EXEMPTIONS} exemptions that hold: revoke some, or lower its minimum age.",
                )
            line = ExemptionLine(new_uuid(), project, version, self._actor, reason, now, until)
            values: dict[str, Any] = {column.key: getattr(line, column.key) for column in _LINE}
            await work.connection.execute(insert(PolicyExemption).values(index_id=row.id, life=row.life, **values))
            told = {"id": str(line.id), "project": project, "version": version, "reason": reason}
            await self._record(work, "policy.exempt", str(index), **told, until=until.isoformat())
            await self._commit(work)
        return line

    async def revoke(self, index: IndexName, exemption: UUID) -> None:
        """End an exemption now; twice is no error.

        Raises:
            ServiceError: NOT_FOUND without such an index, or such an exemption of it.
        """
        now = self._clock.now()
        async with UnitOfWork(self._engine) as work:
            row = await self._locked(work, index)
            mine = (PolicyExemption.id == exemption, PolicyExemption.index_id == row.id)
            found = (
                await work.connection.execute(
                    select(PolicyExemption.project, PolicyExemption.version, PolicyExemption.revoked_at).where(*mine)
                )
            ).one_or_none()
            if found is None:
                raise ServiceError(ErrorKind.NOT_FOUND, f"{index} has no such exemption.")
            if found.revoked_at is not None:
                return
            ended = update(PolicyExemption).where(*mine).values(revoked_at=now, revoked_by=self._actor)
            await work.connection.execute(ended)
            told = {"id": str(exemption), "project": found.project, "version": found.version}
            await self._record(work, "policy.revoke", str(index), **told)
            await self._commit(work)

    async def _locked(self, work: UnitOfWork, index: IndexName) -> Any:
        """Return id, life and settings of a living index; one writer of its policy at a time."""
        index_id = await self._index_id(work, index)
        query = select(IndexRow.id, IndexRow.life, IndexRow.settings).where(IndexRow.id == index_id)
        return (await work.connection.execute(query.with_for_update())).one()


async def exemptions(
    connection: AsyncConnection,
    index: IndexId,
    life: int,
    now: datetime,
    *,
    limit: int,
    after: tuple[datetime, UUID] | None = None,
) -> list[ExemptionLine]:
    """Return the exemptions of an index that hold, those that end first before the others.

    Args:
        after: end and id of the last one that was shown.
    """
    query = select(*_LINE).where(*_living(index, life, now))
    if after is not None:
        until, last = after
        later = and_(PolicyExemption.until == until, PolicyExemption.id > last)
        query = query.where(or_(PolicyExemption.until > until, later))
    rows = await connection.execute(query.order_by(PolicyExemption.until, PolicyExemption.id).limit(limit))
    return [ExemptionLine(**row._mapping) for row in rows]


async def own_policy(connection: AsyncConnection, index: IndexName, index_id: IndexId) -> Policy:
    """Return the policy that was set for an index, without what belongs to the whole deployment."""
    settings = await connection.scalar(select(IndexRow.settings).where(IndexRow.id == index_id))
    return policy_from(index, settings or {})


def _living(index: IndexId, life: int, now: datetime) -> tuple[Any, ...]:
    row = PolicyExemption
    return row.index_id == index, row.life == life, row.revoked_at.is_(None), row.until > now


def _told(before: Policy, after: Policy) -> dict[str, Any]:
    """Return what a change is audited with: numbers as they are, of lists what came and went."""
    told: dict[str, Any] = {}
    if after.min_age != before.min_age:
        told["min_age"] = {"before": before.min_age.total_seconds(), "after": after.min_age.total_seconds()}
    if (after.allowed is None) != (before.allowed is None):
        told["allowed_only"] = after.allowed is not None
    for part in ("reserved", "denied", "allowed", "quarantined"):
        old, new = _pairs(getattr(before, part)), _pairs(getattr(after, part))
        came, went = sorted(new - old), sorted(old - new)
        if came or went:
            told[part] = {"added": came[:_MOST_AUDITED], "removed": went[:_MOST_AUDITED]}
    return told


_MOST_AUDITED = 100
"""Names of a list that an audit row holds."""


def _pairs(listed: Any) -> set[str]:
    """Return the entries of a list or mapping, a reason behind its name."""
    if isinstance(listed, Mapping):
        return {f"{name}: {reason}" for name, reason in listed.items()}
    return set(listed or ())
