"""What mirrors keep: pages and JSON documents of their upstreams, fetched bytes, who fetches now, and exemptions.

Revision: 0012, after 0011.
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "mirror_page",
        sa.Column("index_id", sa.Uuid(), nullable=False),
        sa.Column("life", sa.BigInteger(), nullable=False),
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("document", sa.LargeBinary(), nullable=True),
        sa.Column("origins", sa.LargeBinary(), nullable=True),
        sa.Column("seen", sa.LargeBinary(), nullable=True),
        sa.Column("newest_at", _MOMENT, nullable=True),
        sa.Column("oldest_at", _MOMENT, nullable=True),
        sa.Column("upstream", sa.String(), nullable=False),
        sa.Column("serial", sa.BigInteger(), nullable=True),
        sa.Column("etag", sa.String(), nullable=True),
        sa.Column("changed_at", _MOMENT, nullable=False),
        sa.Column("checked_at", _MOMENT, nullable=False),
        sa.Column("fresh_until", _MOMENT, nullable=False),
        sa.Column("failing_since", _MOMENT, nullable=True),
        sa.Column("failure", sa.String(), nullable=True),
        sa.Column("retry_at", _MOMENT, nullable=True),
        sa.ForeignKeyConstraint(["index_id"], ["index.id"], name=op.f("fk_mirror_page_index_id_index")),
        sa.PrimaryKeyConstraint("index_id", "life", "project", name=op.f("pk_mirror_page")),
    )
    for column in ("document", "origins", "seen"):
        op.execute(f"alter table mirror_page alter column {column} set storage external")
    op.create_table(
        "mirror_json",
        sa.Column("index_id", sa.Uuid(), nullable=False),
        sa.Column("life", sa.BigInteger(), nullable=False),
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("facts", sa.LargeBinary(), nullable=True),
        sa.Column("upstream", sa.String(), nullable=False),
        sa.Column("serial", sa.BigInteger(), nullable=True),
        sa.Column("etag", sa.String(), nullable=True),
        sa.Column("checked_at", _MOMENT, nullable=False),
        sa.Column("fresh_until", _MOMENT, nullable=False),
        sa.Column("failing_since", _MOMENT, nullable=True),
        sa.Column("failure", sa.String(), nullable=True),
        sa.Column("retry_at", _MOMENT, nullable=True),
        sa.ForeignKeyConstraint(["index_id"], ["index.id"], name=op.f("fk_mirror_json_index_id_index")),
        sa.PrimaryKeyConstraint("index_id", "life", "project", "version", name=op.f("pk_mirror_json")),
    )
    op.execute("alter table mirror_json alter column facts set storage external")
    op.create_table(
        "mirror_file",
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("length", sa.BigInteger(), nullable=False),
        sa.Column("stored_at", _MOMENT, nullable=False),
        sa.Column("used_at", _MOMENT, nullable=False),
        sa.Column("evicting_at", _MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_mirror_file")),
    )
    op.create_index("ix_mirror_file_used", "mirror_file", ["used_at"])
    op.create_table(
        "mirror_fault",
        sa.Column("index_id", sa.Uuid(), nullable=False),
        sa.Column("life", sa.BigInteger(), nullable=False),
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("why", sa.String(), nullable=False),
        sa.Column("until", _MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["index_id"], ["index.id"], name=op.f("fk_mirror_fault_index_id_index")),
        sa.PrimaryKeyConstraint("index_id", "life", "project", "sha256", name=op.f("pk_mirror_fault")),
    )
    op.create_table(
        "fetch",
        sa.Column("what", sa.String(), nullable=False),
        sa.Column("holder", sa.Uuid(), nullable=False),
        sa.Column("until", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("what", name=op.f("pk_fetch")),
        prefixes=["UNLOGGED"],
    )
    op.create_table(
        "policy_exemption",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("index_id", sa.Uuid(), nullable=False),
        sa.Column("life", sa.BigInteger(), nullable=False),
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=True),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("until", _MOMENT, nullable=False),
        sa.Column("revoked_at", _MOMENT, nullable=True),
        sa.Column("revoked_by", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(["index_id"], ["index.id"], name=op.f("fk_policy_exemption_index_id_index")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_policy_exemption")),
    )
    op.create_index(
        "ix_policy_exemption_index_id",
        "policy_exemption",
        ["index_id"],
        postgresql_where=sa.text("revoked_at is null"),
    )
