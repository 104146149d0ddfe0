"""Deliveries that concern no challenge, nonces that are used once across restarts, sessions that survive one."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

UTC_DATETIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    with op.batch_alter_table("outbox") as outbox:
        outbox.add_column(sa.Column("key", sa.String(192)))
        outbox.alter_column("challenge_id", existing_type=sa.String(128), nullable=True)
        outbox.drop_constraint("outbox_once", type_="unique")
    op.execute("UPDATE outbox SET key = challenge_id")
    with op.batch_alter_table("outbox") as outbox:
        outbox.alter_column("key", existing_type=sa.String(192), nullable=False)
        outbox.create_unique_constraint("outbox_once", ["kind", "key"])
    op.create_table(
        "nonces",
        sa.Column("hotkey", sa.String(64), primary_key=True),
        sa.Column("nonce", sa.String(128), primary_key=True),
        sa.Column("alive_until", UTC_DATETIME, nullable=False),
    )
    op.create_index("nonces_alive_until", "nonces", ["alive_until"])
    op.create_table(
        "sessions",
        sa.Column("role", sa.String(8), primary_key=True),
        sa.Column("peer", sa.String(256), primary_key=True),
        sa.Column("uuid", sa.String(128), primary_key=True),
        sa.Column("symmetric_key", sa.LargeBinary, nullable=False),
        sa.Column("expires_at", UTC_DATETIME, nullable=False),
    )
    op.create_index("sessions_expires_at", "sessions", ["expires_at"])
