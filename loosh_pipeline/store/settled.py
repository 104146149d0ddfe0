"""What the last settlement of a window made of one round: the pay that weights were made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import polars as pl

from loosh_pipeline.domain import ChallengeId, Hotkey
from loosh_pipeline.store.score_frames import SETTLED
from loosh_pipeline.store.tables import Tables

SETTLED_SCORES = "settled_scores"
TIME = "%Y%m%dT%H%M%S%f"
COLUMNS = {name: SETTLED[name] for name in ("challenge_id", "hotkey", "payout", "share", "trust", "sources")}
TABLES_READ = 2
"""Settlements that are looked at: each holds all rounds of its window but those that were left out."""


@dataclass(frozen=True, slots=True)
class SettledAnswer:
    """One answer within its window; fields as in `SettledScore`."""

    payout: float
    share: float
    trust: float
    sources: tuple[Hotkey, ...]


@dataclass(frozen=True, slots=True)
class SettledRound:
    """The answers that were compared, and when their window was settled. Who is missing was paid 0."""

    at: datetime
    answers: Mapping[Hotkey, SettledAnswer]


def settled_round(
    tables: Tables, challenge_id: ChallengeId, received_at: datetime, lookback_h: float
) -> SettledRound | None:
    """By the last settlement that looked back as far as to this round; None where none has it.

    Reads some columns of a table that grows with the rounds of a lookback, not with history. Raises StoreError for one
    that cannot be read.
    """
    until = received_at.astimezone(UTC) + timedelta(hours=lookback_h)
    later = (key for key in tables.newest_first(SETTLED_SCORES, until.date()) if key.name < f"{until:{TIME}}")
    for key in islice(later, TABLES_READ):
        at = datetime.strptime(key.name.partition("-")[0], TIME).replace(tzinfo=UTC)
        if at < received_at:
            return None
        rows = tables.read_files(SETTLED_SCORES, key.day, [key.file], COLUMNS)
        found = rows.filter(pl.col("challenge_id") == challenge_id)
        if not found.is_empty():
            return SettledRound(at, {Hotkey(row["hotkey"]): _answer(row) for row in found.iter_rows(named=True)})
    return None


def _answer(row: Mapping[str, Any]) -> SettledAnswer:
    return SettledAnswer(row["payout"], row["share"], row["trust"], tuple(map(Hotkey, row["sources"] or ())))
