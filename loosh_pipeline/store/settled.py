"""What the last settlement of a window made of one round: the pay that weights were made of."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from threading import BoundedSemaphore, Lock
from typing import Any

import polars as pl

from loosh_pipeline.domain import ChallengeId, Hotkey
from loosh_pipeline.store.score_frames import SETTLED
from loosh_pipeline.store.tables import TableKey, Tables

SETTLED_SCORES = "settled_scores"
TIME = "%Y%m%dT%H%M%S%f"
COLUMNS = {name: SETTLED[name] for name in ("challenge_id", "hotkey", "payout", "share", "trust", "sources")}
KEPT = 128
"""Rounds whose answers are kept."""
AT_ONCE = 2
"""Tables that are read at a time: each has a row for every answer of a day."""
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


class SettledRounds:
    """Finds it, for a few who ask at a time; what was found is kept, as a settlement changes no more."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._reading = BoundedSemaphore(AT_ONCE)
        self._keeping, self._kept = Lock(), OrderedDict[tuple[TableKey, ChallengeId], Mapping[Hotkey, SettledAnswer]]()

    def of(self, challenge_id: ChallengeId, received_at: datetime, lookback_h: float) -> SettledRound | None:
        """By the last settlement that looked back as far as to this round; None where none has it.

        Raises StoreError for a table that cannot be read.
        """
        until = received_at.astimezone(UTC) + timedelta(hours=lookback_h)
        keys = self._tables.newest_first(SETTLED_SCORES, until.date())
        for key in islice((key for key in keys if key.name < f"{until:{TIME}}"), TABLES_READ):
            at = datetime.strptime(key.name.partition("-")[0], TIME).replace(tzinfo=UTC)
            if at < received_at:
                return None
            if answers := self._answers(key, challenge_id):
                return SettledRound(at, answers)
        return None

    def _answers(self, key: TableKey, challenge_id: ChallengeId) -> Mapping[Hotkey, SettledAnswer]:
        with self._keeping:
            if (found := self._kept.get((key, challenge_id))) is not None:
                self._kept.move_to_end((key, challenge_id))
                return found
        with self._reading:
            of_it = pl.col("challenge_id") == challenge_id
            rows = self._tables.read_files(SETTLED_SCORES, key.day, [key.file], COLUMNS, of_it)
        found = {Hotkey(row["hotkey"]): _answer(row) for row in rows.iter_rows(named=True)}
        with self._keeping:
            self._kept[key, challenge_id] = found
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return found


def _answer(row: Mapping[str, Any]) -> SettledAnswer:
    return SettledAnswer(row["payout"], row["share"], row["trust"], tuple(map(Hotkey, row["sources"] or ())))
