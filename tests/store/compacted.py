"""Days of small tables, and all that any reader says of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import duckdb
import polars as pl

from loosh_pipeline.store.compaction import DayCompaction, Done
from loosh_pipeline.store.compaction_plan import KEPT, Limits
from loosh_pipeline.store.tables import TableKey, Tables, file_stem
from tests.builders import NOON

SCORES = "scores"
DAY = NOON.date()
LATER = datetime.now(UTC) + timedelta(hours=1)
"""After all that object stores have written into parts, which is dated by the clock."""
FEW = Limits(tables=5, size_bytes=1 << 20, merge_at=3)
"""Parts that are full with five tables."""
READ: dict[str, Any] = {"challenge_id": pl.String, "payout": pl.Float64, "remark": pl.String}


def scores(challenge: str, *payouts: float, remark: str | None = None) -> pl.DataFrame:
    """A round of miners 0, 1, …; with `remark` in the shape of a later release."""
    rows = [(challenge, f"hotkey-{i}", payout, NOON, ["a", challenge]) for i, payout in enumerate(payouts)]
    schema = {
        "challenge_id": pl.String,
        "hotkey": pl.String,
        "payout": pl.Float64,
        "at": pl.Datetime("ms", "UTC"),
        "sources": pl.List(pl.String),
    }
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    return frame if remark is None else frame.with_columns(remark=pl.lit(remark))


def put_scores(tables: Tables, count: int, day: date = DAY, version: str = "v1", start: int = 0) -> None:
    """Rounds of several shapes: every fourth without rows, every third of a later release, one of a strange name."""
    for number in range(start, start + count):
        name = file_stem(f"strange/{number}") if number % 5 == 1 else f"c-{number:03}"
        payouts = [] if number % 4 == 3 else [number + 0.25, float("nan"), -0.0]
        remark = "later" if number % 3 == 2 else None
        tables.write(SCORES, TableKey(day, name, version), scores(name, *payouts, remark=remark))


def compact(
    tables: Tables,
    at: datetime = LATER,
    day: date = DAY,
    limits: Limits = FEW,
    asset: str = SCORES,
    over: Callable[[], bool] = lambda: False,
) -> Done:
    return DayCompaction(tables, asset, day, lambda: at, over, limits).run()


def compact_wholly(tables: Tables, at: datetime = LATER, day: date = DAY, asset: str = SCORES) -> datetime:
    """Until no file lies alone; returns when that was."""
    for _ in range(4):
        if not compact(tables, at, day, asset=asset).left:
            return at
        at += KEPT
    raise AssertionError(f"files lie alone: {tables.originals(asset, day)}")


def everything(tables: Tables, asset: str = SCORES) -> dict[str, Any]:
    """What every way to read says of an asset, as plain values."""
    days = tables.days(asset)
    found: dict[str, Any] = {"newest_first": [(str(key.day), key.file) for key in tables.newest_first(asset)]}
    for day in days:
        keys = []
        for key, frame in tables.each(asset, day):
            keys.append(key)
            told, read = tables.describe(asset, key), tables.read(asset, key)
            assert tables.exists(asset, key)
            assert (read.schema, str(read.rows())) == (frame.schema, str(frame.rows())), key
            found[f"{day} {key.file}"] = (str(frame.schema), str(frame.rows()), told.rows, told.size_bytes, told.sha256)
        names = [key.file for key in keys]
        assert sorted(each.name for each in tables.files(asset, day)) == names
        found[f"{day} columns"] = str(tables.read_files(asset, day, names, READ).rows())
        found[f"{day} some"] = str(tables.read_files(asset, day, names[::-2], READ).rows())
    return found


def in_sql(tables: Tables, asset: str = SCORES) -> list[str]:
    """All rows that a view of an asset has."""
    connection = duckdb.connect()
    if not tables.register_views(connection, [asset]):
        return []
    columns = [row[0] for row in connection.execute(f'DESCRIBE "{asset}"').fetchall()]
    assert columns[-1] == "day"
    chosen = ", ".join(f'"{name}"' for name in sorted(columns))
    return sorted(map(str, connection.execute(f'SELECT {chosen} FROM "{asset}"').fetchall()))


def parts(tables: Tables, day: date = DAY, asset: str = SCORES) -> list[int]:
    return [part.number for part in tables.closed.parts(asset, day)]
