"""Attestations of hosted files, which one a published pointer names, and who a publisher's token was made for.

The new columns of old tables are empty for what is there: no pointer named an attestation, no token had a publisher.

Revision: 0018, after 0017.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0018"
down_revision = "0017"


def _text(name: str, *, null: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.String(), nullable=null)


def _id(name: str, *, null: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.Uuid(), nullable=null)


def _foreign(column: str, target: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [f"{target}.id"], name=op.f(f"fk_attestation_{column}_{target}"))


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "attestation",
        _id("id"),
        _id("index_id"),
        _id("file_id"),
        _text("sha256"),
        sa.Column("length", sa.BigInteger(), nullable=False),
        _text("predicate_type"),
        _text("origin"),
        sa.Column("publisher", postgresql.JSONB(none_as_null=True), nullable=True),
        sa.Column("facts", postgresql.JSONB(), nullable=False),
        sa.Column("named", sa.Boolean(), nullable=False),
        sa.Column("added_at", sa.DateTime(timezone=True), nullable=False),
        _text("added_by", null=True),
        _id("token_id", null=True),
        sa.CheckConstraint("origin in ('pep740', 'bundle')", name=op.f("ck_attestation_origin")),
        _foreign("index_id", "index"),
        _foreign("file_id", "file"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attestation")),
        sa.UniqueConstraint("file_id", "sha256", name=op.f("uq_attestation_file_id_sha256")),
    )
    named = sa.text("named")
    op.create_index("uq_attestation_named", "attestation", ["file_id"], unique=True, postgresql_where=named)
    op.add_column("published_file", _text("attestation_sha256", null=True))
    op.add_column("token", sa.Column("publisher", postgresql.JSONB(none_as_null=True), nullable=True))
