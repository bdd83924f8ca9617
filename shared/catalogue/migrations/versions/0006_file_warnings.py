"""What the uploader of a file was told, kept with it.

Revision: 0006, after 0005.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Apply."""
    op.add_column("file", sa.Column("warnings", JSONB(), server_default=sa.text("'[]'"), nullable=False))
