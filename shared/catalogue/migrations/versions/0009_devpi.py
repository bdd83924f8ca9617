"""What devpi's API keeps: accounts' own words, where a file came from, documentation and test results.

Revision: 0009, after 0008.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"

_EMPTY_OBJECT, _EMPTY_LIST = sa.text("'{}'"), sa.text("'[]'")


def upgrade() -> None:
    """Apply."""
    op.add_column("account", sa.Column("profile", postgresql.JSONB(), nullable=False, server_default=_EMPTY_OBJECT))
    op.add_column("account", sa.Column("modified_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("file", sa.Column("history", postgresql.JSONB(), nullable=False, server_default=_EMPTY_LIST))
    op.create_table(
        "attachment",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("index_id", sa.Uuid(), nullable=False),
        sa.Column("release_id", sa.Uuid(), nullable=False),
        sa.Column("file_id", sa.Uuid(), nullable=True),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("file_name", sa.String(), nullable=False),
        sa.Column("path_key", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("length", sa.BigInteger(), nullable=False),
        sa.Column("history", postgresql.JSONB(), nullable=False, server_default=_EMPTY_LIST),
        sa.Column("added_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("added_by", sa.String(), nullable=True),
        sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("removed_by", sa.String(), nullable=True),
        sa.CheckConstraint("kind in ('doc', 'test-result')", name=op.f("ck_attachment_kind")),
        sa.CheckConstraint("(kind = 'test-result') = (file_id is not null)", name=op.f("ck_attachment_about")),
        sa.ForeignKeyConstraint(["index_id"], ["index.id"], name=op.f("fk_attachment_index_id_index")),
        sa.ForeignKeyConstraint(["release_id"], ["release.id"], name=op.f("fk_attachment_release_id_release")),
        sa.ForeignKeyConstraint(["file_id"], ["file.id"], name=op.f("fk_attachment_file_id_file")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attachment")),
        sa.UniqueConstraint(
            "index_id", "path_key", "file_name", name=op.f("uq_attachment_index_id_path_key_file_name")
        ),
    )
    op.create_index("ix_attachment_release", "attachment", ["release_id", "kind"])
    op.create_index("ix_attachment_file", "attachment", ["file_id"], postgresql_where=sa.text("file_id is not null"))
