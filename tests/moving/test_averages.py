"""What weights find of imports: the network's average, and when the first of them was."""

from __future__ import annotations

import json
import math
import sqlite3
import uuid
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loosh_pipeline.errors import StoreError
from loosh_pipeline.moving.importing import Places
from loosh_pipeline.scoring.network.pay import EmissionRow, moving_averages
from loosh_pipeline.scoring.network.profile import NetworkPay
from loosh_pipeline.store.compaction_plan import KEPT
from loosh_pipeline.store.history import compact_history
from loosh_pipeline.store.imported import (
    IMPORTED_COLUMNS,
    IMPORTED_EMISSIONS,
    Kept,
    first_imported_at,
    imported_at,
    keep,
)
from loosh_pipeline.store.tables import Tables
from tests.existing import add, build, evaluation
from tests.moving.kept import ALICE, BOB, CAROL, HOUR, NOW, Import, everything


def test_rows_that_two_imports_wrote_at_once_count_once(database: Path, places: Places, run: Import) -> None:
    build(database, [evaluation(NOW - HOUR, {ALICE: 1.0}), evaluation(NOW, {ALICE: 0.0})])
    run()
    tables = Tables(places.tables_root)
    (key,) = tables.newest_first(IMPORTED_EMISSIONS)
    rows = tables.read(IMPORTED_EMISSIONS, key)
    tables.write(IMPORTED_EMISSIONS, type(key)(key.day, "another"), rows)
    found = imported_at(tables, NOW, 24)
    assert found is not None
    assert (found.evaluations, found.averages) == (2, {ALICE: pytest.approx(0.7)})


def test_days_of_imports_that_are_compacted_count_as_before(database: Path, places: Places, run: Import) -> None:
    build(database, [evaluation(NOW - HOUR * each, {ALICE: each / 40, BOB: 0.5}) for each in (30, 20, 2, 0)])
    run()
    tables = Tables(places.tables_root)
    expected = imported_at(tables, NOW, 48)
    for turn in range(2):
        at = NOW + timedelta(days=9) + turn * KEPT
        compact_history(tables, 2, lambda at=at: at, lambda: False)
        assert imported_at(tables, NOW, 48) == expected
    assert tables.open_days(IMPORTED_EMISSIONS) == []
    assert (run().kept.new, tables.open_days(IMPORTED_EMISSIONS)) == (0, []), "the same file adds nothing"


def test_the_average_is_the_networks_as_of_the_newest_evaluation(database: Path, places: Places, run: Import) -> None:
    """α .3 over the last 24 h; who is not named keeps its average; what is older does not count."""
    until = NOW - 5 * HOUR
    build(
        database,
        [
            evaluation(until - 25 * HOUR, {ALICE: 100 / 50}),
            evaluation(until - 23 * HOUR, {ALICE: 1.0, BOB: 0.8}),
            evaluation(until - HOUR, {ALICE: 0.5}),
            evaluation(until, {ALICE: 0.0, CAROL: 0.2}),
        ],
    )
    report, tables = run(now=NOW), Tables(places.tables_root)
    found = imported_at(tables, NOW, 24)
    assert found is not None
    alice = 0.7 * (0.3 * 0.5 + 0.7 * 1.0)
    assert found.averages == {ALICE: pytest.approx(alice), BOB: 0.8, CAROL: 0.2}
    assert (found.since, found.until, found.evaluations) == (until - 23 * HOUR, until, 3)
    assert found.files == (report.sha256,)
    assert imported_at(tables, NOW - timedelta(seconds=1), 24) is None  # it was not imported yet
    assert imported_at(tables, until + 24 * HOUR, 24) == found
    assert imported_at(tables, until + 24 * HOUR + timedelta(seconds=1), 24) is None
    assert imported_at(tables, until + 30 * HOUR, 48) == found


def test_without_an_import_there_is_nothing(places: Places) -> None:
    assert imported_at(Tables(places.tables_root), NOW, 168) is None


