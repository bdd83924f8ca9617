"""Ceremonies: signing events, their signatures, who holds which key; and which shared files a head names.

Revision: 0014, after 0013.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0014"
down_revision = "0013"

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "signing_event",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("payload_sha256", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("proposed_by", sa.String(), nullable=False),
        sa.Column("proposed_at", _MOMENT, nullable=False),
        sa.Column("expires_at", _MOMENT, nullable=False),
        sa.Column("outcome", sa.String(), nullable=True),
        sa.Column("closed_at", _MOMENT, nullable=True),
        sa.Column("closed_by", sa.String(), nullable=True),
        sa.Column("closed_reason", sa.String(), nullable=True),
        sa.CheckConstraint("outcome in ('final', 'withdrawn', 'expired')", name=op.f("ck_signing_event_outcome")),
        sa.CheckConstraint("(outcome is null) = (closed_at is null)", name=op.f("ck_signing_event_closed")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_signing_event")),
    )
    op.create_index(
        "uq_signing_event_open", "signing_event", ["role"], unique=True, postgresql_where=sa.text("outcome is null")
    )
    op.create_index(
        "uq_signing_event_final",
        "signing_event",
        ["role", "version"],
        unique=True,
        postgresql_where=sa.text("outcome = 'final'"),
    )
    op.create_table(
        "event_signature",
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("keyid", sa.String(), nullable=False),
        sa.Column("signature", sa.String(), nullable=False),
        sa.Column("submitted_by", sa.String(), nullable=False),
        sa.Column("submitted_at", _MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["event_id"], ["signing_event.id"], name=op.f("fk_event_signature_event_id_signing_event")
        ),
        sa.PrimaryKeyConstraint("event_id", "keyid", name=op.f("pk_event_signature")),
    )
    op.create_table(
        "key_holder",
        sa.Column("keyid", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("public_key", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("named_by", sa.String(), nullable=False),
        sa.Column("named_at", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("keyid", name=op.f("pk_key_holder")),
    )
    op.create_table(
        "trust_target",
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("kept_at", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_trust_target")),
    )
    for column in ("targets_version", "trust_version"):
        op.add_column("tuf_head", sa.Column(column, sa.BigInteger(), server_default=sa.text("1"), nullable=False))
