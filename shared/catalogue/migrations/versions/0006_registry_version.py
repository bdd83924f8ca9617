"""Which registry file, and so how many bins, each index is signed with.

Revision: 0006, after 0004. Every index so far is signed with version 1, the only one that could be made.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0004"


def upgrade() -> None:
    """Apply."""
    op.add_column(
        "tuf_head", sa.Column("registry_version", sa.BigInteger(), nullable=False, server_default=sa.text("1"))
    )
