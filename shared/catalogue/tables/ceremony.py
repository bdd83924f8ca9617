"""Tables of ceremonies, written by signing: what is proposed to key holders, what they signed, and who holds which
key."""

from __future__ import annotations

import uuid
from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from shared.catalogue.tables.base import Base, Json


class SigningEvent(Base):
    """Writer: signing. A version of an offline role that waits for signatures: `payload` holds the exact bytes that are
    signed and never changes.

    `outcome` is null while it is open; whether it has signatures enough is never stored, but found from the signatures.
    """

    __tablename__ = "signing_event"
    __table_args__ = (
        CheckConstraint("outcome in ('final', 'withdrawn', 'expired')", name="outcome"),
        CheckConstraint("(outcome is null) = (closed_at is null)", name="closed"),
        Index("uq_signing_event_open", "role", unique=True, postgresql_where=text("outcome is null")),
        Index("uq_signing_event_final", "role", "version", unique=True, postgresql_where=text("outcome = 'final'")),
    )
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    role: Mapped[str]
    version: Mapped[int]
    payload: Mapped[bytes]
    payload_sha256: Mapped[str]
    reason: Mapped[str]
    proposed_by: Mapped[str]
    proposed_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    outcome: Mapped[str | None]
    closed_at: Mapped[datetime | None]
    closed_by: Mapped[str | None]
    closed_reason: Mapped[str | None]


class EventSignature(Base):
    """Writer: signing. A signature that was verified over an event's payload before it was stored; insert only."""

    __tablename__ = "event_signature"
    event_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("signing_event.id"), primary_key=True)
    keyid: Mapped[str] = mapped_column(primary_key=True)
    signature: Mapped[str]
    submitted_by: Mapped[str]
    submitted_at: Mapped[datetime]


class TrustTarget(Base):
    """Writer: signing. The bytes of a target that no other row can tell again, kept for ever: of one that a version of
    trust names, since its proposal; and of verification summaries, since their publication."""

    __tablename__ = "trust_target"
    sha256: Mapped[str] = mapped_column(primary_key=True)
    content: Mapped[bytes]
    kept_at: Mapped[datetime]


class KeyHolder(Base):
    """Writer: signing. By what name a key of an offline role is known: words of whoever proposed it, proven by
    nothing."""

    __tablename__ = "key_holder"
    keyid: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    public_key: Mapped[Json]
    named_by: Mapped[str]
    named_at: Mapped[datetime]
