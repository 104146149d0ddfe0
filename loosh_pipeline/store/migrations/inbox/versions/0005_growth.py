"""Figures that do not read history, which host executes a run, and what several ingresses share."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("challenges", sa.Column("folded_at", TIME))
    op.drop_index("challenges_figures", "challenges")
    unfolded = sa.text("folded_at IS NULL")
    op.create_index(
        "challenges_figures",
        "challenges",
        ["state", "asked", "answered", "elapsed_ms_sum"],
        sqlite_where=unfolded,
        postgresql_where=unfolded,
    )
    failed = sa.text("state = 'failed'")
    op.create_index(
        "challenges_parked", "challenges", ["state_changed_at"], sqlite_where=failed, postgresql_where=failed
    )
    op.create_index("outbox_counts", "outbox", ["kind", "state"])
    op.create_index("submissions_undecided", "submissions", ["netuid", "hotkey", "state"])
    op.create_table(
        "totals",
        sa.Column("state", sa.String(16), primary_key=True),
        sa.Column("challenges", sa.BigInteger, nullable=False),
        sa.Column("asked", sa.BigInteger, nullable=False),
        sa.Column("answered", sa.BigInteger, nullable=False),
        sa.Column("elapsed_ms_sum", sa.Float, nullable=False),
    )
    op.create_table(
        "hosts",
        sa.Column("host", sa.String(128), primary_key=True),
        sa.Column("queue", sa.String(32), primary_key=True),
        sa.Column("incarnation", sa.String(32), nullable=False),
        sa.Column("children", sa.Integer, nullable=False),
        sa.Column("busy", sa.Integer, nullable=False),
        sa.Column("seen_at", TIME, nullable=False),
    )
    op.create_table(
        "held_runs",
        sa.Column("run_id", sa.String(64), primary_key=True),
        sa.Column("host", sa.String(128), nullable=False),
        sa.Column("queue", sa.String(32), nullable=False),
        sa.Column("seen_at", TIME, nullable=False),
        sa.Column("cancel", sa.Boolean, nullable=False),
    )
    op.create_index("held_runs_host", "held_runs", ["host", "queue"])
    op.create_table(
        "ingress_keys",
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("private_pem", sa.LargeBinary, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
    )
