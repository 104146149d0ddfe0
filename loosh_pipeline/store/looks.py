"""The looks that were taken at all neurons, as table rows, and as presence is counted from."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

import polars as pl

from loosh_pipeline.domain import Hotkey
from loosh_pipeline.emissions import Terms
from loosh_pipeline.presence import Looks
from loosh_pipeline.store.frames import UTC_MS
from loosh_pipeline.store.tables import Tables
from loosh_pipeline.store.window_cache import WindowCache

LOOKS: Mapping[str, Any] = {"taken_at": UTC_MS, "hotkey": pl.String, "available": pl.Boolean}
"""A row for every neuron that was looked for, of every look."""


def look_rows(tables: Tables, since: date, until: date = date.max, *, keeps: bool = True) -> pl.DataFrame:
    """All looks of the days from `since` to `until`. `keeps`: as of `WindowCache`."""
    return WindowCache(tables, "miner_availability", LOOKS, keeps=keeps).rows(since, until)


def looks_behind(tables: Tables, terms: Terms) -> Looks | None:
    """Those that coverage was counted from under these terms; None where there are none, or are kept no more."""
    if terms.looks_until is None:
        return None
    rows = look_rows(tables, terms.since.date(), terms.looks_until.date(), keeps=False)
    rows = rows.filter(pl.col("taken_at").is_between(terms.since, terms.looks_until))
    return None if rows.is_empty() else looks_of(rows)


def looks_of(rows: pl.DataFrame) -> Looks:
    """A `LOOKS` table as arrays."""
    names = rows["hotkey"].unique().sort()
    return Looks(
        hotkeys=tuple(map(Hotkey, names)),
        miner=rows["hotkey"].cast(pl.Enum(names)).to_physical().cast(pl.Int64).to_numpy(),
        at_ms=rows["taken_at"].dt.epoch("ms").to_numpy(),
        available=rows["available"].to_numpy(),
    )
