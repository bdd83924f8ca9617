"""Tables written by the index service."""

from __future__ import annotations

import uuid

from sqlalchemy import (
    ForeignKey,
)
from sqlalchemy.orm import Mapped, mapped_column

from shared.catalogue.tables.base import Base


class Laid(Base):
    """Writer: index. Up to which serial the static pages of an index were laid; pages of newer serials are still
    due."""

    __tablename__ = "laid"
    index_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("index.id"), primary_key=True)
    serial: Mapped[int]
