"""The relational tables: inbox, outbox, miners and flags in one database, users in another.

Every time is an aware UTC datetime; a naive one is refused on the way in.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC datetime, also on SQLite, which knows no time zones."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value!r} is naive; pass an aware UTC datetime")
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


inbox_metadata = MetaData()
users_metadata = MetaData()

challenges = Table(
    "challenges",
    inbox_metadata,
    Column("id", String(128), primary_key=True),
    Column("request", JSON, nullable=False),
    Column("state", String(16), nullable=False),
    Column("received_at", UtcDateTime, nullable=False),
    Column("state_changed_at", UtcDateTime, nullable=False),
    # When a run is to be requested; null while one is in flight, or none is needed any more.
    Column("next_run_at", UtcDateTime),
    Column("attempts", Integer, nullable=False),
    Column("collected_at", UtcDateTime),
    Column("scored_at", UtcDateTime),
    Column("submitted_at", UtcDateTime),
    Column("asked", Integer, nullable=False),
    Column("answered", Integer, nullable=False),
    Column("elapsed_ms_sum", Float, nullable=False),
    Column("failure", Text),
    # The run that asks its miners, or did so last in this attempt; null until one begins.
    Column("run_id", String(64)),
    # Since when its picture and its narrative are wanted of the job that makes many; null when they are not.
    Column("to_present_since", UtcDateTime),
    # Since when it stands in `totals` and not for itself in the figures; null while it may still change.
    Column("folded_at", UtcDateTime),
    # Its place in the chain of all that were accepted, the digest of its request, what commits to its being pushed or a
    # canary, the salt by which that is hidden, and the digest of its link, which holds the one before; null of what was
    # accepted before there was a chain. See store/accepting.py.
    Column("seq", BigInteger),
    Column("request_sha256", String(64)),
    Column("commitment", String(64)),
    Column("salt", String(32)),
    Column("link", String(64)),
    Index("challenges_state", "state", "next_run_at"),
    # Holds the order of the list.
    Index("challenges_received_at", "received_at", "id"),
    # Holds how long each took that got scores.
    Index(
        "challenges_scored",
        *("scored_at", "received_at", "id"),
        sqlite_where=text("scored_at IS NOT NULL"),
        postgresql_where=text("scored_at IS NOT NULL"),
    ),
    Index("challenges_listed", "state", "received_at", "id"),
    # What was given up, by when: few of all.
    Index(
        "challenges_parked",
        "state_changed_at",
        sqlite_where=text("state = 'failed'"),
        postgresql_where=text("state = 'failed'"),
    ),
    # Holds all that the figures are made of, beside `totals`, so that they read neither requests nor history.
    Index(
        "challenges_figures",
        *("state", "asked", "answered", "elapsed_ms_sum"),
        sqlite_where=text("folded_at IS NULL"),
        postgresql_where=text("folded_at IS NULL"),
    ),
    # Holds all that decides who is next: the queue may be long, and its requests large.
    Index(
        "challenges_queue",
        *("received_at", "id", "next_run_at", "state"),
        sqlite_where=text("next_run_at IS NOT NULL"),
        postgresql_where=text("next_run_at IS NOT NULL"),
    ),
    Index(
        "challenges_to_present",
        "received_at",
        sqlite_where=text("to_present_since IS NOT NULL"),
        postgresql_where=text("to_present_since IS NOT NULL"),
    ),
    # Of two writers that went on from the same link, one fails: the chain cannot fork.
    Index(
        "challenges_chain",
        "seq",
        unique=True,
        sqlite_where=text("seq IS NOT NULL"),
        postgresql_where=text("seq IS NOT NULL"),
    ),
    # What came after the chain began and is no part of it: none, if all goes well.
    Index(
        "challenges_unlinked",
        "received_at",
        sqlite_where=text("seq IS NULL"),
        postgresql_where=text("seq IS NULL"),
    ),
)

# Which challenges the validator put in itself, to see who answers rightly: nothing else tells them from others.
canaries = Table(
    "canaries",
    inbox_metadata,
    Column("challenge_id", String(128), ForeignKey("challenges.id"), primary_key=True),
    # What is taken for a right answer, as the file of canaries said then.
    Column("accepted", JSON, nullable=False),
    # Digest of the question, by which the next one is chosen among those asked least.
    Column("question", String(64), nullable=False),
    # Hides both in the digest that the chain commits to: audit/canonical.py.
    Column("salt", String(32), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Index("canaries_created_at", "created_at"),
    Index("canaries_question", "question"),
)

# What challenges that do not change any more came to, by the state they ended in: figures need not count them again.
totals = Table(
    "totals",
    inbox_metadata,
    Column("state", String(16), primary_key=True),
    Column("challenges", BigInteger, nullable=False),
    Column("asked", BigInteger, nullable=False),
    Column("answered", BigInteger, nullable=False),
    Column("elapsed_ms_sum", Float, nullable=False),
)

# Workers as they last said of themselves: `host` is one data directory on one machine.
hosts = Table(
    "hosts",
    inbox_metadata,
    Column("host", String(128), primary_key=True),
    Column("queue", String(32), primary_key=True),
    # Of the process that speaks: two under one name are a copied data directory.
    Column("incarnation", String(32), nullable=False),
    Column("children", Integer, nullable=False),
    Column("busy", Integer, nullable=False),
    Column("seen_at", UtcDateTime, nullable=False),
)

# Which host executes a run, as it last said; `cancel` asks it to interrupt the run.
held_runs = Table(
    "held_runs",
    inbox_metadata,
    Column("run_id", String(64), primary_key=True),
    Column("host", String(128), nullable=False),
    Column("queue", String(32), nullable=False),
    Column("seen_at", UtcDateTime, nullable=False),
    Column("cancel", Boolean, nullable=False),
    Index("held_runs_host", "host", "queue"),
)

outbox = Table(
    "outbox",
    inbox_metadata,
    Column("id", Integer, primary_key=True),
    Column("kind", String(32), nullable=False),
    # What makes a delivery one: the id of its challenge, or of what else it reports.
    Column("key", String(192), nullable=False),
    Column("challenge_id", String(128), ForeignKey("challenges.id")),
    Column("payload", LargeBinary, nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    # When to try next; moved ahead while a delivery is under way, so that a killed one is tried again. Of what was
    # delivered: from when on it need not be kept.
    Column("next_attempt_at", UtcDateTime, nullable=False),
    Column("delivered_at", UtcDateTime),
    Column("detail", Text),
    UniqueConstraint("kind", "key", name="outbox_once"),
    Index("outbox_due", "state", "next_attempt_at"),
    # Counts need neither rows nor payloads.
    Index("outbox_counts", "kind", "state"),
)

miners = Table(
    "miners",
    inbox_metadata,
    Column("hotkey", String(64), primary_key=True),
    Column("coldkey", String(64), nullable=False),
    Column("uid", Integer, nullable=False),
    Column("ip", String(64), nullable=False),
    Column("port", Integer, nullable=False),
    Column("asked", Integer, nullable=False),
    Column("answered", Integer, nullable=False),
    Column("last_outcome", String(32), nullable=False),
    Column("last_asked_at", UtcDateTime, nullable=False),
    Column("last_answered_at", UtcDateTime),
)

flags = Table(
    "flags",
    inbox_metadata,
    Column("name", String(32), primary_key=True),
    Column("value", String(64), nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
)

# Which signed nonces were used, until the time from which each is too old to be accepted anyway.
nonces = Table(
    "nonces",
    inbox_metadata,
    Column("hotkey", String(64), primary_key=True),
    Column("nonce", String(128), primary_key=True),
    Column("alive_until", UtcDateTime, nullable=False),
    Index("nonces_alive_until", "alive_until"),
)

# Symmetric keys agreed with peers: `role` says who opened the session, `peer` with whom it is. Those that a peer opened
# here ("server", and "unsigned" where nobody signed for it) are kept where several ingresses share them.
sessions = Table(
    "sessions",
    inbox_metadata,
    Column("role", String(8), primary_key=True),
    Column("peer", String(256), primary_key=True),
    Column("uuid", String(128), primary_key=True),
    Column("symmetric_key", LargeBinary, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Index("sessions_expires_at", "expires_at"),
)

# Key pairs that every ingress of a validator has alike, by name: a key exchange made for one is good at all.
ingress_keys = Table(
    "ingress_keys",
    inbox_metadata,
    Column("name", String(32), primary_key=True),
    Column("private_pem", LargeBinary, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

# Who may do what only one may do at a time. `fence` grows with every taking: whoever was overtaken is told by it.
leases = Table(
    "leases",
    inbox_metadata,
    Column("name", String(64), primary_key=True),
    Column("holder", String(128), nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
)

# Weights that were to be set: what was signed, and what became of it.
submissions = Table(
    "submissions",
    inbox_metadata,
    Column("id", Integer, primary_key=True),
    Column("netuid", Integer, nullable=False),
    Column("hotkey", String(64), nullable=False),
    # The chain it went to, by its block 0; NULL where a snapshot did not say.
    Column("genesis_hash", String(66)),
    # Of the snapshot that uids were looked up in.
    Column("block", BigInteger, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("plan", JSON, nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", Text, nullable=False),
    Column("commit_reveal", Boolean, nullable=False),
    Column("spec_version", Integer, nullable=False),
    Column("reveal_period_epochs", BigInteger, nullable=False),
    Column("extrinsic_hash", String(66)),
    # The first block that cannot hold it any more.
    Column("dies_at", BigInteger),
    Column("included_block", BigInteger),
    Column("reveal_round", BigInteger),
    Column("reveal_epoch", BigInteger),
    Column("error_code", String(64)),
    # Why the call was not composed by the SDK.
    Column("composed_here", Text),
    Column("fence", BigInteger, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
    # The chain's head when the state was last looked at, and when that was.
    Column("seen_block", BigInteger, nullable=False),
    Column("seen_at", UtcDateTime, nullable=False),
    Index("submissions_of", "netuid", "hotkey", "id"),
    # What is undecided, among years of what is not.
    Index("submissions_undecided", "netuid", "hotkey", "state"),
)

users = Table(
    "users",
    users_metadata,
    Column("hotkey", String(64), primary_key=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
)
