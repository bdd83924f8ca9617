"""Tables written by the gateway: who there is, what they may do, and which indexes there are."""

from __future__ import annotations

import uuid
from datetime import datetime

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    Index,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from shared.catalogue.tables.base import Base, Json


class Deployment(Base):
    """Writer: gateway. One row: which deployment this catalogue belongs to, and its default index."""

    __tablename__ = "deployment"
    __table_args__ = (CheckConstraint("one", name="one_row"),)
    one: Mapped[bool] = mapped_column(primary_key=True, default=True)
    id: Mapped[uuid.UUID]
    default_index: Mapped[str]
    created_at: Mapped[datetime]


class Account(Base):
    """Writer: gateway. Someone who can sign in; `password_hash` is argon2's encoded form, or None without a
    password. `profile` has what people say of it over devpi's API: `title`, `description`, `custom_data`."""

    __tablename__ = "account"
    name: Mapped[str] = mapped_column(primary_key=True)
    password_hash: Mapped[str | None]
    email: Mapped[str | None]
    profile: Mapped[Json] = mapped_column(server_default=text("'{}'"))
    created_at: Mapped[datetime]
    modified_at: Mapped[datetime | None]
    disabled_at: Mapped[datetime | None]


class OwnerLink(Base):
    """Writer: gateway. A one-time link that signs `account` in; only the sha256 of its secret is kept."""

    __tablename__ = "owner_link"
    secret_sha256: Mapped[str] = mapped_column(primary_key=True)
    account: Mapped[str] = mapped_column(ForeignKey("account.name"))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class Token(Base):
    """Writer: gateway. An API token: the sha256 of its secret, what it may do and until when.

    `scopes` is a list of `{"index": "owner/name" | "*", "project": name | null, "verbs": [verb, ...]}`.
    `publisher` is the CI identity that a token was made for by trusted publishing, with the claims of the identity
    token that asked for it (`services.upload.attestation_rules`); null for tokens of people.
    """

    __tablename__ = "token"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    secret_sha256: Mapped[str] = mapped_column(unique=True)
    format_version: Mapped[int]
    account: Mapped[str] = mapped_column(ForeignKey("account.name"))
    label: Mapped[str]
    scopes: Mapped[list[Json]] = mapped_column(JSONB())
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
    publisher: Mapped[Json | None] = mapped_column(JSONB(none_as_null=True))


class Publisher(Base):
    """Writer: gateway. A trusted publisher: a CI identity that may upload to one project of one life of an index.

    `identity` is what its identity tokens must say (`gateway.trusted_publishing.identities`), `subject` the part of it
    by which it is found, `pinned` the ids of repository and owner, as registered or as the first token said them. Until
    `pending_until` it waits for a project that does not exist; null once it was used, or where there was one.
    `account` registered it. A row is never deleted.
    """

    __tablename__ = "publisher"
    __table_args__ = (
        CheckConstraint("kind in ('github', 'gitlab', 'generic')", name="kind"),
        Index("ix_publisher_subject", "issuer", "subject", postgresql_where=text("removed_at is null")),
        Index(
            "uq_publisher_living",
            "index_id",
            "life",
            "project",
            "kind",
            "issuer",
            "identity",
            unique=True,
            postgresql_where=text("removed_at is null"),
        ),
    )
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    index_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("index.id"))
    life: Mapped[int]
    project: Mapped[str]
    kind: Mapped[str]
    issuer: Mapped[str]
    subject: Mapped[str]
    identity: Mapped[Json] = mapped_column(JSONB())
    pinned: Mapped[Json] = mapped_column(JSONB())
    pending_until: Mapped[datetime | None]
    created_at: Mapped[datetime]
    account: Mapped[str] = mapped_column(ForeignKey("account.name"))
    used_at: Mapped[datetime | None]
    removed_at: Mapped[datetime | None]
    removed_by: Mapped[str | None]


class UsedIdentity(Base):
    """Writer: gateway. An identity token that was exchanged, by the sha256 of issuer and `jti`: it is good once. The
    row is deleted when the token has expired."""

    __tablename__ = "used_identity"
    __table_args__ = (Index("ix_used_identity_forget_at", "forget_at"),)
    sha256: Mapped[str] = mapped_column(primary_key=True)
    used_at: Mapped[datetime]
    forget_at: Mapped[datetime]


class TokenUse(Base):
    """Writers: all, each at most once a minute per token. When a token was used last."""

    __tablename__ = "token_use"
    token_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("token.id"), primary_key=True)
    last_used_at: Mapped[datetime]


class IndexRow(Base):
    """Writer: gateway. A named collection of projects; deleting and making it again starts a new `life` of the same
    row. `settings` has `description` and what devpi's API sets beside bases and rights (`shared.devpi.settings`)."""

    __tablename__ = "index"
    __table_args__ = (
        UniqueConstraint("owner", "name"),
        CheckConstraint("type in ('stage', 'mirror')", name="type"),
        CheckConstraint("visibility in ('public', 'private')", name="visibility"),
        CheckConstraint("admission in ('strict', 'devpi')", name="admission"),
    )
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    owner: Mapped[str] = mapped_column(ForeignKey("account.name"))
    name: Mapped[str]
    life: Mapped[int] = mapped_column(default=1)
    type: Mapped[str]
    visibility: Mapped[str]
    volatile: Mapped[bool]
    admission: Mapped[str]
    settings: Mapped[Json]
    created_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None]


class IndexBase(Base):
    """Writer: gateway. A base of an index, by name: one that is gone is skipped."""

    __tablename__ = "index_base"
    index_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("index.id"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    base_owner: Mapped[str]
    base_name: Mapped[str]


class Grant(Base):
    """Writer: gateway. `subject` (an account, `:group`, `:ANONYMOUS:`, `:AUTHENTICATED:`) may do `verb` on an index."""

    __tablename__ = "grant"
    __table_args__ = (
        CheckConstraint("verb in ('read', 'upload', 'test-result', 'remove', 'approve', 'configure')", name="verb"),
    )
    index_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("index.id"), primary_key=True)
    subject: Mapped[str] = mapped_column(primary_key=True)
    verb: Mapped[str] = mapped_column(primary_key=True)


class PolicyExemption(Base):
    """Writer: gateway. Leave for a project, or one version of it, to be shown in an index before it is old enough."""

    __tablename__ = "policy_exemption"
    __table_args__ = (Index("ix_policy_exemption_index_id", "index_id", postgresql_where=text("revoked_at is null")),)
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    index_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("index.id"))
    life: Mapped[int]
    project: Mapped[str]
    version: Mapped[str | None]
    owner: Mapped[str]
    reason: Mapped[str]
    created_at: Mapped[datetime]
    until: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
    revoked_by: Mapped[str | None]
