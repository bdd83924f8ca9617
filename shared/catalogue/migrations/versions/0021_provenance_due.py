"""Which files got attestations since documents about them were laid, and indexes by which publications are found.

What was laid already is told by the rows of `laid_provenance` for the last time: other attested files are marked. That
table stays until no process is left that writes it.

Revision: 0021, after 0020.
"""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "provenance_due",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("file_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("fk_provenance_due_project_id_project")),
        sa.ForeignKeyConstraint(["file_id"], ["file.id"], name=op.f("fk_provenance_due_file_id_file")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_provenance_due")),
    )
    op.create_index("ix_provenance_due_project", "provenance_due", ["project_id"])
    is_open, closed = sa.text("to_serial is null"), sa.text("to_serial is not null")
    op.create_index("ix_published_file_from", "published_file", ["project_id", "from_serial"], postgresql_where=is_open)
    op.create_index("ix_published_file_to", "published_file", ["project_id", "to_serial"], postgresql_where=closed)
    # The first of them answers whatever this one did.
    op.drop_index("ix_published_file_project", "published_file", postgresql_where=is_open)
    op.execute(
        "insert into provenance_due (project_id, file_id) select file.project_id, file.id from file "
        "join (select file_id, count(*) as count from attestation group by file_id) as kept on kept.file_id = file.id "
        "where not exists (select from laid_provenance as laid join project on project.id = file.project_id "
        "where laid.index_id = file.index_id and laid.project_name = project.name "
        "and laid.file_name = file.file_name and laid.file_id = file.id and laid.attestations = kept.count)"
    )
