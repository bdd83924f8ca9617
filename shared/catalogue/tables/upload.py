"""Tables written by upload: projects, releases, files and where their bytes are."""

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


class Project(Base):
    """Writer: upload. A named thing in one life of an index; `name` is normalised, `display_name` as first uploaded.

    One without files is registered, or it was removed: then `removed_at` says so, and it is found no more.
    """

    __tablename__ = "project"
    __table_args__ = (
        UniqueConstraint("index_id", "life", "format", "name"),
        CheckConstraint("format in ('python', 'conan', 'generic')", name="format"),
        CheckConstraint("status in ('active', 'archived', 'quarantined', 'deprecated')", name="status"),
        # The expression of `releases.confusable_project`, letter for letter.
        Index("ix_project_alike", "index_id", text("translate(name, 'lio-', '110')")),
    )
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    index_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("index.id"))
    life: Mapped[int]
    format: Mapped[str]
    name: Mapped[str]
    display_name: Mapped[str]
    status: Mapped[str] = mapped_column(default="active")
    status_reason: Mapped[str | None]
    created_at: Mapped[datetime]
    removed_at: Mapped[datetime | None]
    removed_by: Mapped[str | None]


class Release(Base):
    """Writer: upload. One version of a project, normalised; `metadata` as read from the first file of it.

    `version_key` is the same for versions that are one release (1.0 and 1.0.0). It is null where an older release of
    the project has it: before there were keys, each spelling was a release, and what was signed of it stays.
    `removed_at` as in `Project`.
    """

    __tablename__ = "release"
    __table_args__ = (UniqueConstraint("project_id", "version"), UniqueConstraint("project_id", "version_key"))
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    project_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("project.id"))
    version: Mapped[str]
    version_key: Mapped[str | None]
    core_metadata: Mapped[Json] = mapped_column("metadata", JSONB())
    created_at: Mapped[datetime]
    removed_at: Mapped[datetime | None]
    removed_by: Mapped[str | None]


class File(Base):
    """Writer: upload. One immutable file; only its marks (yank, hold, remove) change. Whether it is visible is no
    column:
    see `PublishedFile`.

    `warnings` are what its uploader was told, one sentence each. `history` is where it came from, in devpi's form
    (contract devpi section 4.5): empty for a plain upload, entries `push` and `overwrite` else.
    `path_key` is the first 16 hex digits of the sha256: with index and file name it forms the URL, which is unique
    for ever.
    """

    __tablename__ = "file"
    __table_args__ = (
        Index(
            "uq_file_living_name", "release_id", "file_name", unique=True, postgresql_where=text("removed_at is null")
        ),
        UniqueConstraint("index_id", "path_key", "file_name"),
        Index("ix_file_index_name", "index_id", "file_name"),
        Index("ix_file_project", "project_id"),
    )
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    index_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("index.id"))
    project_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("project.id"))
    release_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("release.id"))
    file_name: Mapped[str]
    package_type: Mapped[str]
    sha256: Mapped[str]
    path_key: Mapped[str]
    blake2b_256: Mapped[str]
    md5: Mapped[str]
    length: Mapped[int]
    requires_python: Mapped[str | None]
    core_metadata_sha256: Mapped[str | None]
    core_metadata_length: Mapped[int | None]
    uploaded_at: Mapped[datetime]
    uploader: Mapped[str]
    token_id: Mapped[uuid.UUID | None]
    yanked_at: Mapped[datetime | None]
    yanked_by: Mapped[str | None]
    yanked_reason: Mapped[str | None]
    held_at: Mapped[datetime | None]
    held_by: Mapped[str | None]
    held_reason: Mapped[str | None]
    removed_at: Mapped[datetime | None]
    removed_by: Mapped[str | None]
    removed_reason: Mapped[str | None]
    warnings: Mapped[list[str]] = mapped_column(JSONB(), server_default=text("'[]'"))
    history: Mapped[list[Json]] = mapped_column(JSONB(), server_default=text("'[]'"))


class Attachment(Base):
    """Writer: upload. Bytes that belong to a release (`doc`) or to a file (`test-result`): visible at commit, never
    signed, never on simple pages. They lie in the object store like files do.

    `path_key` and `file_name` form the URL below `+f/`: the first 16 hex digits of the sha256 of a documentation's own
    bytes, or of the file a test result is about.
    """

    __tablename__ = "attachment"
    __table_args__ = (
        CheckConstraint("kind in ('doc', 'test-result')", name="kind"),
        CheckConstraint("(kind = 'test-result') = (file_id is not null)", name="about"),
        UniqueConstraint("index_id", "path_key", "file_name"),
        Index("ix_attachment_release", "release_id", "kind"),
        Index("ix_attachment_file", "file_id", postgresql_where=text("file_id is not null")),
    )
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    index_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("index.id"))
    release_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("release.id"))
    file_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("file.id"))
    kind: Mapped[str]
    file_name: Mapped[str]
    path_key: Mapped[str]
    sha256: Mapped[str]
    length: Mapped[int]
    history: Mapped[list[Json]] = mapped_column(JSONB(), server_default=text("'[]'"))
    added_at: Mapped[datetime]
    added_by: Mapped[str | None]
    removed_at: Mapped[datetime | None]
    removed_by: Mapped[str | None]


class StoredObject(Base):
    """Writer: upload. Bytes the object store holds, once per side (public or private)."""

    __tablename__ = "object"
    side: Mapped[str] = mapped_column(primary_key=True)
    sha256: Mapped[str] = mapped_column(primary_key=True)
    file_name: Mapped[str] = mapped_column(primary_key=True)
    length: Mapped[int]
    stored_at: Mapped[datetime]
