"""Inbox, outbox, miners and flags."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

UTC_DATETIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "challenges",
        sa.Column("id", sa.String(128), primary_key=True),
        sa.Column("request", sa.JSON, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("received_at", UTC_DATETIME, nullable=False),
        sa.Column("state_changed_at", UTC_DATETIME, nullable=False),
        sa.Column("next_run_at", UTC_DATETIME),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("collected_at", UTC_DATETIME),
        sa.Column("scored_at", UTC_DATETIME),
        sa.Column("submitted_at", UTC_DATETIME),
        sa.Column("asked", sa.Integer, nullable=False),
        sa.Column("answered", sa.Integer, nullable=False),
        sa.Column("elapsed_ms_sum", sa.Float, nullable=False),
        sa.Column("failure", sa.Text),
    )
    op.create_index("challenges_state", "challenges", ["state", "next_run_at"])
    op.create_index("challenges_received_at", "challenges", ["received_at"])
    op.create_index("challenges_figures", "challenges", ["state", "asked", "answered", "elapsed_ms_sum"])
    op.create_table(
        "outbox",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("challenge_id", sa.String(128), sa.ForeignKey("challenges.id"), nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("created_at", UTC_DATETIME, nullable=False),
        sa.Column("next_attempt_at", UTC_DATETIME, nullable=False),
        sa.Column("delivered_at", UTC_DATETIME),
        sa.Column("detail", sa.Text),
        sa.UniqueConstraint("kind", "challenge_id", name="outbox_once"),
    )
    op.create_index("outbox_due", "outbox", ["state", "next_attempt_at"])
    op.create_table(
        "miners",
        sa.Column("hotkey", sa.String(64), primary_key=True),
        sa.Column("coldkey", sa.String(64), nullable=False),
        sa.Column("uid", sa.Integer, nullable=False),
        sa.Column("ip", sa.String(64), nullable=False),
        sa.Column("port", sa.Integer, nullable=False),
        sa.Column("asked", sa.Integer, nullable=False),
        sa.Column("answered", sa.Integer, nullable=False),
        sa.Column("last_outcome", sa.String(32), nullable=False),
        sa.Column("last_asked_at", UTC_DATETIME, nullable=False),
        sa.Column("last_answered_at", UTC_DATETIME),
    )
    op.create_table(
        "flags",
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("value", sa.String(64), nullable=False),
        sa.Column("changed_at", UTC_DATETIME, nullable=False),
    )