def test_what_a_clock_that_was_ahead_imported_counts_once_it_is_imported_again(
    database: Path, places: Places, run: Import
) -> None:
    build(database, [evaluation(NOW - 2 * HOUR, {ALICE: 0.5}), evaluation(NOW - HOUR, {ALICE: 0.5, BOB: 0.25})])
    run(now=NOW + 9 * HOUR)
    tables = Tables(places.tables_root)
    assert imported_at(tables, NOW, 24) is None
    before = everything(places)
    assert run(dry_run=True).kept == Kept(known=3, ahead=3)
    assert everything(places) == before
    with closing(sqlite3.connect(database)) as db, db:
        db.execute("DELETE FROM evaluation_results WHERE id = 1")  # its retention
        db.execute("UPDATE evaluation_results SET emissions = ?", [json.dumps({ALICE: 0.9, BOB: 0.25})])
    report = run()
    assert report.kept == Kept(known=2, other=1, ahead=2)
    found = imported_at(tables, NOW, 24)
    assert found is not None
    assert found.averages == {ALICE: 0.5, BOB: 0.25}, "what is known stands"
    assert (found.evaluations, found.first_read_at) == (1, NOW)
    assert report.found == found
    assert run(now=NOW + HOUR).kept == Kept(known=2, other=1)
    again = imported_at(tables, NOW + 9 * HOUR, 24)
    assert again is not None
    assert (again.evaluations, again.first_read_at) == (2, NOW)


def test_the_first_import_is_remembered_whatever_follows(database: Path, places: Places, run: Import) -> None:
    tables = Tables(places.tables_root)
    assert first_imported_at(tables, NOW, 24) is None
    build(database, [evaluation(NOW - 30 * HOUR, {ALICE: 0.5})])
    run(now=NOW - 20 * HOUR)
    with closing(sqlite3.connect(database)) as db, db:
        add(db, [evaluation(NOW - HOUR, {ALICE: 1.0})])
    run()
    assert first_imported_at(tables, NOW, 168) == NOW - 20 * HOUR
    assert first_imported_at(tables, NOW - 21 * HOUR, 168) is None
    found = imported_at(tables, NOW, 168)
    assert found is not None
    assert (found.evaluations, found.first_read_at) == (1, NOW - 20 * HOUR)


def test_how_many_evaluations_name_a_hotkey_is_known(database: Path, places: Places, run: Import) -> None:
    build(database, [evaluation(NOW - i * HOUR, {ALICE: 0.5} | ({BOB: 2.0} if i == 0 else {})) for i in range(5)])
    run()
    found = imported_at(Tables(places.tables_root), NOW, 24)
    assert found is not None
    assert found.counts == {ALICE: 5, BOB: 1}


@given(st.lists(st.dictionaries(st.sampled_from([ALICE, BOB, CAROL]), st.floats(0, 2.6)), min_size=1, max_size=12))
def test_columns_give_the_average_that_the_networks_method_gives(paid: list[dict[str, float]]) -> None:
    times = [NOW - timedelta(hours=len(paid) - i) for i in range(len(paid))]
    rows = [EmissionRow(at, each) for at, each in zip(times, paid, strict=True)]
    held = [
        (i, at, hotkey, value, "d1", NOW)
        for i, (at, each) in enumerate(zip(times, paid, strict=True))
        for hotkey, value in each.items()
    ]
    tables = Tables(f"memory://imported-{uuid.uuid4().hex}")
    keep(tables, pl.DataFrame(held, schema=IMPORTED_COLUMNS, orient="row"))
    found = imported_at(tables, NOW, 24)
    expected = moving_averages(rows, NOW, NetworkPay())
    assert (found.averages if found else {}) == pytest.approx(expected, rel=1e-12)


def test_a_row_that_is_no_number_makes_no_average(database: Path, places: Places, run: Import) -> None:
    rows = [(1, NOW - HOUR, ALICE, math.nan, "d1", NOW)]
    keep(Tables(places.tables_root), pl.DataFrame(rows, schema=IMPORTED_COLUMNS, orient="row"))
    with pytest.raises(StoreError, match="holds an emission that is no number"):
        imported_at(Tables(places.tables_root), NOW, 24)
