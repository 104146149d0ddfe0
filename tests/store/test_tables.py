"""Tables appear whole or not at all, the first record of what strangers said stands, and no id leaves the root."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import threading
import uuid
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import duckdb
import fsspec
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loosh_pipeline.errors import StoreError
from loosh_pipeline.store import objects as objects_module
from loosh_pipeline.store import tables as module
from loosh_pipeline.store.tables import TableKey, Tables, file_stem
from tests.builders import NOON

TODAY = NOON.date()
KEY = TableKey(TODAY, "c-1")

HOSTILE = [
    "../../etc/passwd",
    "..",
    ".",
    "",
    "/etc/passwd",
    "a/b",
    "a\\b",
    "-rf",
    "--",
    ".hidden",
    "~",
    "~root",
    "a.b",
    "a.v1",
    "C-1",
    "c-1",
    "CON",
    "x" * 128,
    "x" * 101,
    "x" * 100,
    "日本語",
    "e\u0301",
    "é",
    "\u202egpj.exe",
    "a b",
    "a*",
    "[a]",
    "{a}",
    "a'b",
    "a%2fb",
    "day=2026-01-02",
    "\ud800",
]


def frame(*values: int) -> pl.DataFrame:
    return pl.DataFrame({"a": values}, schema={"a": pl.Int64})


def values(found: pl.DataFrame | None) -> list[int]:
    assert found is not None
    return found["a"].to_list()


def test_what_is_written_is_read_and_described(tables: Tables) -> None:
    written = tables.write("scores", KEY, frame(1, 2))
    assert values(tables.read("scores", KEY)) == [1, 2]
    assert (written.rows, written.existed) == (2, False)
    described = tables.describe("scores", KEY)
    assert (described.sha256, described.size_bytes, described.rows) == (written.sha256, written.size_bytes, 2)
    with fsspec.open(_address(tables, written.path), "rb") as file:
        assert hashlib.sha256(file.read()).hexdigest() == written.sha256


def _address(tables: Tables, path: str) -> str:
    return str(tables.objects.fs.unstrip_protocol(path))


def test_write_replaces_and_the_same_rows_are_the_same_bytes(tables: Tables) -> None:
    first = tables.write("scores", KEY, frame(1))
    assert tables.write("scores", KEY, frame(1)).sha256 == first.sha256
    second = tables.write("scores", KEY, frame(2))
    assert (second.existed, second.sha256 == first.sha256) == (False, False)
    assert values(tables.read("scores", KEY)) == [2]


def test_write_once_keeps_the_first_and_describes_it(tables: Tables) -> None:
    first = tables.write_once("responses", KEY, frame(1, 2, 3))
    again = tables.write_once("responses", KEY, frame(9))
    assert (first.existed, again.existed) == (False, True)
    assert (again.rows, again.sha256) == (3, first.sha256)
    assert values(tables.read("responses", KEY)) == [1, 2, 3]


def test_an_object_store_that_can_is_asked_to_put_only_what_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    tables = Tables(f"memory://{uuid.uuid4().hex}")
    tables.write_once("responses", KEY, frame(1))
    looks = iter([False, True])  # somebody writes it between our look and the store's own
    monkeypatch.setattr(tables.objects.fs, "exists", lambda _path: next(looks))
    assert tables.write_once("responses", KEY, frame(2)).existed
    assert values(tables.read("responses", KEY)) == [1]


def test_writers_at_once_have_one_winner_and_leave_nothing_behind(local: Tables) -> None:
    barrier = threading.Barrier(6)
    kept: list[bool] = []

    def write(number: int) -> None:
        barrier.wait()
        kept.append(not local.write_once("responses", KEY, frame(number)).existed)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(kept) == [False] * 5 + [True]
    assert os.listdir(os.path.dirname(local.path("responses", KEY))) == ["c-1.parquet"]


def test_a_reader_never_sees_half_a_file(local: Tables) -> None:
    sizes = [frame(*range(20_000)), frame(*range(5))]
    local.write("scores", KEY, sizes[0])
    done = threading.Event()

    def rewrite() -> None:
        for turn in range(60):
            local.write("scores", KEY, sizes[turn % 2])
        done.set()

    writer = threading.Thread(target=rewrite)
    writer.start()
    seen = set()
    while not done.is_set():
        seen.add(local.read("scores", KEY).height)
    writer.join()
    assert seen <= {20_000, 5}
    assert os.listdir(os.path.dirname(local.path("scores", KEY))) == ["c-1.parquet"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_table_and_no_temporary_file(
    local: Tables, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    local.write("scores", KEY, frame(1))

    def no_space(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(objects_module.os, call, no_space)
        with pytest.raises(OSError, match="No space left"):
            local.write("scores", KEY, frame(2))
    assert values(local.read("scores", KEY)) == [1]
    assert os.listdir(os.path.dirname(local.path("scores", KEY))) == ["c-1.parquet"]


def test_a_killed_writer_leaves_no_table_and_no_obstacle(local: Tables, tmp_path: Path) -> None:
    killed = """
