"""Tables written by the download service."""

from __future__ import annotations

import datetime
import uuid

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from shared.catalogue.tables.base import Base


class DownloadCount(Base):
    """Writer: download. How often a file was downloaded on a day (UTC)."""

    __tablename__ = "download_count"
    file_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("file.id"), primary_key=True)
    day: Mapped[datetime.date] = mapped_column(primary_key=True)
    count: Mapped[int]
