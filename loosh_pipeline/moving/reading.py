"""Rows of an existing validator's tables, and why some of them are of no use."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import polars as pl

from loosh_pipeline.domain import Hotkey
from loosh_pipeline.errors import CryptoError
from loosh_pipeline.moving.source import Source
from loosh_pipeline.store.imported import IMPORTED_COLUMNS
from loosh_pipeline.wire.crypto import parse_hotkey
from loosh_pipeline.wire.text import printable

EVALUATIONS = "evaluation_results"
AT_ONCE = 10_000
"""Evaluations that are held in memory together."""
EMISSIONS_AT_ONCE = 50_000
"""And their emissions, but for those of the last one: of some seven hotkeys each, or of all 256 of a subnet."""
MAX_EMISSIONS_CHARS = 20_000
"""Of one evaluation: what 256 hotkeys take."""
MAX_CHARS = 64
"""Of a time or a hotkey."""
EXAMPLES = 3
EXAMPLE_CHARS = 120
MOST = 2.6
"""More than the network's method can pay: time share 1 · consensus 1.42 (mean and spread of cosines) · 1.2 · 1.5."""
OLDEST = timedelta(days=366)
AHEAD = timedelta(minutes=1)
"""Clocks differ; beyond that a time is of the future."""
USERS = {"hotkey": pl.String, "created_at": pl.Datetime("us", "UTC"), "updated_at": pl.Datetime("us", "UTC")}


