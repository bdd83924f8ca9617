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
