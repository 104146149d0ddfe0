"""What was taken over from an existing validator: the table `imported_emissions`, and what its network makes of it.

    ROOT/imported_emissions/day=…/FIRST-LAST-DIGEST.parquet   some evaluations of that day, by their ids; only added to

A row is what one evaluation paid one hotkey. It is known by the evaluation's id and time and the hotkey, so that the
same file, or a newer copy of it, adds only what is not there. Names are made of the rows: a killed import, begun again,
writes the same files.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import polars as pl

from loosh_pipeline.domain import Hotkey
from loosh_pipeline.policy.inputs import Imported
from loosh_pipeline.scoring.network.pay import EmissionRow, moving_averages
from loosh_pipeline.scoring.network.profile import NetworkPay
from loosh_pipeline.store.frames import UTC_MS
from loosh_pipeline.store.tables import TableKey, Tables

IMPORTED_EMISSIONS = "imported_emissions"
IMPORTED: Mapping[str, Any] = {
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
    """Of some rows: how many were new, known, and known with another emission (which stands as it was)."""

    new: int = 0
    known: int = 0
    other: int = 0

    def __add__(self, more: Kept) -> Kept:
        return Kept(self.new + more.new, self.known + more.known, self.other + more.other)


def keep(tables: Tables | None, rows: pl.DataFrame, *, write: bool = True) -> Kept:
    """Add the rows that are not there yet; `write` false only counts. No tables: nothing is there.

    Rows come by evaluation id, the smallest first.
    """
    found = Kept()
    for (day,), part in rows.group_by(pl.col("evaluated_at").dt.date(), maintain_order=True):
        among = part["evaluation_id"][0], part["evaluation_id"][-1]
        known = pl.DataFrame(schema=IMPORTED) if tables is None else _of_day(tables, day, among)
        new = part.join(known, on=list(KEY), how="anti").sort(*KEY)
        both = part.join(known, on=list(KEY), how="inner")
        found += Kept(new.height, both.height, both.filter(pl.col("emission") != pl.col("emission_right")).height)
        if write and tables is not None and not new.is_empty():
            tables.write_once(IMPORTED_EMISSIONS, _key(day, new), new)
    return found


def _key(day: date, rows: pl.DataFrame) -> TableKey:
    digest = hashlib.sha256(rows.select(*KEY, "emission").write_csv().encode()).hexdigest()
    return TableKey(day, f"{rows['evaluation_id'][0]}-{rows['evaluation_id'][-1]}-{digest[:16]}")


def _of_day(tables: Tables, day: date, among: tuple[int, int] | None = None) -> pl.DataFrame:
    """Its rows, each once: two imports at a time may both have written one. `among`: of files with such ids only."""
    names = sorted(
        each.name for each in tables.files(IMPORTED_EMISSIONS, day) if among is None or _holds(each.name, among)
    )
    rows = tables.read_files(IMPORTED_EMISSIONS, day, names, IMPORTED)
    return rows.select(*IMPORTED).sort(*KEY, "imported_at").unique(subset=list(KEY), keep="first", maintain_order=True)


def _holds(file: str, among: tuple[int, int]) -> bool:
    """Whether a file's name says that it may hold evaluations of these ids; they come in their order."""
    ids = FIRST_LAST.match(file)
    return ids is None or (int(ids[1]) <= among[1] and int(ids[2]) >= among[0])


def imported_at(tables: Tables, at: datetime, longest_h: float) -> Imported | None:
    """What the network's method makes, as of their newest, of the evaluations that were imported by a time.

    None when there are none, or none in the last `longest_h`.
    """
    oldest = at - timedelta(hours=longest_h)
    days = [day for day in tables.days(IMPORTED_EMISSIONS) if oldest.date() <= day <= at.date()]
    while days:
        rows = _known_by(tables, days.pop(), at)
        if not rows.is_empty():
            found = _averaged(tables, rows, at)
            return found if found.until >= oldest else None
    return None


def _known_by(tables: Tables, day: date, at: datetime) -> pl.DataFrame:
    return _of_day(tables, day).filter(pl.col("imported_at") <= at, pl.col("evaluated_at") <= at)


def _averaged(tables: Tables, newest: pl.DataFrame, at: datetime) -> Imported:
    """`newest`: the rows of the last day that has any."""
    until: datetime = newest["evaluated_at"].max()  # type: ignore[assignment]  # of a column of times that has some
    since = until - timedelta(hours=PAY.lookback_hours)
    before = [day for day in tables.days(IMPORTED_EMISSIONS) if since.date() <= day < until.date()]
    rows = pl.concat([*(_known_by(tables, day, at) for day in before), newest]).filter(pl.col("evaluated_at") >= since)
    evaluations = (
        rows.sort("evaluated_at", "evaluation_id", "hotkey")
        .group_by("evaluated_at", "evaluation_id", maintain_order=True)
        .agg("hotkey", "emission")
    )
    paid = [
        EmissionRow(when, dict(zip(hotkeys, emissions, strict=True)))
        for when, _, hotkeys, emissions in evaluations.iter_rows()
    ]
    return Imported(
        since=paid[0].at,
        until=until,
        evaluations=len(paid),
        averages={Hotkey(hotkey): each for hotkey, each in moving_averages(paid, until, PAY).items()},
        files=tuple(rows["source_sha256"].unique().sort()),
        read_at=rows["imported_at"].max(),  # type: ignore[arg-type]  # likewise
    )
