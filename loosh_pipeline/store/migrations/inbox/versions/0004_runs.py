"""Which run asks the miners of a challenge, who is next, and which challenges are still to be drawn and told of."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("challenges", sa.Column("run_id", sa.String(64)))
    op.add_column("challenges", sa.Column("to_present_since", sa.DateTime(timezone=True)))
    _index("challenges_to_present", ["received_at"], "to_present_since IS NOT NULL")
    _index("challenges_queue", ["received_at", "id", "next_run_at", "state"], "next_run_at IS NOT NULL")


def _index(name: str, columns: list[str], where: str) -> None:
    op.create_index(name, "challenges", columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))
