"""What was taken over from an existing validator: the table `imported_emissions`, and what its network makes of it.

    ROOT/imported_emissions/day=…/FIRST-LAST-DIGEST.parquet   some evaluations of that day, by their ids; only added to

A row is what one evaluation paid one hotkey. It is known by the evaluation's id and time and the hotkey, so that the
same file, or a newer copy of it, adds only what is not there. Names are made of the rows: a killed import, begun again,
writes the same files.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import polars as pl

from loosh_pipeline.domain import Hotkey
from loosh_pipeline.errors import StoreError
from loosh_pipeline.policy.inputs import Imported
from loosh_pipeline.scoring.network.profile import NetworkPay
from loosh_pipeline.store.frames import UTC_MS
from loosh_pipeline.store.tables import TableKey, Tables

IMPORTED_EMISSIONS = "imported_emissions"
IMPORTED_COLUMNS: Mapping[str, Any] = {
    "evaluation_id": pl.Int64,
    "evaluated_at": UTC_MS,
    "hotkey": pl.String,
    "emission": pl.Float64,
    "source_sha256": pl.String,
    "imported_at": UTC_MS,
}
KEY = ("evaluation_id", "evaluated_at", "hotkey")
PAY = NetworkPay()
FIRST_LAST = re.compile(r"(-?[0-9]+)-(-?[0-9]+)-")


@dataclass(frozen=True, slots=True)
class Kept:
    """Of some rows: how many were new, known, and known with another emission (which stands as it was). Of the known
    ones, `ahead` were imported by a clock that was ahead, and are kept again with the true time.
    """

    new: int = 0
    known: int = 0
    other: int = 0
    ahead: int = 0

    def __add__(self, more: Kept) -> Kept:
        return Kept(self.new + more.new, self.known + more.known, self.other + more.other, self.ahead + more.ahead)


def keep(tables: Tables | None, rows: pl.DataFrame, *, write: bool = True) -> Kept:
    """Add the rows that are not there yet; `write` false only counts. No tables: nothing is there.

    Rows come by evaluation id, the smallest first, and were all imported at one time.
    """
    found = Kept()
    for (day,), part in rows.group_by(pl.col("evaluated_at").dt.date(), maintain_order=True):
        among = part["evaluation_id"][0], part["evaluation_id"][-1]
        known = pl.DataFrame(schema=IMPORTED_COLUMNS) if tables is None else _of_day(tables, day, among)
        new = part.join(known, on=list(KEY), how="anti").sort(*KEY)
        both = part.join(known, on=list(KEY), how="inner")
        other = both.filter(pl.col("emission") != pl.col("emission_right")).height
        now = part["imported_at"][0]
        ahead = known.join(part, on=list(KEY), how="semi").filter(pl.col("imported_at") > now)
        found += Kept(new.height, both.height, other, ahead.height)
        if write and tables is not None:
            if not new.is_empty():
                tables.write_once(IMPORTED_EMISSIONS, _key(day, new), new)
            if not ahead.is_empty():  # until that time they would count for nothing
                dated = ahead.with_columns(imported_at=pl.lit(now, UTC_MS)).sort(*KEY)
                tables.write(IMPORTED_EMISSIONS, _key(day, dated), dated)
    return found


def _key(day: date, rows: pl.DataFrame) -> TableKey:
    digest = hashlib.sha256(rows.select(*KEY, "emission").write_csv().encode()).hexdigest()
    return TableKey(day, f"{rows['evaluation_id'][0]}-{rows['evaluation_id'][-1]}-{digest[:16]}")


def _of_day(tables: Tables, day: date, among: tuple[int, int] | None = None) -> pl.DataFrame:
    """Its rows, each once: two imports at a time may both have written one. `among`: of files with such ids only."""
    ids = {each.name: _ids(each.name) for each in tables.files(IMPORTED_EMISSIONS, day)}
    if among is not None:
        ids = {name: each for name, each in ids.items() if each[0] <= among[1] and each[1] >= among[0]}
    return pl.concat([pl.DataFrame(schema=IMPORTED_COLUMNS), *(_once(tables, day, names) for names in _apart(ids))])


def _once(tables: Tables, day: date, names: list[str]) -> pl.DataFrame:
    rows = tables.read_files(IMPORTED_EMISSIONS, day, names, IMPORTED_COLUMNS).select(*IMPORTED_COLUMNS)
    return rows.sort(*KEY, "imported_at").unique(subset=list(KEY), keep="first", maintain_order=True)


def _ids(file: str) -> tuple[float, float]:
    """The first and the last of the evaluations that a file holds, as its name says; any, where it does not."""
    found = FIRST_LAST.match(file)
    return (-math.inf, math.inf) if found is None else (int(found[1]), int(found[2]))


def _apart(ids: Mapping[str, tuple[float, float]]) -> Iterator[list[str]]:
    """Files that may hold the same rows together, others apart: millions of rows at once would take a gigabyte."""
    names, last = list[str](), -math.inf
    for name in sorted(ids, key=lambda name: (ids[name], name)):
        if names and ids[name][0] > last:
            yield names
            names = []
        names.append(name)
        last = max(last, ids[name][1])
    if names:
        yield names


def first_imported_at(tables: Tables, at: datetime, longest_h: float) -> datetime | None:
    """When the first rows were imported that a lookback of `longest_h` may take; None when there are none.

    Where nothing was imported it only lists days.
    """
    first: list[datetime] = []
    for day in _days(tables, at, longest_h):
        names = [each.name for each in tables.files(IMPORTED_EMISSIONS, day)]
        times = tables.read_files(IMPORTED_EMISSIONS, day, names, {"imported_at": UTC_MS})["imported_at"]
        first += times.filter(times <= at).unique().to_list()
    return min(first, default=None)


def _days(tables: Tables, at: datetime, longest_h: float) -> list[date]:
    """The days of a lookback that have rows, the oldest first."""
    oldest = at - timedelta(hours=longest_h)
    return [day for day in tables.days(IMPORTED_EMISSIONS) if oldest.date() <= day <= at.date()]


def imported_at(tables: Tables, at: datetime, longest_h: float) -> Imported | None:
    """What the network's method makes, as of their newest, of the evaluations that were imported by a time.

    None when there are none, or none in the last `longest_h`.
    """
    oldest, days = at - timedelta(hours=longest_h), _days(tables, at, longest_h)
    while days:
        rows = _known_by(tables, days.pop(), at)
        if not rows.is_empty():
            until: datetime = rows["evaluated_at"].max()  # type: ignore[assignment]  # a column of times that has some
            first = first_imported_at(tables, at, longest_h) if until >= oldest else None
            return None if first is None else _averaged(tables, rows, until, at, first)
    return None


def _known_by(tables: Tables, day: date, at: datetime) -> pl.DataFrame:
    return _of_day(tables, day).filter(pl.col("imported_at") <= at, pl.col("evaluated_at") <= at)


def _averaged(tables: Tables, newest: pl.DataFrame, until: datetime, at: datetime, first: datetime) -> Imported:
    """`newest`: the rows of the last day that has any. In columns: there may be millions of them."""
    since = until - timedelta(hours=PAY.lookback_hours)
    before = [day for day in tables.days(IMPORTED_EMISSIONS) if since.date() <= day < until.date()]
    rows = pl.concat([*(_known_by(tables, day, at) for day in before), newest]).filter(pl.col("evaluated_at") >= since)
    if not rows["emission"].is_finite().all():
        raise StoreError("imported_emissions holds an emission that is no number; no weight can be made of it")
    rows = rows.sort("evaluated_at", "evaluation_id", "hotkey")
    average = pl.col("emission").ewm_mean(alpha=PAY.ema_alpha, adjust=False).last()  # as network.pay.moving_averages
    found = rows.group_by("hotkey", maintain_order=True).agg(average, count=pl.len())
    return Imported(
        since=rows["evaluated_at"][0],
        until=until,
        evaluations=rows.select(pl.struct("evaluation_id", "evaluated_at").n_unique()).item(),
        averages={Hotkey(hotkey): each for hotkey, each in found.select("hotkey", "emission").iter_rows()},
        counts={Hotkey(hotkey): each for hotkey, each in found.select("hotkey", "count").iter_rows()},
        files=tuple(rows["source_sha256"].unique().sort()),
        first_read_at=first,
    )
