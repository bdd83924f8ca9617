"""How often each file was downloaded.

Revision: 0003, after 0001.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0001"


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "download_count",
        sa.Column("file_id", sa.Uuid(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["file_id"], ["file.id"], name=op.f("fk_download_count_file_id_file")),
        sa.PrimaryKeyConstraint("file_id", "day", name=op.f("pk_download_count")),
    )