import os, signal, sys
from datetime import date
import polars as pl
from loosh_pipeline.store import objects, tables
objects.os.link = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
tables.Tables(sys.argv[1]).write_once("responses", tables.TableKey(date(2026, 1, 2), "c-1"), pl.DataFrame({"a": [1]}))
"""
    done = subprocess.run([sys.executable, "-c", killed, str(tmp_path / "tables")], check=False)
    assert done.returncode == -9
    assert not local.exists("responses", KEY)
    assert local.latest("responses") is None
    assert local.register_views(duckdb.connect(), ["responses"]) == []
    assert not local.write_once("responses", KEY, frame(7)).existed


def test_what_is_missing_or_broken_is_named(tables: Tables) -> None:
    assert not tables.exists("scores", KEY)
    for look in (tables.read, tables.describe):
        with pytest.raises(StoreError, match=r"no table .*day=2026-01-02/c-1\.parquet; materialize scores"):
            look("scores", KEY)
    tables.write("scores", KEY, frame(1))
    tables.objects.fs.pipe_file(tables.path("scores", KEY), b"PAR1 but not really PAR1")
    for broken in (lambda: tables.read("scores", KEY), lambda: tables.latest("scores")):
        with pytest.raises(StoreError, match=r"c-1\.parquet is no readable table"):
            broken()


def test_hostile_ids_stay_inside_and_apart(tables: Tables) -> None:
    for number, identity in enumerate(HOSTILE):
        tables.write_once("responses", TableKey.of(identity, NOON), frame(number))
    for number, identity in enumerate(HOSTILE):
        assert values(tables.read("responses", TableKey.of(identity, NOON))) == [number]
    files = tables.objects.fs.find(tables.objects.root)
    assert len(files) == len(HOSTILE)
    assert {os.path.dirname(path) for path in files} == {f"{tables.objects.root}/responses/day=2026-01-02"}
    assert {len(os.path.basename(path).encode()) <= 255 for path in files} == {True}
    assert len({os.path.basename(path).casefold() for path in files}) == len(HOSTILE), (
        "no file system takes two for one"
    )
    assert values(tables.read("responses", TableKey.of("c-1", NOON))) == [HOSTILE.index("c-1")]


@given(st.text(max_size=140), st.text(max_size=140))
def test_any_two_ids_have_two_names_that_are_only_names(one: str, two: str) -> None:
    for identity in (one, two):
        stem = file_stem(identity)
        assert stem
        assert stem[0] not in ".-"
        assert not set(stem) & set("/\\\0.*?[]{}'\" \n")
    if one != two:
        assert file_stem(one).casefold() != file_stem(two).casefold()


def test_common_ids_keep_their_name_and_versions_lie_side_by_side(tables: Tables) -> None:
    common = "0b5e8c1a-9d2f-4a3b-8c7d-6e5f4a3b2c1d"
    assert file_stem(common) == common
    assert file_stem("20260102T120000000000-EPHEMERA") == "20260102T120000000000-EPHEMERA"
    for version in ("", "v1", "v2"):
        tables.write("scores", TableKey.of(common, NOON, version), frame(len(version)))
    assert TableKey.of(common, NOON, "v1").file == f"{common}.v1.parquet"
    assert len(tables.objects.fs.find(tables.objects.root)) == 3


def test_the_day_is_the_one_in_utc(tables: Tables) -> None:
    tokyo = datetime(2026, 1, 3, 8, tzinfo=timezone(timedelta(hours=9)))
    assert TableKey.of("c-1", tokyo).day == date(2026, 1, 2)
    with pytest.raises(StoreError, match="naive"):
        TableKey.of("c-1", tokyo.replace(tzinfo=None))


def test_days_and_latest(tables: Tables) -> None:
    assert (tables.days("metagraph"), tables.latest("metagraph")) == ([], None)
    for number, name in enumerate(["20260102T120000000000-9", "20260102T120000000001-10", "20260102T090000000000-8"]):
        tables.write("metagraph", TableKey(TODAY, name), frame(number))
    assert values(tables.latest("metagraph")) == [1]
    tables.write("metagraph", TableKey(date(2025, 12, 31), "20251231T235959999999-1"), frame(7))
    assert values(tables.latest("metagraph")) == [1]
    assert tables.days("metagraph") == [date(2025, 12, 31), TODAY]


def test_tables_that_cannot_be_listed_are_not_taken_for_none(local: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: object, **__: object) -> None:
        raise PermissionError("not yours")

    monkeypatch.setattr(os, "listdir", refuses)
    with pytest.raises(StoreError, match=r"cannot list the tables in .*metagraph: not yours"):
        local.latest("metagraph")


def test_what_is_not_ours_is_left_alone(local: Tables, tmp_path: Path) -> None:
    local.write("scores", KEY, frame(1))
    asset = tmp_path / "tables" / "scores"
    for stray in ("day=2026-01-02.bak", "day=tomorrow", "notes", "day=2026-01-09"):
        (asset / stray).mkdir()
    (asset / "day=2026-01-09" / ".half.tmp").write_bytes(b"x")
    assert local.days("scores") == [TODAY, date(2026, 1, 9)]
    assert values(local.latest("scores")) == [1]
    connection = duckdb.connect()
    assert local.register_views(connection, ["scores"]) == ["scores"]
    assert connection.execute("SELECT a FROM scores").fetchall() == [(1,)]


def test_views_hold_every_table_since_a_day(tables: Tables) -> None:
    days = [TODAY - timedelta(days=back) for back in (0, 1, 5)]
    for number, day in enumerate(days):
        tables.write("scores", TableKey(day, f"_c-{number}", "v1"), frame(number))
    tables.write("scores", TableKey(TODAY, file_stem("../it's"), "v1"), frame(3))
    connection = duckdb.connect()
    everything = "SELECT a FROM scores ORDER BY a"

    assert tables.register_views(connection, ["scores", "nothing"]) == ["scores"]
    assert connection.execute(everything).fetchall() == [(0,), (1,), (2,), (3,)]
    assert tables.register_views(connection, ["scores"], since=days[1]) == ["scores"]
    assert connection.execute(everything).fetchall() == [(0,), (1,), (3,)]
    assert tables.register_views(connection, ["scores"], since=TODAY + timedelta(days=1)) == []


def test_views_join_tables_of_an_older_shape(tables: Tables) -> None:
    tables.write("scores", TableKey(TODAY, "old"), frame(1))
    tables.write("scores", TableKey(TODAY, "new"), frame(2).with_columns(b=pl.lit("x")))
    connection = duckdb.connect()
    tables.register_views(connection, ["scores"])
    assert connection.execute("SELECT a, b FROM scores ORDER BY a").fetchall() == [(1, None), (2, "x")]


def test_a_root_with_a_quote_works_and_one_that_is_a_pattern_is_refused(tmp_path: Path) -> None:
    tables = Tables(str(tmp_path / "it's here"))
    tables.write("scores", KEY, frame(1))
    connection = duckdb.connect()
    assert tables.register_views(connection, ["scores"]) == ["scores"]
    assert connection.execute("SELECT a FROM scores").fetchall() == [(1,)]
    with pytest.raises(StoreError, match=r"contains one of \*\?\["):
        Tables(str(tmp_path / "a[b]"))


def test_listings_are_never_cached(tables: Tables) -> None:
    assert tables.objects.fs.storage_options["use_listings_cache"] is False


def test_an_empty_table_keeps_its_columns(tables: Tables) -> None:
    tables.write("scores", KEY, frame())
    found = tables.read("scores", KEY)
    assert (found.height, found.schema) == (0, frame().schema)
    buffer = io.BytesIO()
    found.write_parquet(buffer, compression="zstd")
    assert tables.describe("scores", KEY).sha256 == hashlib.sha256(buffer.getvalue()).hexdigest()


def test_objects_are_held_in_memory_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    tables, at_once = Tables(f"memory://{uuid.uuid4().hex}"), []
    cat = type(tables.objects.fs).cat

    def counted(self: object, paths: list[str], **how: object) -> object:
        at_once.append(len(paths))
        return cat(self, paths, **how)

    monkeypatch.setattr(type(tables.objects.fs), "cat", counted)
    monkeypatch.setattr(module, "OBJECTS_AT_ONCE", 3)
    names = [tables.write("scores", TableKey(TODAY, f"c-{i}"), pl.DataFrame({"x": [i]})).path for i in range(7)]
    files = [os.path.basename(name) for name in names]
    found = tables.read_files("scores", TODAY, files, {"x": pl.Int64})
    assert found.rows() == [(name, i) for i, name in enumerate(files)]
    assert at_once == [3, 3, 1]
    assert tables.read_files("scores", TODAY, [], {"x": pl.Int64}).columns == ["file", "x"]


def test_a_day_into_which_somebody_writes_can_be_removed(local: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    frame, rmdir = pl.DataFrame({"x": [1]}), os.rmdir
    local.write("scores", KEY, frame)

    def late(path: object, **how: Any) -> None:
        monkeypatch.setattr(os, "rmdir", rmdir)
        local.write("scores", TableKey(TODAY, "c-2"), frame)
        rmdir(path, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "rmdir", late)
    local.remove_day("scores", TODAY)
    assert [each.name for each in local.files("scores", TODAY)] == ["c-2.parquet"]
    local.remove_day("scores", TODAY)
    local.remove_day("scores", TODAY)
    assert local.days("scores") == []


def test_a_day_that_may_not_be_removed_says_so(local: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    local.write("scores", KEY, pl.DataFrame({"x": [1]}))

    def closed(*_: object, **__: object) -> None:
        raise PermissionError(13, "not yours")

    monkeypatch.setattr(local.objects.fs, "rm", closed)
    with pytest.raises(PermissionError):
        local.remove_day("scores", TODAY)
