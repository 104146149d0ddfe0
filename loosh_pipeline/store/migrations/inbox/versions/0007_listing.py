"""Challenges are listed by state, and the figures of the last hours are counted in an index."""

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.drop_index("challenges_received_at", "challenges")
    op.create_index("challenges_received_at", "challenges", ["received_at", "id", "scored_at"])
    op.create_index("challenges_listed", "challenges", ["state", "received_at", "id"])
