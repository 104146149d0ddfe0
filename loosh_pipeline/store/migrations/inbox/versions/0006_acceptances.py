"""The chain of accepted challenges, and which of them are canaries."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("challenges", sa.Column("seq", sa.BigInteger))
    op.add_column("challenges", sa.Column("request_sha256", sa.String(64)))
    op.add_column("challenges", sa.Column("commitment", sa.String(64)))
    op.add_column("challenges", sa.Column("salt", sa.String(32)))
    op.add_column("challenges", sa.Column("link", sa.String(64)))
    chained = sa.text("seq IS NOT NULL")
    op.create_index(
        "challenges_chain", "challenges", ["seq"], unique=True, sqlite_where=chained, postgresql_where=chained
    )
    unlinked = sa.text("seq IS NULL")
    op.create_index(
        "challenges_unlinked", "challenges", ["received_at"], sqlite_where=unlinked, postgresql_where=unlinked
    )
    op.create_table(
        "canaries",
        sa.Column("challenge_id", sa.String(128), sa.ForeignKey("challenges.id"), primary_key=True),
        sa.Column("accepted", sa.JSON, nullable=False),
        sa.Column("question", sa.String(64), nullable=False),
        sa.Column("salt", sa.String(32), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("canaries_created_at", "canaries", ["created_at"])
    op.create_index("canaries_question", "canaries", ["question"])
