"""A compacted day reads as its files did, at every moment between; what is removed was compared first."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import chain, repeat
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from loosh_pipeline.errors import StoreError
from loosh_pipeline.store import parts as parts_module
from loosh_pipeline.store.closed import Decoded, Footers
from loosh_pipeline.store.compaction import whole, write_part
from loosh_pipeline.store.compaction_plan import KEPT, Limits, last_closed, unused
from loosh_pipeline.store.parts import PartWriter, Whole
from loosh_pipeline.store.tables import TableKey, Tables, file_stem
from tests.builders import NOON
from tests.store.compacted import (
    DAY,
    LATER,
    READ,
    SCORES,
    compact,
    compact_wholly,
    everything,
    in_sql,
    parts,
    put_scores,
    scores,
)

KEY = TableKey(DAY, "c-000", "v1")


def test_a_compacted_day_reads_as_its_files_did(tables: Tables) -> None:
    put_scores(tables, 23)
    before, rows = everything(tables), in_sql(tables)

    packed = compact(tables)
    assert (packed.packed, packed.removed, packed.left, packed.problems) == (23, 0, 23, [])
    assert (everything(tables), in_sql(tables)) == (before, rows), "what is in both counts once"
    assert compact(tables, LATER + KEPT / 2).removed == 0
    cleared = compact(tables, LATER + KEPT)
    assert (cleared.packed, cleared.removed, cleared.left) == (0, 23, 0)

    assert tables.originals(SCORES, DAY) == []
    assert (everything(tables), in_sql(tables)) == (before, rows)
    assert tables.open_days(SCORES) == []
    assert tables.days(SCORES) == [DAY]
    assert len(parts(tables)) == 6, "at most five tables of one schema in each: 15 and 8"


def test_parts_are_files_that_duckdb_reads_alone(tables: Tables) -> None:
    put_scores(tables, 4)
    compact_wholly(tables)
    (part, *_) = tables.closed.parts(SCORES, DAY)
    found = pl.read_parquet(io.BytesIO(tables.objects.content(part.path)))
    assert found.columns[0] == "file"
    assert found["file"].is_sorted()


def test_a_table_that_is_written_again_counts_at_once_and_is_packed_apart(tables: Tables) -> None:
    put_scores(tables, 8)
    compact_wholly(tables)
    again = scores("c-000", 9.0)
    told = tables.write(SCORES, KEY, again)
    assert tables.read(SCORES, KEY).equals(again)
    assert tables.describe(SCORES, KEY).sha256 == told.sha256
    before, rows = everything(tables), in_sql(tables)
    at = datetime.now(UTC) + 3 * KEPT
    assert compact(tables, at).packed == int(tables.objects.local), "an object store has it in a part at once"
    assert (everything(tables), in_sql(tables)) == (before, rows)
    compact_wholly(tables, at + KEPT)
    assert (everything(tables), in_sql(tables)) == (before, rows)
    assert tables.read(SCORES, KEY).equals(again)


def test_one_that_is_written_again_after_it_was_packed_is_not_removed(tables: Tables) -> None:
    put_scores(tables, 3)
    compact(tables)
    again = scores("c-000", 9.0)
    tables.write(SCORES, KEY, again)
    assert tables.read(SCORES, KEY).equals(again)
    compact(tables, datetime.now(UTC) + 3 * KEPT)
    assert tables.read(SCORES, KEY).equals(again)
    assert len(list(tables.newest_first(SCORES))) == 3


def test_what_strangers_told_is_kept_as_first_recorded_in_a_part_too(tables: Tables) -> None:
    first = tables.write_once(SCORES, KEY, scores("c-000", 1.0))
    compact_wholly(tables)
    kept = tables.write_once(SCORES, KEY, scores("c-000", 2.0))
    assert (kept.existed, kept.sha256, kept.rows) == (True, first.sha256, 1)
    assert tables.originals(SCORES, DAY) == []
    assert tables.read(SCORES, KEY)["payout"].to_list() == [1.0]


def test_a_table_that_is_removed_from_a_part_is_no_more_until_it_is_written_again(tables: Tables) -> None:
    put_scores(tables, 8)
    compact_wholly(tables)
    tables.remove(SCORES, KEY)
    tables.remove(SCORES, KEY)
    assert not tables.exists(SCORES, KEY)
    with pytest.raises(StoreError, match="no table"):
        tables.read(SCORES, KEY)
    assert KEY.file not in {each.name for each in tables.files(SCORES, DAY)}
    assert not [row for row in in_sql(tables) if "c-000" in row]

    tables.write(SCORES, TableKey(DAY, "c-999", "v1"), scores("c-999", 1.0))
    at = compact_wholly(tables, datetime.now(UTC))
    assert not tables.exists(SCORES, KEY)
    tables.write(SCORES, KEY, scores("c-000", 3.0))
    compact_wholly(tables, at)
    assert tables.read(SCORES, KEY)["payout"].to_list() == [3.0]


def test_a_day_that_is_removed_is_gone_wherever_it_lies(tables: Tables) -> None:
    put_scores(tables, 4)
    compact_wholly(tables)
    put_scores(tables, 2, version="v2")
    tables.remove_day(SCORES, DAY)
    assert (tables.days(SCORES), everything(tables)) == ([], {"newest_first": []})


def test_rescoring_now_and_then_leaves_a_bounded_number_of_parts(tables: Tables) -> None:
    put_scores(tables, 10)
    at = compact_wholly(tables)
    limits = Limits(tables=100, size_bytes=1 << 20, merge_at=3)
    for turn in range(12):
        tables.write(SCORES, TableKey(DAY, f"d-{turn:03}", "v2"), scores(f"d-{turn:03}", float(turn)))
        rows = in_sql(tables)
        for _ in range(3):
            compact(tables, at, limits=limits)
            assert in_sql(tables) == rows
            at += KEPT
        assert len(parts(tables)) <= 6
    assert tables.originals(SCORES, DAY) == []
    assert len(everything(tables)) == 1 + 2 + 22


def test_what_a_slice_has_no_time_for_the_next_one_does(tables: Tables) -> None:
    put_scores(tables, 23)
    before = everything(tables)
    turns, at = 0, LATER
    while compact(tables, at, over=chain([False], repeat(True)).__next__).left:
        assert everything(tables) == before
        turns, at = turns + 1, at + KEPT
        assert turns < 30
    assert everything(tables) == before


def test_what_cannot_be_read_or_be_put_into_a_part_stays_and_is_told(tables: Tables) -> None:
    put_scores(tables, 3)
    odd = pl.DataFrame({"file": ["x"], "a": [1]})
    tables.write(SCORES, TableKey(DAY, "odd"), odd)
    tables.objects.put(tables.path(SCORES, TableKey(DAY, "broken")), b"PAR1 no table", replace=True)
    compact(tables)
    done = compact(tables, LATER + KEPT)
    assert (done.removed, done.left) == (3, 2)
    assert len(done.problems) == 2
    assert "broken.parquet is no readable table" in done.problems[0]
    assert "odd.parquet has columns that no part can hold" in done.problems[1]
    assert tables.read(SCORES, TableKey(DAY, "odd")).equals(odd)


def test_files_stay_when_a_part_says_something_else(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    put_scores(tables, 3)
    before, add = everything(tables), PartWriter.add

    def wrong(self: PartWriter, table: Whole) -> None:
        frame = table.frame.with_columns(payout=pl.col("payout") + 1)
        add(self, Whole(table.file, frame, table.size_bytes, table.sha256, table.stamp, table.hour))

    with monkeypatch.context() as patch:
        patch.setattr(PartWriter, "add", wrong)
        compact(tables)
    done = compact(tables, LATER + KEPT)
    assert done.removed == 0
    assert all("holds other rows than its file, which stays" in each for each in done.problems)
    assert everything(tables) == before


def test_a_broken_part_is_named(tables: Tables) -> None:
    put_scores(tables, 3)
    compact_wholly(tables)
    path = tables.closed.path(SCORES, DAY, 1)
    for broken in (b"PAR1 no part", tables.objects.content(path)[:-20], pl_bytes()):
        tables.objects.put(path, broken, replace=True)
        with pytest.raises(StoreError, match=r"000001\.parquet is no part of tables: .*; put it back from a backup"):
            tables.read(SCORES, KEY)


def pl_bytes() -> bytes:
    buffer = io.BytesIO()
    pl.DataFrame({"a": [1]}).write_parquet(buffer)
    return buffer.getvalue()


def test_one_table_is_read_without_the_others(local: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts_module, "GROUP_TABLES", 10)
    for number in range(200):
        local.write(SCORES, TableKey(DAY, f"c-{number:03}"), scores(f"c-{number:03}", *range(5)))
    compact(local, limits=Limits())
    compact(local, LATER + KEPT, limits=Limits())
    read, groups = parts_module.read_groups, list[int]()

    def counted(part: Any, file: Any, wanted: Any, *more: Any, **how: Any) -> pl.DataFrame:
        groups.extend(wanted)
        return read(part, file, wanted, *more, **how)

    monkeypatch.setattr(parts_module, "read_groups", counted)
    for number in (123, 124, 129, 121):
        assert local.read(SCORES, TableKey(DAY, f"c-{number}"))["challenge_id"][0] == f"c-{number}"
    assert groups == [12], "once, for all that lie together"
    groups.clear()
    assert len(list(local.each(SCORES, DAY))) == 200
    assert groups == list(range(20)), "each group once"


def test_what_was_decoded_is_kept_within_bounds(local: Tables) -> None:
    put_scores(local, 20)
    compact_wholly(local)
    (part, *_), rows = local.closed.parts(SCORES, DAY), pl.DataFrame({"a": [1] * 100})
    kept = Decoded(most_bytes=3 * int(rows.estimated_size()))
    for group in range(4):
        kept.keep(part, group, rows)
        kept.get(part, 0)
    assert [kept.get(part, group) is not None for group in range(4)] == [True, False, True, True]
    kept.keep(part, 9, pl.DataFrame({"a": [1] * 1000}))
    assert kept.get(part, 9) is None, "too large to be kept"


def test_footers_are_remembered_within_bounds(local: Tables) -> None:
    put_scores(local, 20)
    compact_wholly(local)
    found = local.closed.parts(SCORES, DAY)
    footers = Footers(most_tables=12)
    for part in found:
        footers.keep(part, "stamp")
    assert all(footers.get(part.path, "stamp") is part for part in found), "of one day, however large it is"
    other = replace(found[-1], path="elsewhere/closed=2026-01-01/000001.parquet")
    footers.keep(other, "stamp")
    assert footers.get(other.path, "stamp") is other
    assert footers.get(found[0].path, "stamp") is None
    footers.keep(found[0], "")
    assert footers.get(found[0].path, "") is None


def test_a_table_that_is_nowhere_is_named_though_its_day_is_compacted(tables: Tables) -> None:
    put_scores(tables, 3)
    compact_wholly(tables)
    assert not tables.exists(SCORES, TableKey(DAY, "c-777"))
    with pytest.raises(StoreError, match=r"no table .*c-777\.parquet; materialize scores"):
        tables.read_files(SCORES, DAY, ["c-000.v1.parquet", "c-777.parquet"], {"payout": pl.Float64})
    with pytest.raises(StoreError, match=r"payout.*String.*Float64|holds .*, and not"):
        tables.read_files(SCORES, DAY, ["c-000.v1.parquet"], {"hotkey": pl.Float64})


def test_history_can_be_written_right_into_parts(tables: Tables) -> None:
    made = [whole(TableKey(DAY, f"c-{i:03}"), scores(f"c-{i:03}", float(i))) for i in range(6)]
    assert write_part(tables, SCORES, DAY, made, NOON) == tables.closed.path(SCORES, DAY, 1)
    key = TableKey(DAY, "c-004")
    content = tables.write("other", key, scores("c-004", 4.0))
    assert tables.read(SCORES, key).equals(scores("c-004", 4.0))
    assert tables.describe(SCORES, key).sha256 == content.sha256
    with pytest.raises(StoreError, match="no tables of scores were given"):
        write_part(tables, SCORES, DAY, [], NOON)
    with pytest.raises(StoreError, match=r"c-000\.parquet comes too late"):
        write_part(tables, SCORES, DAY, made[:1] * 2, NOON)


INTEGERS = st.integers(-(2**31), 2**31 - 1)
COLUMNS: dict[str, tuple[Any, st.SearchStrategy[Any]]] = {
    "text": (pl.String, st.text(max_size=5)),
    "bytes": (pl.Binary, st.binary(max_size=5)),
    "number": (pl.Float64, st.floats()),
    "small": (pl.Float32, st.floats(width=32)),
    "count": (pl.UInt8, st.integers(0, 255)),
    "whole": (pl.Int64, INTEGERS),
    "yes": (pl.Boolean, st.booleans()),
    "day": (pl.Date, st.dates()),
    "at": (pl.Datetime("ms", "UTC"), st.datetimes(timezones=st.just(UTC))),
    "took": (pl.Duration("ms"), st.timedeltas(timedelta(0), timedelta(days=9))),
    "words": (pl.List(pl.String), st.lists(st.one_of(st.none(), st.text(max_size=3)), max_size=3)),
    "pairs": (
        pl.List(pl.Struct({"a": pl.String, "b": pl.Int64})),
        st.lists(st.fixed_dictionaries({"a": st.text(max_size=2), "b": INTEGERS}), max_size=2),
    ),
    "enum": (pl.Enum(["a", "b"]), st.sampled_from(["a", "b"])),
    "file": (pl.String, st.text(max_size=2)),
}


@st.composite
def frames(draw: st.DrawFn) -> pl.DataFrame:
    names = draw(st.lists(st.sampled_from(sorted(COLUMNS)), unique=True, max_size=4))
    height = draw(st.integers(0, 3))
    columns = {
        name: draw(st.lists(st.one_of(st.none(), COLUMNS[name][1]), min_size=height, max_size=height)) for name in names
    }
    return pl.DataFrame(columns, schema={name: COLUMNS[name][0] for name in names})


IDS = st.one_of(st.sampled_from(["c-1", "c-2", "C-3", "../x", "日本", "a.b"]), st.text(max_size=8))
VERSIONS = st.sampled_from(["", "v1", "v2"])
WRITES = st.lists(st.tuples(IDS, VERSIONS, frames()), max_size=12)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(WRITES, WRITES, st.integers(0, 4))
def test_any_tables_read_alike_before_and_after(
    tmp_path_factory: pytest.TempPathFactory, first: Any, second: Any, removed: int
) -> None:
    tables = Tables(str(tmp_path_factory.mktemp("any")))
    expected: dict[TableKey, tuple[pl.DataFrame, str]] = {}
    at = LATER

    def write(tables_of: Any) -> None:
        for identity, version, frame in tables_of:
            key = TableKey(DAY, file_stem(identity), version)
            told = tables.write("any", key, frame)
            expected[key] = (tables.read("any", key), told.sha256)

    def check() -> None:
        found = dict(tables.each("any", DAY))
        assert list(found) == sorted(expected, key=lambda key: key.file)
        for key, (frame, sha256) in expected.items():
            assert_frame_equal(found[key], frame, check_exact=True)
            assert found[key].schema == frame.schema
            assert tables.read("any", key).equals(frame)
            assert tables.describe("any", key).sha256 == sha256
        assert not tables.exists("any", TableKey(DAY, "never"))

    write(first)
    check()
    for turn in range(3):
        compact(tables, at, asset="any")
        check()
        if turn == 1:
            for key in sorted(expected, key=lambda key: key.file)[:removed]:
                tables.remove("any", key)
                del expected[key]
            check()
            write(second)
        at += KEPT
    compact(tables, at, asset="any")
    check()


def test_days_are_closed_when_they_ended_long_enough_ago() -> None:
    assert last_closed(datetime(2026, 1, 10, 0, 0, tzinfo=UTC), 2) == date(2026, 1, 7)
    assert last_closed(datetime(2026, 1, 9, 23, 59, tzinfo=UTC), 2) == date(2026, 1, 6)
    assert last_closed(datetime(2026, 1, 10, 12, 0, tzinfo=UTC), 2.5) == date(2026, 1, 7)


def test_windows_are_unused_when_no_weights_followed_before_the_next() -> None:
    assert unused(["a1", "a3", "a5", "a7"], ["a2", "a4", "a6", "a8"], ["a2-1", "a6-1"]) == {"a3"}
    assert unused(["a1", "a3"], [], []) == {"a1"}
    assert unused(["a1"], [], []) == set(), "the last may yet be used"
    assert unused([], ["a1"], ["a1"]) == set()
    assert unused(["a1", "a3", "a5"], ["a2"], ["a4"]) == {"a3"}, "of a proposal that was made before the next window"
    assert unused(["a1", "a3", "a5"], ["a2", "a4"], []) == {"a1"}, "the last proposal may yet be submitted"


def test_a_hash_of_what_was_written_is_told_for_good(tables: Tables) -> None:
    told = tables.write(SCORES, KEY, scores("c-000", 1.0))
    assert hashlib.sha256(tables.objects.content(told.path)).hexdigest() == told.sha256
    compact_wholly(tables)
    assert (tables.describe(SCORES, KEY).sha256, tables.describe(SCORES, KEY).path) == (told.sha256, told.path)


def test_some_rows_are_the_same_before_and_after(tables: Tables) -> None:
    put_scores(tables, 12)
    names = [each.name for each in tables.files(SCORES, DAY)]
    where = pl.col("challenge_id").is_in(["c-002", "c-010"])
    before = tables.read_files(SCORES, DAY, names, READ, where)
    assert before["challenge_id"].unique().sort().to_list() == ["c-002", "c-010"]
    assert_frame_equal(before, tables.read_files(SCORES, DAY, names, READ).filter(where))
    compact_wholly(tables)
    assert_frame_equal(tables.read_files(SCORES, DAY, names, READ, where), before)
