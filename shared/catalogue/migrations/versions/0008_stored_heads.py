"""How far the object store has come behind each head. Heads of before count as stored.

Revision: 0008, after 0007.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Apply."""
    op.add_column("tuf_head", sa.Column("stored_version", sa.BigInteger(), nullable=False, server_default=sa.text("0")))
    op.execute("update tuf_head set stored_version = timestamp_version")
