"""Which registry file, and so how many bins, each index is signed with; two indexes for what grows with the catalogue.

Revision: 0007, after 0006. Every index so far is signed with version 1, the only one that could be made.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Apply."""
    op.add_column(
        "tuf_head", sa.Column("registry_version", sa.BigInteger(), nullable=False, server_default=sa.text("1"))
    )
    # A new project is compared with all of its index, and a file's status looks for its refusal: each without a scan.
    op.create_index("ix_project_alike", "project", ["index_id", sa.text("translate(name, 'lio-', '110')")])
    op.create_index("ix_outbox_dead", "outbox", ["index_id"], postgresql_where=sa.text("dead_at is not null"))
