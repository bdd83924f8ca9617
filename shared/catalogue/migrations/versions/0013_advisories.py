"""Advisories of an imported OSV snapshot.

Revision: 0013, after 0012.
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "advisory",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("modified", _MOMENT, nullable=False),
        sa.Column("withdrawn", _MOMENT, nullable=True),
        sa.Column("document", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_advisory")),
    )
    op.create_table(
        "advisory_affected",
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("advisory_id", sa.String(), nullable=False),
        sa.Column("affected", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("project", "advisory_id", name=op.f("pk_advisory_affected")),
    )
    for table, column in (("advisory", "document"), ("advisory_affected", "affected")):
        op.execute(f"alter table {table} alter column {column} set storage external")
    op.create_table(
        "advisory_snapshot",
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("imported_at", _MOMENT, nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("advisories", sa.BigInteger(), nullable=False),
        sa.Column("left_out", sa.BigInteger(), nullable=False),
        sa.Column("newest_at", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_advisory_snapshot")),
    )
