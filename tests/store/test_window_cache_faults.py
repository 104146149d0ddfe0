"""What happens to copies of rows, or to files while they are read, changes no plan."""

from __future__ import annotations

import os
from datetime import date
from typing import Any

import polars as pl
import pytest

from loosh_pipeline.store.objects import TableFile
from loosh_pipeline.store.tables import TableKey, Tables
from loosh_pipeline.store.window_cache import forget_before
from tests.builders import NOON
from tests.store.cached import BEFORE, CACHE, ROUNDS, TODAY, YESTERDAY, keep, kept, read, rows


def test_days_that_cannot_be_deleted_are_a_warning(
    tables: Tables, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    keep(tables, "c-1", 1.0, day=BEFORE)
    read(tables)
    monkeypatch.setattr(Tables, "remove_day", failing(PermissionError("not yours")))
    forget_before(tables, NOON, 1)
    forget_before(tables, NOON, 1e9)
    assert [each.getMessage() for each in caplog.records] == [
        "copies of rows from before the last 1 h cannot be deleted: not yours",
        "copies of rows from before the last 1e+09 h cannot be deleted: date value out of range",
    ]


def failing(error: Exception) -> Any:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    return fail


class StoreClientError(Exception):
    """Not all clients of object stores raise OSError."""


@pytest.mark.parametrize("what", ["write", "remove"])
@pytest.mark.parametrize("error", [PermissionError("not yours"), OSError("disk full"), StoreClientError("403")])
def test_copies_that_cannot_be_kept_cost_time_and_one_warning(
    tables: Tables,
    opened: list[str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    what: str,
    error: Exception,
) -> None:
    """One command run as another user must not stop the weights, nor change who is paid in an emergency."""
    keep(tables, "c-1", 1.0)
    keep(tables, "c-2", 2.0, day=YESTERDAY)
    if what == "remove":
        read(tables)
        tables.remove(ROUNDS, TableKey(TODAY, "c-1"))
        tables.remove(ROUNDS, TableKey(YESTERDAY, "c-2"))
    expected = [] if what == "remove" else rows("c-1", 1.0) + rows("c-2", 2.0)
    monkeypatch.setattr(Tables, what, failing(error))
    for _ in range(2):
        caplog.clear()
        assert read(tables) == expected
        (said,) = caplog.records
        assert f"no copy of rounds can be kept, so it is read anew each time ({error})" in said.getMessage()
    assert len(opened) == (2 if what == "remove" else 4)


def test_copies_that_cannot_be_listed_or_read_are_done_without(
    tables: Tables, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    keep(tables, "c-1", 1.0)
    read(tables)
    files = Tables.files

    def closed(self: Tables, asset: str, day: date) -> list[TableFile]:
        if asset == CACHE:
            raise PermissionError("not yours")
        return files(self, asset, day)

    with monkeypatch.context() as patch:
        patch.setattr(Tables, "files", closed)
        assert read(tables) == rows("c-1", 1.0)
    assert "no copy of rounds can be kept" in caplog.text
    with monkeypatch.context() as patch:
        patch.setattr(Tables, "read", failing(PermissionError("not yours")))
        assert read(tables) == rows("c-1", 1.0)
    assert "a copy of them is of no use: not yours" in caplog.text


@pytest.fixture
def deleted_once_listed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of files of rounds to be deleted between a look at their directory and the next."""
    names: list[str] = []
    files = Tables.files

    def listed(self: Tables, asset: str, day: date) -> list[TableFile]:
        found = files(self, asset, day)
        if asset == ROUNDS and names:
            self.remove(ROUNDS, TableKey(day, names.pop()))
        return found

    monkeypatch.setattr(Tables, "files", listed)
    return names


def test_files_deleted_while_they_are_read_are_left_out(tables: Tables, deleted_once_listed: list[str]) -> None:
    for number in range(4):
        keep(tables, f"c-{number}", float(number))
    deleted_once_listed.extend(["c-1", "c-2"])
    assert read(tables) == rows("c-0", 0.0) + rows("c-3", 3.0)
    keep(tables, "c-1", 1.0)
    assert read(tables) == rows("c-0", 0.0) + rows("c-1", 1.0) + rows("c-3", 3.0)


def test_so_is_the_last_one_of_a_day_and_the_day_itself(local: Tables, deleted_once_listed: list[str]) -> None:
    path = keep(local, "c-1", 1.0)
    deleted_once_listed.append("c-1")
    assert read(local) == []
    os.rmdir(os.path.dirname(path))
    assert local.files(ROUNDS, TODAY) == []


def test_a_file_that_was_moved_away_counts_again_when_it_is_back(local: Tables, monkeypatch: Any) -> None:
    """Its name, size, time and inode are those that were listed before."""
    keep(local, "c-1", 1.0)
    path, files = keep(local, "c-2", 2.0), Tables.files

    def moved(self: Tables, asset: str, day: date) -> list[TableFile]:
        found = files(self, asset, day)
        if asset == ROUNDS and os.path.exists(path):
            os.rename(path, path + ".away")
        return found

    with monkeypatch.context() as patch:
        patch.setattr(Tables, "files", moved)
        assert read(local) == rows("c-1", 1.0)
    os.rename(path + ".away", path)
    assert read(local) == rows("c-1", 1.0) + rows("c-2", 2.0)


@pytest.mark.parametrize("written", [0, 1, 2])
def test_whatever_write_of_a_copy_fails_no_row_is_lost_or_counted_twice(
    local: Tables, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    for number in range(3):
        path = keep(local, f"c-{number}", 1.0)
        os.utime(path, times=(NOON.timestamp(), NOON.timestamp() + 3600 * number))
    write, left = Tables.write, iter(range(written))

    def dying(self: Tables, asset: str, key: TableKey, frame: pl.DataFrame) -> Any:
        if next(left, None) is None:
            raise OSError("No space left on device")
        return write(self, asset, key, frame)

    with monkeypatch.context() as patch:
        patch.setattr(Tables, "write", dying)
        assert read(local) == [row for number in range(3) for row in rows(f"c-{number}", 1.0)]
    assert len(kept(local)) == written
    assert read(local) == [row for number in range(3) for row in rows(f"c-{number}", 1.0)]
    assert len(kept(local)) == 3
