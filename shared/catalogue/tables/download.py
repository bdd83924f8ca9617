"""Tables written by the download service."""

from __future__ import annotations

import datetime
import uuid

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from shared.catalogue.tables.base import Base


class DownloadCount(Base):
    """Writer: download. How often a file was downloaded on a day (UTC)."""

    __tablename__ = "download_count"
    file_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("file.id"), primary_key=True)
    day: Mapped[datetime.date] = mapped_column(primary_key=True)
    count: Mapped[int]


class MirrorFile(Base):
    """Writer: download. Bytes of a mirror's upstream that are kept in the object store, under a key of their own.

    Rows go with their objects: those used longest ago first, when there are too many bytes.
    """

    __tablename__ = "mirror_file"
    __table_args__ = (Index("ix_mirror_file_used", "used_at"),)
    key: Mapped[str] = mapped_column(primary_key=True)
    sha256: Mapped[str]
    length: Mapped[int]
    stored_at: Mapped[datetime.datetime]
    used_at: Mapped[datetime.datetime]
    evicting_at: Mapped[datetime.datetime | None]
    """Since when its object is being removed: it is not served from then on."""


class MirrorFault(Base):
    """Writer: download. A core metadata file that a page announces and the upstream does not have: until then the page
    does not announce it."""

    __tablename__ = "mirror_fault"
    index_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("index.id"), primary_key=True)
    life: Mapped[int] = mapped_column(primary_key=True)
    project: Mapped[str] = mapped_column(primary_key=True)
    sha256: Mapped[str] = mapped_column(primary_key=True)
    """As the page announces it: when that changes, the upstream gets another chance."""
    why: Mapped[str]
    until: Mapped[datetime.datetime]


class Fetch(Base):
    """Writers: index and download. Who is fetching something from an upstream now; the others wait for what it leaves.

    A holder that went silent keeps others out until `until`. A crash of Postgres may end all turns: then
    something is asked twice. So the rows cost no writing to its log.
    """

    __tablename__ = "fetch"
    __table_args__ = ({"prefixes": ["UNLOGGED"]},)
    what: Mapped[str] = mapped_column(primary_key=True)
    holder: Mapped[uuid.UUID]
    until: Mapped[datetime.datetime]
