"""Which releases and projects were removed, and which pages are of none any more.

Revision: 0011, after 0010. A release or a project without files is registered unless it was removed: the first answers
with nothing to list, the other is not found. What lost its last file before there was a mark gets one here.
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

_RELEASES = """
update release set removed_at = lost.at, removed_by = lost.by
from (
    select release_id, max(removed_at) as at, max(removed_by) as by from file
    group by release_id having bool_and(removed_at is not null)
) as lost
where release.id = lost.release_id and not exists (
    select from attachment where attachment.release_id = release.id and attachment.removed_at is null
)
"""

_PROJECTS = """
update project set removed_at = lost.at, removed_by = lost.by
from (
    select project_id, max(removed_at) as at, max(removed_by) as by from release
    group by project_id having bool_and(removed_at is not null)
) as lost
where project.id = lost.project_id
"""

_PAGES = """
update page set gone = true from project
where project.id = page.project_id and project.removed_at is not null and page.files = 0
"""


def upgrade() -> None:
    """Apply."""
    for table in ("release", "project"):
        op.add_column(table, sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True))
        op.add_column(table, sa.Column("removed_by", sa.String(), nullable=True))
    op.add_column("page", sa.Column("gone", sa.Boolean(), nullable=False, server_default=sa.text("false")))
    for statement in (_RELEASES, _PROJECTS, _PAGES):
        op.execute(statement)
