"""Tables written by signing: keys, metadata, heads, publications and what they made visible."""

from __future__ import annotations

import uuid
from datetime import datetime

from sqlalchemy import (
    ForeignKey,
    Index,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from shared.catalogue.tables.base import Base, Json


class KeyHandle(Base):
    """Writer: signing. The public half of a key and which role it signs for; `uri` finds the private half and is
    never published."""

    __tablename__ = "key_handle"
    keyid: Mapped[str] = mapped_column(primary_key=True)
    role: Mapped[str]
    public_key: Mapped[Json]
    uri: Mapped[str]
    created_at: Mapped[datetime]
    retired_at: Mapped[datetime | None]


class TrustFile(Base):
    """Writer: signing. Offline metadata (root, targets, trust, registry), made once and used by every index byte for
    byte."""

    __tablename__ = "trust_file"
    role: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    sha256: Mapped[str]
    length: Mapped[int]
    expires_at: Mapped[datetime]
    content: Mapped[bytes]


class Lease(Base):
    """Writer: signing. Who may sign for an index. `fence` grows with every holder and guards the head commit;
    `requested` grows with every request made while held, so that none is missed at release; `allocated` is the last
    metadata version given out, never used twice, also not after a failed try.
    """

    __tablename__ = "lease"
    index_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("index.id"), primary_key=True)
    fence: Mapped[int] = mapped_column(default=0)
    holder: Mapped[str | None]
    until: Mapped[datetime | None]
    requested: Mapped[int] = mapped_column(default=0)
    allocated: Mapped[int] = mapped_column(default=0)


class TufHead(Base):
    """Writer: signing. What is current: the commit of this row is the moment of publication. Holds the timestamp
    itself.

    `registry_version` is the version of the shared registry file that the snapshot names: it decides how many bins the
    index has, each index for itself (`docs/adr/0020-bin-counts.md`). `targets_version` and `trust_version` are those of
    the other shared files it names. `stored_version` is the version of the newest
    timestamp that is known to lie in the object store, with the plain copies of all targets up to it.
    """

    __tablename__ = "tuf_head"
    index_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("index.id"), primary_key=True)
    fence: Mapped[int]
    serial: Mapped[int]
    root_version: Mapped[int]
    registry_version: Mapped[int] = mapped_column(server_default=text("1"))
    targets_version: Mapped[int] = mapped_column(server_default=text("1"))
    trust_version: Mapped[int] = mapped_column(server_default=text("1"))
    snapshot_version: Mapped[int]
    snapshot_expires_at: Mapped[datetime]
    timestamp_version: Mapped[int]
    timestamp_expires_at: Mapped[datetime]
    timestamp: Mapped[bytes]
    committed_at: Mapped[datetime]
    stored_version: Mapped[int] = mapped_column(server_default=text("0"))


class TufFile(Base):
    """Writer: signing. One version of an online role's metadata of an index: snapshot or a bin."""

    __tablename__ = "tuf_file"
    index_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("index.id"), primary_key=True)
    role: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    sha256: Mapped[str]
    length: Mapped[int]
    expires_at: Mapped[datetime]
    current: Mapped[bool]
    content: Mapped[bytes]
    superseded_at: Mapped[datetime | None]
    """Since when it is not current any more; of a current one it says nothing."""
    __table_args__ = (
        Index("uq_tuf_file_current", "index_id", "role", unique=True, postgresql_where=text("current")),
        Index("ix_tuf_file_superseded", "index_id", "superseded_at", postgresql_where=text("not current")),
    )


class Intent(Base):
    """Writer: signing. What a batch is about to sign, stored before any signature; `serial` is set when it was
    published. Rows of what was superseded or never published go with their objects
    (`services.signing.upkeep.retention`)."""

    __tablename__ = "intent"
    __table_args__ = (
        Index("ix_intent_path", "index_id", "path"),
        Index("ix_intent_open", "index_id", "version", postgresql_where=text("serial is null")),
    )
    index_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("index.id"), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    path: Mapped[str] = mapped_column(primary_key=True)
    operation: Mapped[str]
    sha256: Mapped[str | None]
    length: Mapped[int | None]
    fence: Mapped[int]
    serial: Mapped[int | None]


