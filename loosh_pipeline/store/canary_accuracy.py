"""How the miners answered canaries, of the stored responses: the table `canary_accuracy`.

canary_accuracy/day=…/RUN.parquet                a row for every miner that was asked any lately
canary_verdicts/day=…/CHALLENGE.VERSION.parquet  a row for every miner asked in one: judged once, by rules of a version
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from loosh_pipeline.canaries.accuracy import Accuracy, Verdict, accuracies, judged
from loosh_pipeline.canaries.questions import rules_of
from loosh_pipeline.canaries.rules import RULES_VERSION
from loosh_pipeline.domain import Hotkey
from loosh_pipeline.errors import StoreError
from loosh_pipeline.store.canaries import KeptCanary
from loosh_pipeline.store.frames import UTC_MS, responses_of
from loosh_pipeline.store.tables import TableKey, Tables

log = logging.getLogger(__name__)

CANARY_ACCURACY = "canary_accuracy"
LOOKBACK = timedelta(days=7)
"""Canaries are few: those of one epoch alone would say nothing."""
MOST = 1000
CANARY_VERDICTS = "canary_verdicts"
MOST_JUDGED = 200
"""Canaries that are judged at once; the others wait for the next time, the newest first."""
COLUMNS: Mapping[str, Any] = {
    "made_at": UTC_MS,
    "hotkey": pl.String,
    "asked": pl.Int64,
    "answered": pl.Int64,
    "right": pl.Int64,
    "accuracy": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
}
"""`accuracy`: right ones of those asked; `low` and `high`: Wilson's interval of it, at 95 %."""
VERDICTS: Mapping[str, Any] = {
    "challenge_id": pl.String,
    "hotkey": pl.String,
    "answered": pl.Boolean,
    "right": pl.Boolean,
}


def measured(tables: Tables, kept: Iterable[KeptCanary]) -> tuple[Accuracy, ...]:
    """Of every miner that was asked any of them. What cannot be read, or was forgotten, says nothing of anybody.

    Each is judged once; the verdict is kept, so that no answer costs time at each epoch.
    """
    return accuracies(_verdicts(tables, kept))


def _verdicts(tables: Tables, kept: Iterable[KeptCanary]) -> Iterator[tuple[Verdict, ...]]:
    judged_now = 0
    for each in kept:
        key = TableKey(each.key.day, each.key.name, str(RULES_VERSION))
        try:
            if tables.exists(CANARY_VERDICTS, key):
                rows = tables.read(CANARY_VERDICTS, key).select("hotkey", "answered", "right")
                yield tuple(Verdict(Hotkey(hotkey), *said) for hotkey, *said in rows.iter_rows())
            elif judged_now < MOST_JUDGED:
                judged_now += 1
                yield _judged(tables, each, key)
        except (StoreError, ValueError) as error:
            log.warning("canary %s says nothing: %s", each.id, error)


def _judged(tables: Tables, canary: KeptCanary, key: TableKey) -> tuple[Verdict, ...]:
    found = judged(rules_of(canary.accepted), responses_of(tables.read("miner_responses", canary.key)))
    rows = [(canary.id, each.hotkey, each.answered, each.right) for each in found]
    tables.write(CANARY_VERDICTS, key, pl.DataFrame(rows, schema=VERDICTS, orient="row"))
    return found


def accuracy_frame(found: Sequence[Accuracy], made_at: datetime) -> pl.DataFrame:
    """A row for each miner, by hotkey."""
    rows = [(made_at, each.hotkey, each.asked, each.answered, each.right, each.share, *each.interval) for each in found]
    return pl.DataFrame(rows, schema=COLUMNS, orient="row")
