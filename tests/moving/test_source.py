"""Reading the databases of an existing validator: live, locked, left by a kill, or not one at all."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

import loosh_pipeline.moving.source as source_module
from loosh_pipeline.errors import ConfigError, StoreError
from loosh_pipeline.moving.importing import Places
from loosh_pipeline.store.database import open_database
from loosh_pipeline.store.imported import Kept
from tests.existing import add, build, build_users, evaluation, rounds
from tests.moving.kept import ALICE, BOB, CAROL, HOUR, NOW, Import, rows_of


def test_the_source_is_not_touched(tmp_path: Path, database: Path, run: Import) -> None:
    build(database, [evaluation(NOW, {ALICE: 0.5})])
    beside = set(tmp_path.iterdir())
    state = database.stat().st_mtime_ns, database.read_bytes()
    run()
    assert (database.stat().st_mtime_ns, database.read_bytes()) == state
    assert set(tmp_path.iterdir()) - beside == {tmp_path / "home"}


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_a_database_that_is_being_written_is_read_as_it_was_last_committed(
    database: Path, places: Places, run: Import, mode: str
) -> None:
    build(database, [evaluation(NOW - HOUR, {ALICE: 0.5})])
    with closing(sqlite3.connect(database, isolation_level=None)) as db:
        db.execute(f"PRAGMA journal_mode={mode}")
        add(db, [evaluation(NOW, {BOB: 0.5})])
        db.execute("BEGIN IMMEDIATE")
        add(db, [evaluation(NOW, {CAROL: 0.5})])
        report = run()
        db.execute("COMMIT")
    assert report.live
    assert [row[2] for row in rows_of(places)] == [ALICE, BOB]
    final = run()
    assert (final.kept, final.live) == (Kept(new=1, known=2), False)


def test_a_database_that_stays_locked_is_not_waited_for_for_ever(
    database: Path, run: Import, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(database, [evaluation(NOW, {ALICE: 0.5})])
    monkeypatch.setattr(source_module, "LOCKED_FOR_S", 0.2)
    with closing(sqlite3.connect(database, isolation_level=None)) as db:
        db.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreError, match=r"was locked for 0\.2 s; stop the validator"):
            run()


def test_a_validator_that_was_killed_while_writing_is_named(tmp_path: Path, database: Path, run: Import) -> None:
    """A hot journal must be rolled back first, which changes the file: that is for its owner to do."""
    build(database, rounds([ALICE, BOB], 3000, NOW, timedelta(seconds=1)))
    with closing(sqlite3.connect(database, isolation_level=None)) as db:
        db.execute("PRAGMA cache_size=1")
        db.execute("BEGIN IMMEDIATE")
        db.execute("UPDATE evaluation_results SET consensus_score = 0")
        killed = tmp_path / "killed" / "validator.db"
        killed.parent.mkdir()
        for suffix in ("", "-journal"):
            killed.with_name(killed.name + suffix).write_bytes(database.with_name(database.name + suffix).read_bytes())
    with pytest.raises(StoreError, match="killed while writing: start and stop that once"):
        run(killed)
    with closing(sqlite3.connect(killed)) as db:
        db.execute("PRAGMA quick_check").fetchall()
    assert run(killed).evaluations == 3000


def test_wrong_files_are_told_apart(tmp_path: Path, run: Import) -> None:
    def refused(path: Path, said: str, error: type[Exception] = ConfigError) -> None:
        with pytest.raises(error, match=said):
            run(path)

    refused(tmp_path / "none.db", "does not exist")
    refused(tmp_path, "is a directory")
    (tmp_path / "empty.db").touch()
    refused(tmp_path / "empty.db", "is empty")
    (tmp_path / "noise.db").write_bytes(os.urandom(8192))
    refused(tmp_path / "noise.db", "no SQLite database, or an encrypted one")
    with closing(sqlite3.connect(tmp_path / "other.db")) as db, db:
        db.execute("CREATE TABLE bookmarks (url)")
    refused(tmp_path / "other.db", "of another program: its tables are bookmarks")
    open_database(f"sqlite:///{tmp_path}/ours.db", "inbox").dispose()
    refused(tmp_path / "ours.db", "the database of this program")
    refused(build_users(tmp_path / "users.db", [(ALICE, NOW)]), "has no evaluations: its tables are users")


def test_users_of_a_file_without_any_are_refused(tmp_path: Path, database: Path, run: Import) -> None:
    build(database)
    with pytest.raises(ConfigError, match="has no table users"):
        run(users=database)