@dataclass
class Skipped:
    """How many things were of no use, by what they are and why, with some examples."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    examples: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    def add(self, what: str, why: str, example: object) -> None:
        self.counts[what, why] += 1
        shown = self.examples.setdefault((what, why), [])
        if len(shown) < EXAMPLES:
            shown.append(printable(str(example), EXAMPLE_CHARS))

    def to_list(self) -> list[dict[str, Any]]:
        return [
            {"what": what, "why": why, "count": count, "examples": self.examples[what, why]}
            for (what, why), count in sorted(self.counts.items(), key=lambda each: (-each[1], each[0]))
        ]


PAID = ("evaluation_id", "evaluated_at", "hotkey", "emission")
Columns = tuple[list[Any], ...]
"""Those of `PAID`."""


class Unusable(Exception):
    """A value is of no use; the message says why."""


def evaluations(source: Source, now: datetime, skipped: Skipped) -> Iterator[pl.DataFrame]:
    """What each evaluation paid each hotkey, in parts; what is of no use goes to `skipped`.

    Raises sqlite3.Error where the database is damaged.
    """
    if missing := sorted({"emissions", "created_at"} - source.columns(EVALUATIONS)):
        why = f"the table has no column {', '.join(missing)}" if source.has(EVALUATIONS) else "there is no such table"
        skipped.add(EVALUATIONS, why, f"{source.count(EVALUATIONS)} rows")
        return
    query = "SELECT rowid, substr(emissions, 1, ?), substr(created_at, 1, ?) FROM evaluation_results ORDER BY rowid"
    cursor = source.connection.execute(query, (MAX_EMISSIONS_CHARS + 1, MAX_CHARS))
    about = {"source_sha256": source.sha256, "imported_at": now}
    for held in _held(cursor, now, skipped):
        schema = {name: IMPORTED_COLUMNS[name] for name in PAID}
        frame = pl.DataFrame(dict(zip(PAID, held, strict=True)), schema=schema)
        yield frame.with_columns(pl.lit(value, IMPORTED_COLUMNS[name]).alias(name) for name, value in about.items())


def _held(cursor: Iterable[tuple[int, object, object]], now: datetime, skipped: Skipped) -> Iterator[Columns]:
    """As much as is held together, in columns: a tuple for each row would take five times as much memory."""
    held, evaluations = _columns(), 0
    for number, emissions, created_at in cursor:
        for row in _paid(number, emissions, created_at, now, skipped):
            for column, value in zip(held, row, strict=True):
                column.append(value)
        evaluations += 1
        if evaluations >= AT_ONCE or len(held[0]) >= EMISSIONS_AT_ONCE:
            yield held
            held, evaluations = _columns(), 0
    if evaluations:
        yield held


def _columns() -> Columns:
    return [], [], [], []


def _paid(
    number: int, emissions: object, created_at: object, now: datetime, skipped: Skipped
) -> Iterator[tuple[int, datetime, Hotkey, float]]:
    try:
        at, paid = time_of(created_at, now), _mapping(emissions)
    except Unusable as error:
        skipped.add("evaluations", str(error), f"id {number}: {created_at!r}, {emissions!r}")
        return
    if not paid:
        skipped.add("evaluations", "nobody is named", f"id {number}")
    for key, value in paid.items():
        try:
            row = number, at, hotkey_of(key), _emission(value)
        except Unusable as error:
            skipped.add("emissions", str(error), f"id {number}: {key} {value!r}")
            continue
        yield row


def users(source: Source, now: datetime, skipped: Skipped) -> Iterator[tuple[Hotkey, datetime, datetime]]:
    """Registered users: hotkey, since when, last seen. Raises sqlite3.Error where the database is damaged."""
    columns = source.columns("users")
    if "hotkey" not in columns:
        skipped.add("users", "the table has no column hotkey", ", ".join(sorted(columns)))
        return
    wanted = ("hotkey", "created_at", "updated_at")
    shown = (f"substr({name}, 1, {MAX_CHARS})" if name in columns else "NULL" for name in wanted)
    for hotkey, created, updated in source.connection.execute(f"SELECT {', '.join(shown)} FROM users"):
        try:
            known = hotkey_of(hotkey)
        except Unusable as error:
            skipped.add("users", str(error), hotkey)
            continue
        since = _time_or(created, now, now)
        yield known, since, max(since, _time_or(updated, now, since))


def _time_or(value: object, now: datetime, otherwise: datetime) -> datetime:
    """A user is kept whatever its times say."""
    try:
        return time_of(value, now)
    except Unusable:
        return otherwise


def time_of(value: object, now: datetime) -> datetime:
    """A time as an existing validator writes it: naive, in UTC. One with an offset is taken at its word."""
    if not isinstance(value, str):
        raise Unusable("without a time" if value is None else "its time is no text")
    try:
        at = datetime.fromisoformat(value)
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise Unusable("its time cannot be read") from error
    if at > now + AHEAD:
        raise Unusable("of the future, by this machine's clock")
    if at < now - OLDEST:
        raise Unusable("older than a year")
    return at


def _mapping(text: object) -> dict[str, Any]:
    if text is None:
        raise Unusable("emissions are missing")
    if not isinstance(text, str | bytes):
        raise Unusable("emissions are no JSON")
    if len(text) > MAX_EMISSIONS_CHARS:
        raise Unusable(f"emissions are longer than {MAX_EMISSIONS_CHARS:,} characters")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Unusable("emissions are no JSON") from error
    if found is None:
        raise Unusable("emissions are missing")
    if not isinstance(found, dict):
        raise Unusable("emissions are no JSON object")
    return found


def hotkey_of(key: object) -> Hotkey:
    """Raises Unusable for a uid of older versions (who held it then is not on record), or anything else."""
    text = str(key)
    if text.isdecimal():
        raise Unusable("keyed by a uid, and who held that then is not on record")
    known = _hotkey(text)
    if known is None:
        raise Unusable("no hotkey (SS58, format 42)")
    return known


@lru_cache(maxsize=65_536)
def _hotkey(text: str) -> Hotkey | None:
    try:
        return parse_hotkey(text)
    except CryptoError:
        return None


def _emission(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Unusable("no emission is given" if value is None else "the emission is no number")
    try:
        emission = float(value)
    except OverflowError as error:
        raise Unusable("the emission is no number") from error
    if not math.isfinite(emission):
        raise Unusable("the emission is not finite")
    if emission < 0:
        raise Unusable("the emission is negative")
    if emission > MOST:
        raise Unusable(f"the emission is above {MOST:g}, more than the method pays")
    return emission
