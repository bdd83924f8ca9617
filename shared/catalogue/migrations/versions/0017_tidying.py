"""Since when metadata is superseded, and how far the tidying of each index has come.

What is superseded already counts from this migration on: a column's default costs nothing, however many rows there are.

Revision: 0017, after 0016.
"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Apply."""
    op.add_column("tuf_file", sa.Column("superseded_at", _MOMENT, nullable=True, server_default=sa.func.now()))
    op.alter_column("tuf_file", "superseded_at", server_default=None)
    op.create_index(
        "ix_tuf_file_superseded",
        "tuf_file",
        ["index_id", "superseded_at"],
        postgresql_where=sa.text("not current"),
    )
    op.create_index("ix_intent_path", "intent", ["index_id", "path"])
    op.create_index("ix_intent_open", "intent", ["index_id", "version"], postgresql_where=sa.text("serial is null"))
    op.create_table(
        "tidying",
        sa.Column("index_id", sa.Uuid(), nullable=False),
        sa.Column("at", _MOMENT, nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("next_bin", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["index_id"], ["index.id"], name=op.f("fk_tidying_index_id_index")),
        sa.PrimaryKeyConstraint("index_id", name=op.f("pk_tidying")),
    )
