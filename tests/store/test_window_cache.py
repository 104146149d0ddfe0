"""A copy of many small files in few: never authoritative, whatever happens to it or to the files."""

from __future__ import annotations

import os
import threading
import uuid
from datetime import date, timedelta
from typing import Any

import fsspec
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loosh_pipeline.errors import StoreError
from loosh_pipeline.store.objects import TableFile, remote_file
from loosh_pipeline.store.tables import TableKey, Tables
from loosh_pipeline.store.window_cache import CACHE, WindowCache, forget_before
from tests.builders import NOON
from tests.scoring.rounds import examples
from tests.store.cached import BEFORE, ROUNDS, SCHEMA, TODAY, YESTERDAY, Row, keep, kept, read, rows


def test_all_rows_are_read_and_files_once(tables: Tables, opened: list[str]) -> None:
    keep(tables, "c-1", 0.1 + 0.2, 5e-324)
    keep(tables, "c-2", 1 / 3, day=YESTERDAY)
    expected = rows("c-1", 0.1 + 0.2, 5e-324) + rows("c-2", 1 / 3)
    assert read(tables) == expected
    assert sorted(opened) == ["c-1.parquet", "c-2.parquet"]
    assert read(tables) == expected
    assert len(opened) == 2


def test_only_files_that_are_new_are_opened(tables: Tables, opened: list[str]) -> None:
    keep(tables, "c-1", 1.0)
    read(tables)
    keep(tables, "c-2", 2.0)
    assert read(tables) == rows("c-1", 1.0) + rows("c-2", 2.0)
    assert opened == ["c-1.parquet", "c-2.parquet"]


def test_a_file_written_again_takes_the_place_of_its_rows(tables: Tables) -> None:
    keep(tables, "c-1", 1.0, 2.0)
    keep(tables, "c-2", 4.0)
    read(tables)
    keep(tables, "c-1", 3.0)
    assert read(tables) == rows("c-1", 3.0) + rows("c-2", 4.0)


def test_one_of_the_same_size_and_time_does_too(local: Tables) -> None:
    path = keep(local, "c-1", 1.0)
    before = os.stat(path)
    read(local)
    keep(local, "c-1", 2.0)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = os.stat(path)
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert read(local) == rows("c-1", 2.0)


def test_a_file_that_is_gone_takes_its_rows_along(tables: Tables) -> None:
    keep(tables, "c-1", 1.0)
    keep(tables, "c-2", 2.0)
    read(tables)
    tables.remove(ROUNDS, TableKey(TODAY, "c-1"))
    assert read(tables) == rows("c-2", 2.0)
    tables.remove(ROUNDS, TableKey(TODAY, "c-2"))
    assert read(tables) == []
    assert kept(tables) == []


def test_a_file_without_rows_is_remembered_as_one(tables: Tables, opened: list[str]) -> None:
    keep(tables, "c-1")
    assert read(tables) == read(tables) == []
    assert opened == ["c-1.parquet"]


def test_how_many_rounds_a_file_holds_is_indifferent(tables: Tables) -> None:
    keep(tables, "c-1", 1.0)
    keep(tables, "c-2", 2.0)
    expected = read(tables)
    whole = pl.concat([tables.read(ROUNDS, TableKey(TODAY, name)) for name in ("c-1", "c-2")])
    tables.write(ROUNDS, TableKey(TODAY, "day"), whole)
    for name in ("c-1", "c-2"):
        tables.remove(ROUNDS, TableKey(TODAY, name))
    assert read(tables) == read(tables) == expected


def test_w_18_days_before_the_window_are_not_read_and_what_is_kept_of_them_stays(
    tables: Tables, opened: list[str]
) -> None:
    """In an emergency a short lookback and a long one are read in turns, run after run."""
    for number, day in enumerate((BEFORE, YESTERDAY, TODAY)):
        keep(tables, f"c-{number}", 1.0, day=day)
    assert read(tables, TODAY) == rows("c-2", 1.0)
    assert opened == ["c-2.parquet"]
    for _ in range(2):
        assert len(read(tables)) == 3
        assert read(tables, YESTERDAY) == rows("c-1", 1.0) + rows("c-2", 1.0)
        assert read(tables, TODAY) == rows("c-2", 1.0)
    assert tables.days(CACHE) == [BEFORE, YESTERDAY, TODAY]
    assert len(opened) == 3


def test_what_is_kept_of_days_that_no_lookback_reaches_is_deleted(tables: Tables) -> None:
    forget_before(tables, NOON, 24)
    for day in (BEFORE, YESTERDAY, TODAY):
        keep(tables, "c-1", 1.0, day=day)
    read(tables)
    forget_before(tables, NOON, 24)
    assert tables.days(CACHE) == [BEFORE, YESTERDAY, TODAY], "a run that began before midnight still reads it"
    forget_before(tables, NOON + timedelta(hours=13), 24)
    assert tables.days(CACHE) == [YESTERDAY, TODAY]
    assert tables.days(ROUNDS) == [BEFORE, YESTERDAY, TODAY]


