"""Release approval: people's keys, what is demanded, what waits, what was approved.

Revision: 0015, after 0014.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0015"
down_revision = "0014"

_MOMENT = sa.DateTime(timezone=True)


def _text(name: str, *, null: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.String(), nullable=null)


def _id(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.Uuid(), nullable=False)


def _foreign(table: str, column: str, target: str, key: str = "id") -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [f"{target}.{key}"], name=op.f(f"fk_{table}_{column}_{target}"))


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "approval_key",
        _text("keyid"),
        _text("account"),
        _text("kind"),
        _text("public_key"),
        _text("label"),
        sa.Column("registered_at", _MOMENT, nullable=False),
        sa.Column("revoked_at", _MOMENT, nullable=True),
        _text("revoked_by", null=True),
        _foreign("approval_key", "account", "account", "name"),
        sa.PrimaryKeyConstraint("keyid", name=op.f("pk_approval_key")),
    )
    op.create_index("ix_approval_key_account", "approval_key", ["account"])
    op.create_table(
        "approval_demand",
        _id("id"),
        _id("index_id"),
        sa.Column("life", sa.BigInteger(), nullable=False),
        _text("project"),
        sa.Column("needed", sa.BigInteger(), nullable=False),
        sa.Column("people", postgresql.JSONB(none_as_null=True), nullable=True),
        sa.Column("own", sa.Boolean(), nullable=False),
        sa.Column("set_at", _MOMENT, nullable=False),
        _text("set_by"),
        sa.Column("lifted_at", _MOMENT, nullable=True),
        _text("lifted_by", null=True),
        sa.CheckConstraint("needed >= 1", name=op.f("ck_approval_demand_needed")),
        _foreign("approval_demand", "index_id", "index"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_approval_demand")),
    )
    living = sa.text("lifted_at is null")
    op.create_index(
        "uq_approval_demand_living",
        "approval_demand",
        ["index_id", "life", "project"],
        unique=True,
        postgresql_where=living,
    )
    op.create_table(
        "approval_request",
        _id("file_id"),
        _id("index_id"),
        _id("project_id"),
        _id("group_id"),
        sa.Column("round", sa.BigInteger(), nullable=False),
        _text("state"),
        sa.Column("needed", sa.BigInteger(), nullable=False),
        sa.Column("people", postgresql.JSONB(none_as_null=True), nullable=True),
        sa.Column("own", sa.Boolean(), nullable=False),
        sa.Column("pointer", sa.LargeBinary(), nullable=False),
        _text("pointer_sha256"),
        _text("asked_by"),
        sa.Column("opened_at", _MOMENT, nullable=False),
        sa.Column("expires_at", _MOMENT, nullable=False),
        sa.Column("decided_at", _MOMENT, nullable=True),
        _text("decided_by", null=True),
        sa.CheckConstraint("state in ('open', 'approved', 'withdrawn')", name=op.f("ck_approval_request_state")),
        _foreign("approval_request", "file_id", "file"),
        _foreign("approval_request", "index_id", "index"),
        _foreign("approval_request", "project_id", "project"),
        sa.PrimaryKeyConstraint("file_id", name=op.f("pk_approval_request")),
    )
    op.create_index("ix_approval_request_index", "approval_request", ["index_id", "state", "file_id"])
    op.create_index("ix_approval_request_group", "approval_request", ["group_id"])
    waiting = sa.text("state = 'open'")
    op.create_index("ix_approval_request_project", "approval_request", ["project_id"], postgresql_where=waiting)
    op.create_table(
        "approval",
        _id("file_id"),
        sa.Column("round", sa.BigInteger(), nullable=False),
        _text("account"),
        _text("keyid"),
        _text("signature"),
        sa.Column("given_at", _MOMENT, nullable=False),
        _foreign("approval", "file_id", "approval_request", "file_id"),
        _foreign("approval", "account", "account", "name"),
        _foreign("approval", "keyid", "approval_key", "keyid"),
        sa.PrimaryKeyConstraint("file_id", "round", "account", name=op.f("pk_approval")),
    )
