"""Small rounds, and what a `WindowCache` makes of them."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl

from loosh_pipeline.store.tables import TableKey, Tables
from loosh_pipeline.store.window_cache import CACHE, WindowCache
from tests.builders import NOON

TODAY = NOON.date()
YESTERDAY, BEFORE = TODAY - timedelta(days=1), TODAY - timedelta(days=2)
SCHEMA = {"challenge_id": pl.String, "hotkey": pl.String, "payout": pl.Float64}
ROUNDS = "rounds"

Row = tuple[str, str, float | None]


def keep(tables: Tables, name: str, *payouts: float, day: date = TODAY) -> str:
    """Write a round of miners 0, 1, …; returns where."""
    rows = [(name, f"hotkey-{i}", payout) for i, payout in enumerate(payouts)]
    return tables.write(ROUNDS, TableKey(day, name), pl.DataFrame(rows, schema=SCHEMA, orient="row")).path


def read(tables: Tables, since: date = BEFORE) -> list[Row]:
    frame = WindowCache(tables, ROUNDS, SCHEMA).rows(since)
    assert frame.schema == pl.Schema(SCHEMA)
    return sorted(frame.iter_rows())


def kept(tables: Tables) -> list[str]:
    return sorted(each.name for day in tables.days(CACHE) for each in tables.files(CACHE, day))


def rows(name: str, *payouts: float) -> list[Row]:
    return [(name, f"hotkey-{i}", payout) for i, payout in enumerate(payouts)]
