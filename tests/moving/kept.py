"""When a test imports, of whom, and what was kept."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from loosh_pipeline.moving.importing import Places, Report
from loosh_pipeline.store.imported import IMPORTED_EMISSIONS
from loosh_pipeline.store.tables import Tables
from tests.existing import hotkeys

NOW = datetime(2026, 1, 3, 12, tzinfo=UTC)
ALICE, BOB, CAROL = hotkeys(3)
HOUR = timedelta(hours=1)
Import = Callable[..., Report]


def rows_of(places: Places) -> list[tuple[Any, ...]]:
    tables = Tables(places.tables_root)
    frames = [tables.read(IMPORTED_EMISSIONS, key) for key in tables.newest_first(IMPORTED_EMISSIONS)]
    found = pl.concat(frames).sort("evaluation_id", "hotkey") if frames else pl.DataFrame()
    return list(found.select("evaluation_id", "evaluated_at", "hotkey", "emission").iter_rows()) if frames else []


def everything(places: Places) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in Path(places.tables_root).parent.rglob("*") if path.is_file()}


def reasons(report: Report) -> dict[str, int]:
    return {each["why"]: each["count"] for each in report.skipped.to_list()}
