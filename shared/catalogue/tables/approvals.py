"""Tables of release approval, written by signing: people's keys, what is demanded, what waits, what was approved."""

from __future__ import annotations

import uuid
from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from shared.catalogue.tables.base import Base


class ApprovalKey(Base):
    """Writer: signing. A public key that a person approves with; one key belongs to one account for ever, so that
    nobody counts twice."""

    __tablename__ = "approval_key"
    __table_args__ = (Index("ix_approval_key_account", "account"),)
    keyid: Mapped[str] = mapped_column(primary_key=True)
    account: Mapped[str] = mapped_column(ForeignKey("account.name"))
    kind: Mapped[str]
    public_key: Mapped[str]
    label: Mapped[str]
    registered_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
    revoked_by: Mapped[str | None]


class ApprovalDemand(Base):
    """Writer: signing. How many approvals a file needs before it is published; `project` is empty for the whole index,
    and a project's own demand goes before it. `people` null: whoever may approve. `own`: whether an uploader's counts.
    """

    __tablename__ = "approval_demand"
    __table_args__ = (
        CheckConstraint("needed >= 1", name="needed"),
        Index("uq_approval_demand_living", "index_id", "life", "project", unique=True,
              postgresql_where=text("lifted_at is null")),
    )  # fmt: skip
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    index_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("index.id"))
    life: Mapped[int]
    project: Mapped[str]
    needed: Mapped[int]
    people: Mapped[list[str] | None] = mapped_column(JSONB(none_as_null=True))
    own: Mapped[bool]
    set_at: Mapped[datetime]
    set_by: Mapped[str]
    lifted_at: Mapped[datetime | None]
    lifted_by: Mapped[str | None]


class ApprovalRequest(Base):
    """Writer: signing. A file that waits, or waited, for approvals: the pointer that is approved, and what is needed.

    Files of one `group_id` came together and are published together. `round` grows when a file that was withdrawn or
    whose time was over is asked for again: earlier approvals do not count. An open one whose time is over is expired.
    """

    __tablename__ = "approval_request"
    __table_args__ = (
        CheckConstraint("state in ('open', 'approved', 'withdrawn')", name="state"),
        Index("ix_approval_request_index", "index_id", "state", "file_id"),
        Index("ix_approval_request_group", "group_id"),
        Index("ix_approval_request_project", "project_id", postgresql_where=text("state = 'open'")),
    )
    file_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("file.id"), primary_key=True)
    index_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("index.id"))
    project_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("project.id"))
    group_id: Mapped[uuid.UUID]
    round: Mapped[int]
    state: Mapped[str]
    needed: Mapped[int]
    people: Mapped[list[str] | None] = mapped_column(JSONB(none_as_null=True))
    own: Mapped[bool]
    pointer: Mapped[bytes]
    pointer_sha256: Mapped[str]
    asked_by: Mapped[str]
    opened_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    decided_at: Mapped[datetime | None]
    decided_by: Mapped[str | None]


class ApprovalGiven(Base):
    """Writer: signing. One person's approval of a file: a signature over the statement that the request's pointer
    makes."""

    __tablename__ = "approval"
    file_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("approval_request.file_id"), primary_key=True)
    round: Mapped[int] = mapped_column(primary_key=True)
    account: Mapped[str] = mapped_column(ForeignKey("account.name"), primary_key=True)
    keyid: Mapped[str] = mapped_column(ForeignKey("approval_key.keyid"))
    signature: Mapped[str]
    given_at: Mapped[datetime]
