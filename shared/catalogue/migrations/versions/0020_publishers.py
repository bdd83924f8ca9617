"""Trusted publishers, and the identity tokens that were exchanged already.

Revision: 0020, after 0019.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0020"
down_revision = "0019"

_MOMENT = sa.DateTime(timezone=True)


def _text(name: str, *, null: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.String(), nullable=null)


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "publisher",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("index_id", sa.Uuid(), nullable=False),
        sa.Column("life", sa.BigInteger(), nullable=False),
        _text("project"),
        _text("kind"),
        _text("issuer"),
        _text("subject"),
        sa.Column("identity", postgresql.JSONB(), nullable=False),
        sa.Column("pinned", postgresql.JSONB(), nullable=False),
        sa.Column("pending_until", _MOMENT, nullable=True),
        sa.Column("created_at", _MOMENT, nullable=False),
        _text("account"),
        sa.Column("used_at", _MOMENT, nullable=True),
        sa.Column("removed_at", _MOMENT, nullable=True),
        _text("removed_by", null=True),
        sa.CheckConstraint("kind in ('github', 'gitlab', 'generic')", name=op.f("ck_publisher_kind")),
        sa.ForeignKeyConstraint(["index_id"], ["index.id"], name=op.f("fk_publisher_index_id_index")),
        sa.ForeignKeyConstraint(["account"], ["account.name"], name=op.f("fk_publisher_account_account")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_publisher")),
    )
    living = sa.text("removed_at is null")
    op.create_index("ix_publisher_subject", "publisher", ["issuer", "subject"], postgresql_where=living)
    op.create_index(
        "uq_publisher_living",
        "publisher",
        ["index_id", "life", "project", "kind", "issuer", "identity"],
        unique=True,
        postgresql_where=living,
    )
    op.create_table(
        "used_identity",
        _text("sha256"),
        sa.Column("used_at", _MOMENT, nullable=False),
        sa.Column("forget_at", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_used_identity")),
    )
    op.create_index("ix_used_identity_forget_at", "used_identity", ["forget_at"])
