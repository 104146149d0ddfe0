"""One writer of weights at a time, and a record of what it signed."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

UTC_DATETIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "leases",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("holder", sa.String(128), nullable=False),
        sa.Column("fence", sa.BigInteger, nullable=False),
        sa.Column("expires_at", UTC_DATETIME, nullable=False),
    )
    op.create_table(
        "submissions",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("netuid", sa.Integer, nullable=False),
        sa.Column("hotkey", sa.String(64), nullable=False),
        sa.Column("genesis_hash", sa.String(66)),
        sa.Column("block", sa.BigInteger, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("plan", sa.JSON, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("commit_reveal", sa.Boolean, nullable=False),
        sa.Column("spec_version", sa.Integer, nullable=False),
        sa.Column("reveal_period_epochs", sa.BigInteger, nullable=False),
        sa.Column("extrinsic_hash", sa.String(66)),
        sa.Column("dies_at", sa.BigInteger),
        sa.Column("included_block", sa.BigInteger),
        sa.Column("reveal_round", sa.BigInteger),
        sa.Column("reveal_epoch", sa.BigInteger),
        sa.Column("error_code", sa.String(64)),
        sa.Column("composed_here", sa.Text),
        sa.Column("fence", sa.BigInteger, nullable=False),
        sa.Column("created_at", UTC_DATETIME, nullable=False),
        sa.Column("changed_at", UTC_DATETIME, nullable=False),
        sa.Column("seen_block", sa.BigInteger, nullable=False),
        sa.Column("seen_at", UTC_DATETIME, nullable=False),
    )
    op.create_index("submissions_of", "submissions", ["netuid", "hotkey", "id"])
