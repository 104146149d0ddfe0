"""Taking over an existing validator's databases: what is kept, what is not and why."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import loosh_pipeline.moving.importing as importing_module
import loosh_pipeline.moving.reading as reading_module
import loosh_pipeline.store.users as users_module
from loosh_pipeline.domain import Hotkey
from loosh_pipeline.errors import StoreError
from loosh_pipeline.moving.importing import Places
from loosh_pipeline.moving.reading import MOST, time_of
from loosh_pipeline.store.imported import (
    Kept,
    keep,
)
from loosh_pipeline.store.users import Users
from tests.existing import add, build, build_users, evaluation, naive, rounds
from tests.moving.kept import ALICE, BOB, CAROL, HOUR, NOW, Import, everything, reasons, rows_of


def test_what_each_evaluation_paid_each_hotkey_is_kept(database: Path, places: Places, run: Import) -> None:
    at = NOW - 2 * HOUR
    build(database, [evaluation(at, {ALICE: 0.5, BOB: 0}), evaluation(NOW - HOUR, {ALICE: 0.25})], [ALICE, BOB])
    report = run()
    assert report.kept == Kept(new=3)
    assert (report.evaluations, report.hotkeys) == (2, {ALICE, BOB})
    assert (report.since, report.until) == (at, NOW - HOUR)
    first = {ALICE: (1, at, ALICE, 0.5), BOB: (1, at, BOB, 0.0)}
    assert rows_of(places) == [*(first[hotkey] for hotkey in sorted(first)), (2, NOW - HOUR, ALICE, 0.25)]
    assert report.skipped.to_list() == []


def test_a_second_import_changes_no_byte(database: Path, places: Places, run: Import) -> None:
    build(database, rounds([ALICE, BOB, CAROL], 50, NOW, HOUR))
    run()
    before = everything(places)
    again = run(now=NOW + HOUR)
    assert again.kept == Kept(known=150)
    assert everything(places) == before


def test_a_newer_copy_adds_only_what_is_new(database: Path, places: Places, run: Import) -> None:
    build(database, rounds([ALICE, BOB], 20, NOW - HOUR, timedelta(minutes=1)))
    run()
    before = everything(places)
    with closing(sqlite3.connect(database)) as db, db:
        db.execute("DELETE FROM evaluation_results WHERE id <= 5")  # its retention
        add(db, [evaluation(NOW, {ALICE: 1.0, BOB: 0.5})])
    assert run().kept == Kept(new=2, known=30)
    after = everything(places)
    assert {path: after[path] for path in before} == before
    assert len(rows_of(places)) == 42


def test_another_emission_for_what_is_known_is_said_and_changes_nothing(
    database: Path, places: Places, run: Import
) -> None:
    build(database, [evaluation(NOW, {ALICE: 0.5})])
    run()
    with closing(sqlite3.connect(database)) as db, db:
        db.execute("UPDATE evaluation_results SET emissions = ?", [json.dumps({ALICE: 0.9})])
    assert run().kept == Kept(known=1, other=1)
    assert [row[-1] for row in rows_of(places)] == [0.5]


ODD: list[tuple[Any, str]] = [
    (f'{{"{ALICE}": NaN}}', "the emission is not finite"),
    (f'{{"{ALICE}": Infinity}}', "the emission is not finite"),
    (f'{{"{ALICE}": -0.1}}', "the emission is negative"),
    (f'{{"{ALICE}": null}}', "no emission is given"),
    (f'{{"{ALICE}": "0.5"}}', "the emission is no number"),
    (f'{{"{ALICE}": true}}', "the emission is no number"),
    (f'{{"{ALICE}": 1{"0" * 400}}}', "the emission is no number"),
    (f'{{"{ALICE}": 1e300}}', f"the emission is above {MOST}, more than the method pays"),
    ('{"17": 0.5}', "keyed by a uid, and who held that then is not on record"),
    ('{"R1": 0.5}', "no hotkey (SS58, format 42)"),
    (f'{{"{ALICE[:-1]}x": 0.5}}', "no hotkey (SS58, format 42)"),
    ("{", "emissions are no JSON"),
    ("[" * 20_000, "emissions are no JSON"),
    ("[" * 20_001, "emissions are longer than 20,000 characters"),
    ("[0.5]", "emissions are no JSON object"),
    ("null", "emissions are missing"),
    (None, "emissions are missing"),
    (7, "emissions are no JSON object"),
    (b"\xff\xfe{", "emissions are no JSON"),
    ("{}", "nobody is named"),
]


@pytest.mark.parametrize(("emissions", "reason"), ODD)
def test_what_is_of_no_use_is_named_and_hides_nothing_else(
    database: Path, places: Places, run: Import, emissions: Any, reason: str
) -> None:
    bad = (None, 1, 0.5, None, None, emissions, naive(NOW))
    build(database, [bad, evaluation(NOW, {BOB: 0.5})])
    report = run()
    assert reasons(report) == {reason: 1}
    assert "id 1" in report.skipped.to_list()[0]["examples"][0]
    assert [(row[0], row[2]) for row in rows_of(places)] == [(2, BOB)]


@pytest.mark.parametrize(
    ("created_at", "reason"),
    [
        (None, "without a time"),
        ("yesterday", "its time cannot be read"),
        ("0001-01-01T00:00:00+23:00", "its time cannot be read"),
        (1767441600.5, "its time cannot be read"),
        (b"2026-01-03 11:00:00", "its time is no text"),
        ("2026-01-03 12:02:00.000000", "of the future, by this machine's clock"),
        ("2024-12-01 00:00:00", "older than a year"),
    ],
)
def test_times_that_are_none_are_named(database: Path, run: Import, created_at: Any, reason: str) -> None:
    build(database, [(None, 1, 0.5, None, None, json.dumps({ALICE: 0.5}), created_at)])
    assert reasons(run()) == {reason: 1}


@pytest.mark.parametrize(
    "text", ["2026-01-03 11:00:00", "2026-01-03 11:00:00.000000", "2026-01-03T11:00:00Z", "2026-01-03T13:00:00+02:00"]
)
def test_naive_times_are_of_utc_and_others_are_taken_at_their_word(text: str) -> None:
    assert time_of(text, NOW) == NOW - HOUR


def test_what_cannot_be_joined_is_counted_with_the_reason(database: Path, run: Import) -> None:
    build(database, [evaluation(NOW, {ALICE: 0.5})], [ALICE, BOB], responses=4)
    database.with_name("sybil_score_cache.json").write_text('{"scores": {"a": 0.1}, "saved_at": "2026-01-03"}')
    report = run()
    assert report.left == {"miners": 2, "inference_responses": 4}
    assert report.scores == "1 scores, saved 2026-01-03"


def test_what_strangers_wrote_reaches_no_terminal(database: Path, run: Import) -> None:
    build(database, [evaluation(NOW, {"\x1b[31mred\n": 0.5})])
    (found,) = run().skipped.to_list()
    assert found["examples"] == ["id 1: \N{REPLACEMENT CHARACTER}[31mred\N{REPLACEMENT CHARACTER} 0.5"]


@pytest.mark.parametrize("text", ["{", "[]", '{"scores": 3}', "\xff"])
def test_a_broken_side_file_is_said_and_no_more(database: Path, run: Import, text: str) -> None:
    build(database, [evaluation(NOW, {ALICE: 0.5})])
    database.with_name("sybil_score_cache.json").write_text(text, encoding="latin-1")
    assert "cannot be read" in (run().scores or "")


def test_databases_of_older_versions(tmp_path: Path, database: Path, places: Places, run: Import) -> None:
    build(database, [evaluation(NOW, {ALICE: 0.5})], [ALICE], old_unique=True)
    with closing(sqlite3.connect(database)) as db, db:
        db.execute("DROP TABLE sybil_detection_results")
        db.execute("DROP TABLE miner_scores")
        db.execute("ALTER TABLE evaluation_results DROP COLUMN narrative")
    assert run().kept == Kept(new=1)

    with closing(sqlite3.connect(database)) as db, db:
        db.execute("ALTER TABLE evaluation_results DROP COLUMN emissions")
    assert reasons(run()) == {"the table has no column emissions": 1}
    with closing(sqlite3.connect(database)) as db, db:
        db.execute("DROP TABLE evaluation_results")
    assert reasons(run()) == {"there is no such table": 1}
    assert len(rows_of(places)) == 1


def test_users_are_kept_since_when_they_registered_once(tmp_path: Path, database: Path, run: Import) -> None:
    build(database)
    since = NOW - timedelta(days=30)
    build_users(tmp_path / "users.db", [(ALICE, since), (BOB, since), ("nobody", since)])
    users = Users.open(f"sqlite:///{tmp_path}/home/users.db")
    users.register(Hotkey(BOB), NOW)
    report = run()
    assert (report.users_read, report.users_new) == (2, 1)
    assert reasons(report)["no hotkey (SS58, format 42)"] == 1
    assert run().users_new == 0
    with closing(sqlite3.connect(tmp_path / "home" / "users.db")) as db:
        kept = dict(db.execute("SELECT hotkey, created_at FROM users").fetchall())
    assert {h: datetime.fromisoformat(at).replace(tzinfo=UTC) for h, at in kept.items()} == {ALICE: since, BOB: NOW}


def test_no_more_users_are_taken_over_than_are_kept(
    tmp_path: Path, database: Path, run: Import, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(database)
    build_users(tmp_path / "elsewhere.db", [(hotkey, NOW) for hotkey in (ALICE, BOB, CAROL)])
    monkeypatch.setattr(users_module, "MAX_USERS", 2)
    monkeypatch.setattr(users_module, "TOGETHER", 1)
    report = run(users=tmp_path / "elsewhere.db")
    assert (report.users_new, report.users_full) == (2, 1)


def test_a_dry_run_writes_nothing(tmp_path: Path, database: Path, places: Places, run: Import) -> None:
    build(database, [evaluation(NOW, {ALICE: 0.5})])
    build_users(tmp_path / "users.db", [(ALICE, NOW)])
    report = run(dry_run=True)
    assert (report.kept, report.users_read) == (Kept(new=1), 1)
    assert not Path(places.tables_root).parent.exists()
    run()
    before = everything(places)
    assert run(dry_run=True).kept == Kept(known=1)
    assert everything(places) == before


def test_a_damaged_file_says_what_was_kept_before(
    database: Path, places: Places, run: Import, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(database, rounds([ALICE, BOB], 3000, NOW, timedelta(seconds=1)))
    content = bytearray(database.read_bytes())
    middle = len(content) // 2 // 4096 * 4096
    content[middle : middle + 8 * 4096] = b"\xff" * (8 * 4096)
    database.write_bytes(content)
    monkeypatch.setattr(reading_module, "AT_ONCE", 100)
    with pytest.raises(StoreError, match=r"is damaged: .*; \d+ emissions were kept before that\. Try"):
        run()
    assert len(rows_of(places)) >= 200


KILLED = """
import os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
import loosh_pipeline.moving.importing as importing
import loosh_pipeline.moving.reading as reading
from loosh_pipeline.store.objects import Objects
reading.AT_ONCE = 10
database, root, users, writes = sys.argv[1:]
put, left = Objects._put_local, [int(writes)]
def dying(self, path, content, replace):
    left[0] -= 1
    if left[0] < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return put(self, path, content, replace)
