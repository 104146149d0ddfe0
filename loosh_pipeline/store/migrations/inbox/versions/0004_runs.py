"""Which run asks the miners of a challenge, and which challenges are still to be drawn and told of."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("challenges", sa.Column("run_id", sa.String(64)))
    op.add_column("challenges", sa.Column("to_present_since", sa.DateTime(timezone=True)))
    waits = sa.text("to_present_since IS NOT NULL")
    op.create_index("challenges_to_present", "challenges", ["received_at"], sqlite_where=waits, postgresql_where=waits)
