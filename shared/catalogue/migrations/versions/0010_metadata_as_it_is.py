"""Signed metadata is stored without compression: that took longer than its signatures, in the commit that shows a file.

Revision: 0010, after 0009. Rows that are there stay as they are.
"""

from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Apply."""
    op.execute("alter table tuf_file alter column content set storage external")