def test_files_are_kept_by_the_hour_in_which_they_were_written(local: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        path = keep(local, f"c-{number}", 1.0)
        os.utime(path, times=(NOON.timestamp(), NOON.timestamp() + 3600 * (number // 2)))
    read(local)
    hour = int(NOON.timestamp()) // 3600
    assert kept(local) == [f"rounds.{hour + i}.parquet" for i in range(3)]
    written: list[str] = []
    write = Tables.write

    def logged(self: Tables, asset: str, key: TableKey, frame: pl.DataFrame) -> Any:
        written.append(key.version)
        return write(self, asset, key, frame)

    monkeypatch.setattr(Tables, "write", logged)
    os.utime(path, times=(NOON.timestamp(), NOON.timestamp() + 60))
    read(local)
    assert sorted(written) == [str(hour)], "the last hour has no file any more"
    assert kept(local) == [f"rounds.{hour + i}.parquet" for i in range(2)]


@pytest.mark.parametrize("broken", [b"", b"PAR1 no table", b"another"])
def test_a_copy_that_is_broken_is_made_again(tables: Tables, opened: list[str], broken: bytes, caplog: Any) -> None:
    keep(tables, "c-1", 1.0)
    read(tables)
    (name,) = kept(tables)
    tables.objects.fs.pipe_file(tables.path(CACHE, TableKey.named(TODAY, name)), broken)
    assert read(tables) == read(tables) == rows("c-1", 1.0)
    assert len(opened) == 2
    assert "a copy of them is of no use" in caplog.text


def test_a_copy_with_other_columns_is_made_again(tables: Tables, opened: list[str]) -> None:
    keep(tables, "c-1", 1.0)
    WindowCache(tables, ROUNDS, {name: SCHEMA[name] for name in ("challenge_id", "payout")}).rows(TODAY)
    assert read(tables) == read(tables) == rows("c-1", 1.0)
    assert len(opened) == 2


def test_a_column_that_a_file_lacks_is_null(tables: Tables) -> None:
    tables.write(
        ROUNDS, TableKey(TODAY, "c-0"), pl.DataFrame({"challenge_id": ["c-0"], "hotkey": ["hotkey-0"], "z": [1]})
    )
    keep(tables, "c-1", 1.0)
    assert read(tables) == read(tables) == [("c-0", "hotkey-0", None), *rows("c-1", 1.0)]


def test_a_file_that_cannot_be_read_is_named(tables: Tables) -> None:
    keep(tables, "c-1", 1.0)
    tables.objects.fs.pipe_file(keep(tables, "c-2", 1.0), b"PAR1 no table")
    with pytest.raises(StoreError, match=r"c-2\.parquet is no readable table"):
        read(tables)


def test_an_object_store_that_tells_no_versions_apart_is_read_each_time(
    tables: Tables, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = Tables.files

    def untold(self: Tables, asset: str, day: date) -> list[TableFile]:
        return [TableFile(each.name, "", 0) for each in files(self, asset, day)]

    monkeypatch.setattr(Tables, "files", untold)
    keep(tables, "c-1", 1.0)
    assert read(tables) == read(tables) == rows("c-1", 1.0)
    assert len(opened) == 2
    assert kept(tables) == []


@pytest.mark.parametrize(
    ("info", "told"),
    [
        ({"ETag": "a"}, True),
        ({"LastModified": NOON}, True),
        ({"mtime": 1.5}, True),
        ({"created": NOON}, True),
        ({}, False),
        ({"ETag": "", "mtime": None}, False),
    ],
)
def test_versions_of_objects_are_told_by_what_their_store_says(info: dict[str, Any], told: bool) -> None:
    found = remote_file({"name": "bucket/x/c-1.parquet", "size": 7, "type": "file", **info})
    assert (found.name, bool(found.stamp)) == ("c-1.parquet", told)


def test_two_at_once_read_the_same(local: Tables) -> None:
    for number in range(40):
        keep(local, f"c-{number:02}", float(number))
    found: list[list[Row]] = []
    threads = [threading.Thread(target=lambda: found.append(read(local))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[row for number in range(40) for row in rows(f"c-{number:02}", float(number))]] * 4


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["write", "write", "remove", "read", "forget", "break"]),
        st.integers(0, 3),
        st.lists(st.floats(0, 2), max_size=2),
    ),
    max_size=14,
)


@examples(60)
@given(STEPS)
def test_whatever_happens_the_rows_are_those_of_the_files(steps: list[tuple[str, int, list[float]]]) -> None:
    root = f"memory://{uuid.uuid4().hex}"
    tables, there = Tables(root), dict[int, list[float]]()
    for what, number, payouts in steps:
        if what == "write":
            keep(tables, f"c-{number}", *payouts, day=TODAY if number % 2 else YESTERDAY)
            there[number] = payouts
        elif what == "remove":
            tables.remove(ROUNDS, TableKey(TODAY if number % 2 else YESTERDAY, f"c-{number}"))
            there.pop(number, None)
        elif what == "forget":
            tables.remove_day(CACHE, TODAY)
        elif what == "break":
            for name in (each.name for each in tables.files(CACHE, TODAY)):
                tables.objects.fs.pipe_file(tables.path(CACHE, TableKey.named(TODAY, name)), b"PAR1")
        assert read(tables) == [row for n in sorted(there) for row in rows(f"c-{n}", *there[n])]
    fsspec.filesystem("memory").rm("/" + root.removeprefix("memory://"), recursive=True)