Objects._put_local = dying
importing.import_validator(Path(database), None, importing.Places(root, users), datetime(2026, 1, 3, 12, tzinfo=UTC))
"""


def test_a_killed_import_goes_on_where_it_was(database: Path, places: Places, run: Import) -> None:
    build(database, rounds([ALICE, BOB], 40, NOW, HOUR))
    command = [sys.executable, "-c", KILLED, str(database), places.tables_root, places.users_url, "3"]
    assert subprocess.run(command, timeout=60, check=False).returncode == -signal.SIGKILL
    kept = len(rows_of(places))
    assert 0 < kept < 80
    assert run().kept == Kept(new=80 - kept, known=kept)
    assert run().kept == Kept(known=80)


def test_many_rows_are_read_in_parts(
    database: Path, places: Places, run: Import, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(database, rounds([ALICE, BOB, CAROL], 95, NOW, HOUR))
    held: list[int] = []

    def counted(tables: Any, part: pl.DataFrame, **how: Any) -> Kept:
        held.append(part["evaluation_id"].n_unique())
        return keep(tables, part, **how)

    monkeypatch.setattr(reading_module, "AT_ONCE", 10)
    monkeypatch.setattr(importing_module, "keep", counted)
    assert run().kept == Kept(new=285)
    assert held == [10] * 9 + [5]


def test_wide_evaluations_are_read_in_smaller_parts(
    database: Path, places: Places, run: Import, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(database, rounds([ALICE, BOB, CAROL], 20, NOW, HOUR))
    held: list[int] = []

    def counted(tables: Any, part: pl.DataFrame, **how: Any) -> Kept:
        held.append(part.height)
        return keep(tables, part, **how)

    monkeypatch.setattr(reading_module, "EMISSIONS_AT_ONCE", 20)
    monkeypatch.setattr(importing_module, "keep", counted)
    assert run().kept == Kept(new=60)
    assert held == [21, 21, 18]
