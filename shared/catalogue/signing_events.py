"""Queries on ceremonies: what waits for signatures, what was signed, and who holds which key. Writer: signing.

Source: trust contract section 2.5.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NewType
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Select, insert, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from countermark.core.digest import sha256_of
from shared.catalogue.tables import EventSignature, KeyHolder, SigningEvent, TrustTarget

EventId = NewType("EventId", UUID)

FINAL, WITHDRAWN, EXPIRED = "final", "withdrawn", "expired"
"""How an event ends."""


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event as kept. `payload` holds the exact bytes that are signed; `outcome` is None while it is open, also when
    `expires_at` has passed."""

    id: EventId
    role: str
    version: int
    payload: bytes
    payload_sha256: str
    reason: str
    proposed_by: str
    proposed_at: datetime
    expires_at: datetime
    outcome: str | None = None
    closed_at: datetime | None = None
    closed_by: str | None = None
    closed_reason: str | None = None


@dataclass(frozen=True, slots=True)
class StoredSignature:
    """A verified signature of an event; `signature` is hexadecimal, as in metadata."""

    keyid: str
    signature: str
    submitted_by: str
    submitted_at: datetime


@dataclass(frozen=True, slots=True)
class Holder:
    """By what name a key is known."""

    keyid: str
    name: str
    public_key: Mapping[str, Any]


_EVENT = (
    SigningEvent.id,
    SigningEvent.role,
    SigningEvent.version,
    SigningEvent.payload,
    SigningEvent.payload_sha256,
    SigningEvent.reason,
    SigningEvent.proposed_by,
    SigningEvent.proposed_at,
    SigningEvent.expires_at,
    SigningEvent.outcome,
    SigningEvent.closed_at,
    SigningEvent.closed_by,
    SigningEvent.closed_reason,
)


async def insert_event(connection: AsyncConnection, event: StoredEvent) -> None:
    """Open an event.

    Raises:
        IntegrityError: the role has an open one.
    """
    await connection.execute(
        insert(SigningEvent).values(
            id=event.id,
            role=event.role,
            version=event.version,
            payload=event.payload,
            payload_sha256=event.payload_sha256,
            reason=event.reason,
            proposed_by=event.proposed_by,
            proposed_at=event.proposed_at,
            expires_at=event.expires_at,
        )
    )


async def event(connection: AsyncConnection, event_id: EventId) -> StoredEvent | None:
    """Return an event, None when there is none of this id."""
    row = (await connection.execute(_events().where(SigningEvent.id == event_id))).first()
    return None if row is None else _stored(row)


async def open_events(connection: AsyncConnection) -> dict[str, StoredEvent]:
    """Return the events that were not closed, role -> event, also those whose time has passed."""
    rows = await connection.execute(_events().where(SigningEvent.outcome.is_(None)))
    return {row.role: _stored(row) for row in rows}


async def events(
    connection: AsyncConnection, *, state: str | None, now: datetime, after: EventId | None, limit: int
) -> list[StoredEvent]:
    """Return events, the newest first.

    Args:
        state: `open` for those that can be signed, or an outcome; None for all.
        after: the last one of the page before.
        limit: how many at the most.
    """
    query = _events()
    if state is not None:
        query = query.where(_in_state(state, now))
    if after is not None:
        place = select(SigningEvent.proposed_at, SigningEvent.id).where(SigningEvent.id == after).subquery()
        query = query.where(
            tuple_(SigningEvent.proposed_at, SigningEvent.id)
            < tuple_(select(place.c.proposed_at).scalar_subquery(), select(place.c.id).scalar_subquery())
        )
    ordered = query.order_by(SigningEvent.proposed_at.desc(), SigningEvent.id.desc()).limit(limit)
    return [_stored(row) for row in await connection.execute(ordered)]


def _in_state(state: str, now: datetime) -> ColumnElement[bool]:
    unclosed = SigningEvent.outcome.is_(None)
    if state == "open":
        return unclosed & (SigningEvent.expires_at > now)
    if state == EXPIRED:
        return (SigningEvent.outcome == EXPIRED) | (unclosed & (SigningEvent.expires_at <= now))
    return SigningEvent.outcome == state


