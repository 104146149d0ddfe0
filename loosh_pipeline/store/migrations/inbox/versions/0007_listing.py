"""Challenges are listed by state, and the figures of the last hours are counted in an index."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.drop_index("challenges_received_at", "challenges")
    op.create_index("challenges_received_at", "challenges", ["received_at", "id"])
    scored, of_it = sa.text("scored_at IS NOT NULL"), ["scored_at", "received_at", "id"]
    op.create_index("challenges_scored", "challenges", of_it, sqlite_where=scored, postgresql_where=scored)
    op.create_index("challenges_listed", "challenges", ["state", "received_at", "id"])
