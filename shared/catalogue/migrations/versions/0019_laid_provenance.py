"""Of which attestations the static documents of a file's name were laid.

Nothing is known of what is there: those documents are laid with the next publication of their project, or by a rebuild.

Revision: 0019, after 0018.
"""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "laid_provenance",
        sa.Column("index_id", sa.Uuid(), nullable=False),
        sa.Column("project_name", sa.String(), nullable=False),
        sa.Column("file_name", sa.String(), nullable=False),
        sa.Column("serial", sa.BigInteger(), nullable=False),
        sa.Column("file_id", sa.Uuid(), nullable=True),
        sa.Column("attestations", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["index_id"], ["index.id"], name=op.f("fk_laid_provenance_index_id_index")),
        sa.ForeignKeyConstraint(["file_id"], ["file.id"], name=op.f("fk_laid_provenance_file_id_file")),
        sa.PrimaryKeyConstraint("index_id", "project_name", "file_name", name=op.f("pk_laid_provenance")),
    )