async def close_event(
    connection: AsyncConnection, event_id: EventId, outcome: str, *, at: datetime, by: str, reason: str | None = None
) -> bool:
    """End an event that is open; returns whether it was."""
    closed = await connection.execute(
        update(SigningEvent)
        .where(SigningEvent.id == event_id, SigningEvent.outcome.is_(None))
        .values(outcome=outcome, closed_at=at, closed_by=by, closed_reason=reason)
    )
    return closed.rowcount == 1


async def insert_signature(connection: AsyncConnection, event_id: EventId, signature: StoredSignature) -> bool:
    """Keep a signature; returns False when the event has one of this key already, which stays as it is."""
    row = upsert(EventSignature).values(
        event_id=event_id,
        keyid=signature.keyid,
        signature=signature.signature,
        submitted_by=signature.submitted_by,
        submitted_at=signature.submitted_at,
    )
    kept = await connection.execute(row.on_conflict_do_nothing().returning(EventSignature.keyid))
    return kept.first() is not None


async def signatures(
    connection: AsyncConnection, event_ids: Collection[EventId]
) -> dict[EventId, list[StoredSignature]]:
    """Return the signatures of events, event -> its signatures by key id; each event is there."""
    found: dict[EventId, list[StoredSignature]] = {event_id: [] for event_id in event_ids}
    columns = (EventSignature.keyid, EventSignature.signature, EventSignature.submitted_by, EventSignature.submitted_at)
    rows = await connection.execute(
        select(EventSignature.event_id, *columns)
        .where(EventSignature.event_id.in_(event_ids))
        .order_by(EventSignature.keyid)
    )
    for row in rows:
        signature = StoredSignature(row.keyid, row.signature, row.submitted_by, row.submitted_at)
        found[EventId(row.event_id)].append(signature)
    return found


async def set_holders(connection: AsyncConnection, holders: Sequence[Holder], *, at: datetime, by: str) -> None:
    """Keep by what names keys are known; a key that has a name keeps it."""
    if not holders:
        return
    rows = [
        {"keyid": one.keyid, "name": one.name, "public_key": dict(one.public_key), "named_by": by, "named_at": at}
        for one in holders
    ]
    await connection.execute(upsert(KeyHolder).values(rows).on_conflict_do_nothing())


async def keep_targets(connection: AsyncConnection, contents: Collection[bytes], *, at: datetime) -> None:
    """Keep the bytes of targets that trust is to name; those that are there already stay."""
    if contents:
        rows = [{"sha256": sha256_of(content), "content": content, "kept_at": at} for content in set(contents)]
        await connection.execute(upsert(TrustTarget).values(rows).on_conflict_do_nothing())


async def kept_targets(connection: AsyncConnection, digests: Collection[str]) -> dict[str, bytes]:
    """Return the bytes of targets of trust, sha256 -> bytes, of those that are kept."""
    query = select(TrustTarget.sha256, TrustTarget.content).where(TrustTarget.sha256.in_(digests))
    return {row.sha256: row.content for row in await connection.execute(query)}


async def kept_digests(connection: AsyncConnection, digests: Collection[str]) -> set[str]:
    """Return which of some targets' bytes are kept."""
    rows = await connection.scalars(select(TrustTarget.sha256).where(TrustTarget.sha256.in_(digests)))
    return set(rows)


async def holder_names(connection: AsyncConnection) -> dict[str, str]:
    """Return by what name each key is known that has one, key id -> name."""
    rows = await connection.execute(select(KeyHolder.keyid, KeyHolder.name).order_by(KeyHolder.keyid))
    return {row.keyid: row.name for row in rows}


def _events() -> Select[*tuple[Any, ...]]:
    return select(*_EVENT)


def _stored(row: Row[*tuple[Any, ...]]) -> StoredEvent:
    return StoredEvent(**row._mapping)
