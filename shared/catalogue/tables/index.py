"""Tables written by the index service."""

from __future__ import annotations

import uuid
from datetime import datetime

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from shared.catalogue.tables.base import Base


class Laid(Base):
    """Writer: index. Up to which serial the static pages of an index were laid; pages of newer serials are still
    due."""

    __tablename__ = "laid"
    index_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("index.id"), primary_key=True)
    serial: Mapped[int]


class LaidProvenance(Base):
    """Writer: nobody any more. Of what static documents about attestations were laid, before `ProvenanceDue`; a later
    migration drops it, once no process is left that writes it."""

    __tablename__ = "laid_provenance"
    index_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("index.id"), primary_key=True)
    project_name: Mapped[str] = mapped_column(primary_key=True)
    file_name: Mapped[str] = mapped_column(primary_key=True)
    serial: Mapped[int]
    file_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("file.id"))
    attestations: Mapped[int]


class MirrorPage(Base):
    """Writer: index. What a mirror last saw of a project at its upstream, and how it stands with asking again.

    The row of the project "" is the list of projects. Bytes are compressed (zstd), so that Postgres does not try.
    """

    __tablename__ = "mirror_page"
    index_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("index.id"), primary_key=True)
    life: Mapped[int] = mapped_column(primary_key=True)
    project: Mapped[str] = mapped_column(primary_key=True)
    document: Mapped[bytes | None]
    """Page document as `shared.formats.python.upstream.page_of_mirror` makes it; null when there is no such project."""
    origins: Mapped[bytes | None]
    """Where its files come from; see `shared.catalogue.mirror_pages`."""
    seen: Mapped[bytes | None]
    """Digests of files that were listed once and are not any more: a name keeps its digest."""
    newest_at: Mapped[datetime | None]
    """When the upstream got the newest of its files; null when it does not say it of one. To find what is too new."""
    oldest_at: Mapped[datetime | None]
    """When it got the oldest of those of which it says that; null when it says it of none. For lists as of then."""
    upstream: Mapped[str]
    """URL of the upstream that it came from (`mirror_url`); serial and tag mean nothing to another one."""
    serial: Mapped[int | None]
    etag: Mapped[str | None]
    changed_at: Mapped[datetime]
    checked_at: Mapped[datetime]
    """When the upstream last said that this is what it has."""
    fresh_until: Mapped[datetime]
    failing_since: Mapped[datetime | None]
    failure: Mapped[str | None]
    retry_at: Mapped[datetime | None]
    """Before this the upstream is not asked again after a failure."""


class MirrorJson(Base):
    """Writer: index. What a mirror last took over of a document of its upstream's JSON API.

    The row of the version "" is the project's document, others are those of one version. What never was read leaves a
    row as well once it was asked for: without facts. Bytes are compressed (zstd).
    """

    __tablename__ = "mirror_json"
    index_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("index.id"), primary_key=True)
    life: Mapped[int] = mapped_column(primary_key=True)
    project: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[str] = mapped_column(primary_key=True)
    facts: Mapped[bytes | None]
    """As `shared.formats.python.json_facts.pack_facts` makes it; null when there is no such document, or none that was
    taken over."""
    upstream: Mapped[str]
    serial: Mapped[int | None]
    etag: Mapped[str | None]
    checked_at: Mapped[datetime]
    """When the upstream last said that this is what it has; without facts, when it was asked."""
    fresh_until: Mapped[datetime]
    failing_since: Mapped[datetime | None]
    failure: Mapped[str | None]
    retry_at: Mapped[datetime | None]
    """Before this the upstream is not asked again after a failure."""


class Advisory(Base):
    """Writer: index, by the operator's import. A record of the OSV snapshot that is served.

    The three tables are replaced together, in one transaction; hence no foreign keys among them.
    """

    __tablename__ = "advisory"
    id: Mapped[str] = mapped_column(primary_key=True)
    modified: Mapped[datetime]
    withdrawn: Mapped[datetime | None]
    document: Mapped[bytes]
    """The record as it was imported, compressed (zstd)."""


class AdvisoryAffected(Base):
    """Writer: index, by the operator's import. What an advisory says of one PyPI project."""

    __tablename__ = "advisory_affected"
    project: Mapped[str] = mapped_column(primary_key=True)
    advisory_id: Mapped[str] = mapped_column(primary_key=True)
    affected: Mapped[bytes]
    """Ranges and versions; see `shared.formats.python.osv.pack_affected`. Compressed (zstd)."""


class AdvisorySnapshot(Base):
    """Writer: index, by the operator's import. Which snapshot is served: the row with the highest number.

    The others say what was served before; rows are few.
    """

    __tablename__ = "advisory_snapshot"
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    imported_at: Mapped[datetime]
    source: Mapped[str]
    """Name of the file or folder."""
    advisories: Mapped[int]
    left_out: Mapped[int]
    """Records that could not be read."""
    newest_at: Mapped[datetime]
    """When the newest of its records was modified."""
