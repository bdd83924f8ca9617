"""One release for equal versions: 1.0 and 1.0.0.

Where both are there already, both stay, since what was signed of their files says so; the older one gets the key, and
with it what will be uploaded under a third spelling.

Revision: 0005, after 0004.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

# A normalised version without the zeros at the end of its release segment, as `packaging.utils.canonicalize_version`
# has it: epoch and release without those zeros, then the rest as it is.
_KEYS = r"""
    update release set version_key = keyed.key
    from (
        select release.id, keys.key,
            row_number() over (
                partition by release.project_id, keys.key order by release.created_at, release.id
            ) as place
        from release
        join project on project.id = release.project_id and project.format = 'python'
        cross join lateral (
            select substring(release.version from '^(?:[0-9]+!)?[0-9]+(?:\.[0-9]+)*') as segment
        ) as segments
        cross join lateral (
            select regexp_replace(segment, '(?:\.0)+$', '') || substr(release.version, length(segment) + 1) as key
        ) as keys
    ) as keyed
    where keyed.id = release.id and keyed.place = 1
"""


def upgrade() -> None:
    """Apply."""
    op.add_column("release", sa.Column("version_key", sa.String(), nullable=True))
    op.execute(sa.text(_KEYS))
    op.create_unique_constraint(op.f("uq_release_project_id_version_key"), "release", ["project_id", "version_key"])
