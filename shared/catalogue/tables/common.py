"""Tables that every service inserts into."""

from __future__ import annotations

import uuid
from datetime import datetime

from sqlalchemy import (
    ForeignKey,
    Identity,
    Index,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from shared.asking import current_source
from shared.catalogue.tables.base import Base, Json


class Outbox(Base):
    """Writers: all insert; relay and consumers set the marks. Work that was decided in the same commit as the state
    change.

    A row is open while `done_at` and `dead_at` are null; `available_at` is when it is to be sent (again).
    """

    __tablename__ = "outbox"
    __table_args__ = (
        Index("ix_outbox_open", "available_at", postgresql_where=text("done_at is null and dead_at is null")),
        Index("ix_outbox_dead", "index_id", postgresql_where=text("dead_at is not null")),
        Index("ix_outbox_index_open", "index_id", "id", postgresql_where=text("done_at is null and dead_at is null")),
    )
    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    kind: Mapped[str]
    ids: Mapped[Json]
    index_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("index.id"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    available_at: Mapped[datetime] = mapped_column(server_default=func.now())
    sent_at: Mapped[datetime | None]
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    done_at: Mapped[datetime | None]
    dead_at: Mapped[datetime | None]
    last_error: Mapped[str | None]


class Audit(Base):
    """Writers: all insert only. Everything that changes trust or rights: who did what to which thing. `source` is the
    address that a person asked from, None for what no request asked for.

    Triggers refuse to change or delete a row; signing chains them (`AuditChain`)."""

    __tablename__ = "audit"
    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    at: Mapped[datetime]
    source: Mapped[str | None] = mapped_column(default=current_source)
    actor: Mapped[str]
    action: Mapped[str]
    subject: Mapped[str]
    detail: Mapped[Json]
