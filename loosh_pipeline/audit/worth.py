"""What is behind the worth of two miners' answers: the rounds that both answered, side by side, from stored rows.

Pay is settled from agreement, which is made of what an answer was measured to be. So the means of these over the same
rounds say why one is paid less for an answer than the other, and the rounds with the widest gap show it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl

from loosh_pipeline.audit.epochs import EpochTables
from loosh_pipeline.domain import Hotkey
from loosh_pipeline.store.frames import UTC_MS
from loosh_pipeline.store.score_frames import SCORES as SCORE_KINDS
from loosh_pipeline.store.score_tables import SCORES
from loosh_pipeline.store.tables import TableKey, Tables
from loosh_pipeline.store.weigh_records import COUNTED_ROUNDS

SETTLED = "settled_scores"
MEASURED = ("relevance", "meaning", "coverage", "wording", "speed_factor", "words", "elapsed_ms")
"""Figures of a round's own score rows; those of `JUDGED` are of the settled window."""
JUDGED = ("payout", "agreement", "share")
MOST_MEASURED = 50
"""Rounds of which score rows are read: each lies in a file of its own."""
WIDEST = 5
_SETTLED: Mapping[str, Any] = {
    "challenge_id": pl.String,
    "hotkey": pl.String,
    "relevance_gate": pl.Float64,
    **dict.fromkeys(JUDGED, pl.Float64),
}
_COUNTED: Mapping[str, Any] = {"challenge_id": pl.String, "scorer_version": pl.String, "received_at": UTC_MS}
_ROWS: Mapping[str, Any] = {name: SCORE_KINDS[name] for name in ("challenge_id", "hotkey", *MEASURED)}


@dataclass(frozen=True, slots=True)
class Means:
    """A figure of both, on average over the rounds; None where none of them has it."""

    name: str
    mine: float | None
    theirs: float | None


@dataclass(frozen=True, slots=True)
class Gap:
    """One round: what each was paid for it, settled."""

    challenge_id: str
    received_at: datetime
    mine: float
    theirs: float


@dataclass(frozen=True, slots=True)
class Worths:
    """`rounds` were answered by both and compared; the figures of `MEASURED`, and how often each was off topic, are of
    the newest `measured` of them. `widest`: rounds in which their pay is furthest apart.
    """

    rounds: int
    measured: int
    means: tuple[Means, ...]
    off_topic: tuple[int, int]
    widest: tuple[Gap, ...]

    def mean(self, name: str) -> Means:
        return next(each for each in self.means if each.name == name)


def worths_of(tables: Tables, where: EpochTables, mine: Hotkey, theirs: Hotkey) -> Worths | None:
    """None where no round was answered by both, or none was settled. Raises StoreError for broken tables."""
    key = where.emissions
    if key is None or mine == theirs or not all(tables.exists(each, key) for each in (SETTLED, COUNTED_ROUNDS)):
        return None
    rows = tables.read_files(SETTLED, key.day, [key.file], _SETTLED).filter(pl.col("hotkey").is_in([mine, theirs]))
    counted = tables.read_files(COUNTED_ROUNDS, key.day, [key.file], _COUNTED).select(*_COUNTED)
    both = _beside(rows, mine, theirs).join(counted, on="challenge_id").sort("received_at", "challenge_id")
    if both.is_empty():
        return None
    newest = both.tail(MOST_MEASURED)
    return compared_worths(both, newest.join(_measured(tables, newest, mine, theirs), on="challenge_id"))


def compared_worths(both: pl.DataFrame, measured: pl.DataFrame) -> Worths:
    """From a row for each round with each figure of the two, the second's with `_theirs` at the end. Pure."""
    gaps = both.sort((pl.col("payout") - pl.col("payout_theirs")).abs(), descending=True, maintain_order=True)
    shown = gaps.head(WIDEST).select("challenge_id", "received_at", "payout", "payout_theirs")
    return Worths(
        rounds=both.height,
        measured=measured.height,
        means=(*(_means(both, name) for name in JUDGED), *(_means(measured, name) for name in MEASURED)),
        off_topic=(_off_topic(measured, ""), _off_topic(measured, "_theirs")),
        widest=tuple(Gap(*row) for row in shown.iter_rows()),
    )


def _means(rows: pl.DataFrame, name: str) -> Means:
    """Over the rounds in which both have it."""
    known = rows.select(name, f"{name}_theirs").drop_nulls()
    mine, theirs = (known[each].cast(pl.Float64).mean() for each in known.columns)
    return Means(name, mine, theirs)  # type: ignore[arg-type]  # a mean of floats is one, or None


def _off_topic(rows: pl.DataFrame, whose: str) -> int:
    return rows.filter(pl.col(f"relevance{whose}") < pl.col(f"relevance_gate{whose}")).height


def _beside(rows: pl.DataFrame, mine: Hotkey, theirs: Hotkey) -> pl.DataFrame:
    """The rounds that have rows of both, the figures of the second with `_theirs` at the end."""
    one, other = (rows.filter(pl.col("hotkey") == each).drop("hotkey", "file", strict=False) for each in (mine, theirs))
    return one.join(other, on="challenge_id", how="inner", suffix="_theirs")


def _measured(tables: Tables, rounds: pl.DataFrame, mine: Hotkey, theirs: Hotkey) -> pl.DataFrame:
    """Their score rows of some rounds, as those counted."""
    by_day: dict[Any, list[str]] = {}
    for challenge, version, at in rounds.select("challenge_id", "scorer_version", "received_at").iter_rows():
        key = TableKey.of(challenge, at, version)
        if tables.exists(SCORES, key):  # retention may have taken it
            by_day.setdefault(key.day, []).append(key.file)
    found = [tables.read_files(SCORES, day, names, _ROWS).select(*_ROWS) for day, names in by_day.items()]
    rows = pl.concat(found) if found else pl.DataFrame(schema=_ROWS)
    return _beside(rows.filter(pl.col("hotkey").is_in([mine, theirs])), mine, theirs)
