"""How the miners answered canaries, of the stored responses: the table `canary_accuracy`.

canary_accuracy/day=…/RUN.parquet   a row for every miner that was asked any lately
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from loosh_pipeline.canaries.accuracy import Accuracy, accuracies
from loosh_pipeline.canaries.questions import rules_of
from loosh_pipeline.canaries.rules import Rule
from loosh_pipeline.domain import Response
from loosh_pipeline.errors import StoreError
from loosh_pipeline.store.canaries import KeptCanary
from loosh_pipeline.store.frames import UTC_MS, responses_of
from loosh_pipeline.store.tables import Tables

log = logging.getLogger(__name__)

CANARY_ACCURACY = "canary_accuracy"
LOOKBACK = timedelta(days=7)
"""Canaries are few: those of one epoch alone would say nothing."""
MOST = 1000
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


def measured(tables: Tables, kept: Iterable[KeptCanary]) -> tuple[Accuracy, ...]:
    """Of every miner that was asked any of them. What cannot be read, or was forgotten, says nothing of anybody."""
    return accuracies(_judged(tables, kept))


def _judged(tables: Tables, kept: Iterable[KeptCanary]) -> Iterator[tuple[tuple[Rule, ...], tuple[Response, ...]]]:
    for each in kept:
        try:
            yield rules_of(each.accepted), responses_of(tables.read("miner_responses", each.key))
        except (StoreError, ValueError) as error:
            log.warning("canary %s says nothing: %s", each.id, error)


def accuracy_frame(found: Sequence[Accuracy], made_at: datetime) -> pl.DataFrame:
    """A row for each miner, by hotkey."""
    rows = [(made_at, each.hotkey, each.asked, each.answered, each.right, each.share, *each.interval) for each in found]
    return pl.DataFrame(rows, schema=COLUMNS, orient="row")
