"""A validator's database file, moved to a server: what was accepted is there, and nothing is accepted twice."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select

from loosh_pipeline.domain import Block, ChallengeId, Hotkey, WeightPlan
from loosh_pipeline.errors import ConfigError, DuplicateChallenge, StoreError
from loosh_pipeline.moving.database import move_database
from loosh_pipeline.store.database import open_database, reading
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.leases import Leases
from loosh_pipeline.store.schema import inbox_metadata
from loosh_pipeline.store.submissions import LEASE, Submissions
from loosh_pipeline.store.users import Users
from tests.builders import NOON, metagraph

RELEASED = Path(__file__).parents[1] / "store/released"
PLAN = WeightPlan(78, Block(100), {1: 1.0}, {1: "hotkey-1"}, 2**64 - 1, {})
NOT_MOVED = {"hosts", "held_runs", "ingress_keys"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A database with something in every table."""
    path = tmp_path / "validator.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((RELEASED / "inbox-0005.sql").read_text())
    Inbox.open(f"sqlite:///{path}").engine.dispose()
    return path


def rows(url: str) -> dict[str, list[tuple[object, ...]]]:
    engine = open_database(url, "inbox")
    with reading(engine) as connection:
        found = {
            table.name: sorted(tuple(map(repr, row)) for row in connection.execute(select(table)))
            for table in inbox_metadata.sorted_tables
        }
    engine.dispose()
    return {name: each for name, each in found.items() if name not in NOT_MOVED}  # type: ignore[misc]


def test_everything_is_there_and_goes_on(file: Path, database_url: str, tmp_path: Path) -> None:
    users = Users.open(f"sqlite:///{tmp_path / 'users.db'}")
    users.register(Hotkey("5One"), NOON)
    before = rows(f"sqlite:///{file}")
    moved = move_database(file, tmp_path / "users.db", database_url)
    assert moved["challenges"] == len(before["challenges"]) > 0
    assert moved["users"] == 1
    after = rows(database_url)
    before["sessions"] = [row for row in before["sessions"] if row[0] not in ("'server'", "'unsigned'")]
    assert after == before
    inbox = Inbox.open(database_url)
    with reading(inbox.engine) as connection:
        known = connection.execute(select(func.min(inbox_metadata.tables["challenges"].c.id))).scalar_one()
    with pytest.raises(DuplicateChallenge):
        inbox.accept(ChallengeId(known), {}, NOON)
    lease = Leases(inbox.engine).take(LEASE, "a", NOON, timedelta(minutes=5))
    Submissions(inbox.engine).plan(lease, PLAN, metagraph(), Hotkey("hotkey-0"), NOON)
    inbox.engine.dispose()


def test_nothing_is_moved_into_what_holds_something_or_from_nowhere(
    file: Path, database_url: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="nothing is to be moved"):
        move_database(tmp_path / "none.db", tmp_path / "users.db", database_url)
    move_database(file, tmp_path / "users.db", database_url)
    with pytest.raises(ConfigError, match="name an empty database"):
        move_database(file, tmp_path / "users.db", database_url)


def test_what_cannot_be_moved_leaves_nothing(file: Path, database_url: str, tmp_path: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("UPDATE submissions SET reason = 'a' || char(0)")
        connection.commit()
    with pytest.raises(StoreError, match=r"nothing was moved: .*NUL"):
        move_database(file, tmp_path / "users.db", database_url)
    assert not rows(database_url)["challenges"]
