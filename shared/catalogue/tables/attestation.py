"""The table of attestations, written by upload: what was verified about files, and where its bytes are."""

from __future__ import annotations

import uuid
from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Identity, Index, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from shared.catalogue.tables.base import Base, Json


class Attestation(Base):
    """Writer: upload. A Sigstore bundle about one file, verified before it was kept; only `named` changes.

    It belongs to its file: with that it is removed or replaced, and stays as a row. `sha256` and `length` are of the
    bundle's bytes, which lie in the object store like files do, under the file's name and `.sigstore.json`. `facts` is
    what verification found (`countermark.core.attestations.facts`), evidence of nothing by itself: whoever signs or
    serves verifies the bytes again. `publisher` is what a PEP 740 object calls so, with the claims of its certificate.
    `named`: the one build provenance that the file's pointer is to name.
    """

    __tablename__ = "attestation"
    __table_args__ = (
        CheckConstraint("origin in ('pep740', 'bundle')", name="origin"),
        UniqueConstraint("file_id", "sha256"),
        Index("uq_attestation_named", "file_id", unique=True, postgresql_where=text("named")),
    )
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    index_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("index.id"))
    file_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("file.id"))
    sha256: Mapped[str]
    length: Mapped[int]
    predicate_type: Mapped[str]
    origin: Mapped[str]
    publisher: Mapped[Json | None] = mapped_column(JSONB(none_as_null=True))
    facts: Mapped[Json]
    named: Mapped[bool]
    added_at: Mapped[datetime]
    added_by: Mapped[str | None]
    token_id: Mapped[uuid.UUID | None]


class ProvenanceDue(Base):
    """Writers: upload inserts with each attestation, index what it could not lay; index deletes what it laid. A file
    of which the static documents about attestations are to be looked at with the next publication of its project."""

    __tablename__ = "provenance_due"
    __table_args__ = (Index("ix_provenance_due_project", "project_id"),)
    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    project_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("project.id"))
    file_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("file.id"))
