"""Who was there and who was drawn, as table rows and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

import polars as pl

from loosh_pipeline.domain import Availability, AvailabilityTable, Hotkey
from loosh_pipeline.selection import Draw
from loosh_pipeline.store.frames import UTC_MS

AVAILABILITY: Mapping[str, Any] = {
    "taken_at": UTC_MS,
    "hotkey": pl.String,
    "uid": pl.Int32,
    "ip": pl.String,
    "port": pl.Int32,
    "available": pl.Boolean,
    "reason": pl.String,
    "latency_ms": pl.Float64,
}

SELECTIONS: Mapping[str, Any] = {
    "challenge_id": pl.String,
    "metagraph_block": pl.UInt64,
    "block_hash": pl.String,
    "minimum": pl.Int32,
    "maximum": pl.Int32,
    "view_taken_at": UTC_MS,
    "availability_taken_at": UTC_MS,
    "hotkey": pl.String,
    "coldkey": pl.String,
    "uid": pl.Int32,
    "ip": pl.String,
    "port": pl.Int32,
    "shared_endpoint": pl.Boolean,
    "available": pl.Boolean,
    "priority_weight": pl.Float64,
    "draw_probability": pl.Float64,
    "inclusion_probability": pl.Float64,
    "key": pl.Float64,
    "selected": pl.Boolean,
    "remark": pl.String,
}


def availability_frame(table: AvailabilityTable) -> pl.DataFrame:
    """One row for every neuron that was looked for."""
    rows = [{"taken_at": table.taken_at} | asdict(row) for row in table.rows]
    return pl.DataFrame(rows, schema=AVAILABILITY)


def availability_of(frame: pl.DataFrame) -> AvailabilityTable | None:
    """None for a table without rows: nobody was looked for."""
    rows = frame.to_dicts()
    if not rows:
        return None
    names = [field.name for field in fields(Availability)]
    found = (Availability(**{name: row[name] for name in names}) for row in rows)
    return AvailabilityTable(rows[0]["taken_at"], tuple(found))


def selections_frame(draw: Draw) -> pl.DataFrame:
    """One row for every candidate of a draw, with what the draw hung on repeated on each."""
    about = {field.name: getattr(draw, field.name) for field in fields(Draw) if field.name != "candidates"}
    return pl.DataFrame([about | asdict(candidate) for candidate in draw.candidates], schema=SELECTIONS)


def selected_hotkeys(frame: pl.DataFrame) -> list[Hotkey]:
    """Who was drawn, in order of uid."""
    return [Hotkey(hotkey) for hotkey in frame.filter(pl.col("selected"))["hotkey"]]
