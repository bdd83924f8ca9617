"""The audit is insert only, chained row by row, and says where a person asked from.

Revision: 0016, after 0015.
"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"

_MOMENT = sa.DateTime(timezone=True)

_REFUSE = """
create function refuse_change() returns trigger language plpgsql as $$
begin
  raise exception 'rows of % are never changed or deleted (% refused)', tg_table_name, tg_op
    using errcode = 'restrict_violation',
    hint = 'see docs/audit.md';
end
$$
"""


def upgrade() -> None:
    """Apply."""
    op.add_column("audit", sa.Column("source", sa.String(), nullable=True))
    op.create_table(
        "audit_chain",
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("audit_id", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["audit_id"], ["audit.id"], name=op.f("fk_audit_chain_audit_id_audit")),
        sa.PrimaryKeyConstraint("position", name=op.f("pk_audit_chain")),
        sa.UniqueConstraint("audit_id", name=op.f("uq_audit_chain_audit_id")),
    )
    op.create_table(
        "audit_head",
        sa.Column("index_id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("at", _MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["index_id"], ["index.id"], name=op.f("fk_audit_head_index_id_index")),
        sa.PrimaryKeyConstraint("index_id", "version", name=op.f("pk_audit_head")),
    )
    op.create_index("ix_audit_head_position", "audit_head", ["position"])
    op.execute(_REFUSE)
    for table in ("audit", "audit_chain", "audit_head"):
        op.execute(
            f"create trigger {table}_insert_only before update or delete or truncate on {table} "
            "for each statement execute function refuse_change()"
        )