class Tidying(Base):
    """Writer: signing. How far the tidying of an index's tree has come: when it was last looked at, up to which version
    the targets that publications superseded are gone, and the bin whose targets are looked for next."""

    __tablename__ = "tidying"
    index_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("index.id"), primary_key=True)
    at: Mapped[datetime | None]
    version: Mapped[int] = mapped_column(default=0)
    next_bin: Mapped[str] = mapped_column(default="")


class Publication(Base):
    """Writer: signing. One signed batch of an index."""

    __tablename__ = "publication"
    index_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("index.id"), primary_key=True)
    serial: Mapped[int] = mapped_column(primary_key=True)
    version: Mapped[int]
    changes: Mapped[int]
    started_at: Mapped[datetime]
    committed_at: Mapped[datetime]


class Journal(Base):
    """Writer: signing. What each publication changed, in the words of the public index's journal."""

    __tablename__ = "journal"
    index_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("index.id"), primary_key=True)
    serial: Mapped[int] = mapped_column(primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    project: Mapped[str]
    version: Mapped[str | None]
    action: Mapped[str]
    actor: Mapped[str | None]
    at: Mapped[datetime]


class PublishedFile(Base):
    """Writer: signing. A file is visible from `from_serial` until `to_serial`; visible now = `to_serial` is null.

    `attestation_sha256` is of the bundle that its pointer names as signed, null when that names none.
    """

    __tablename__ = "published_file"
    __table_args__ = (
        Index("uq_published_file_open", "file_id", unique=True, postgresql_where=text("to_serial is null")),
        Index("ix_published_file_from", "project_id", "from_serial", postgresql_where=text("to_serial is null")),
        Index("ix_published_file_to", "project_id", "to_serial", postgresql_where=text("to_serial is not null")),
    )
    index_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("index.id"), primary_key=True)
    file_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("file.id"), primary_key=True)
    from_serial: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("project.id"))
    to_serial: Mapped[int | None]
    attestation_sha256: Mapped[str | None]


class Page(Base):
    """Writer: signing. The digest of a project's page document as of `serial`; the newest row of a project is
    current. `gone`: the project was removed; its document is signed empty, and no page is served."""

    __tablename__ = "page"
    __table_args__ = (
        Index("ix_page_index_serial", "index_id", "serial"),
        Index("ix_page_name", "index_id", "project_name", "serial"),
    )
    index_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("index.id"), primary_key=True)
    project_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("project.id"), primary_key=True)
    serial: Mapped[int] = mapped_column(primary_key=True)
    project_name: Mapped[str]
    sha256: Mapped[str]
    length: Mapped[int]
    files: Mapped[int]
    gone: Mapped[bool] = mapped_column(default=False, server_default=text("false"))


class AuditChain(Base):
    """Writer: signing, insert only. Each audit row once, in the order it was found: `sha256` is over the hash at the
    position before and the row (`countermark.core.audit`). Positions count from 1 without gaps; audit numbers need not
    follow them, since their transactions may commit in another order."""

    __tablename__ = "audit_chain"
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    audit_id: Mapped[int] = mapped_column(ForeignKey("audit.id"), unique=True)
    sha256: Mapped[str]


class AuditHead(Base):
    """Writer: signing, insert only. Ends of the chain as they were published: `version` is of the metadata that signed
    it as a target of the index."""

    __tablename__ = "audit_head"
    __table_args__ = (Index("ix_audit_head_position", "position"),)
    index_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("index.id"), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    position: Mapped[int]
    sha256: Mapped[str]
    at: Mapped[datetime]
