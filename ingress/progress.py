"""Follows accepted challenges to their scores and their delivery, for histograms: each is looked up when it has moved.

Only what waits is read at each look, and of each finished challenge its row and two columns of its answers, once.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime
from itertools import islice

import polars as pl
from prometheus_client import CollectorRegistry, Counter, Histogram
from sqlalchemy import Engine

from loosh_pipeline.domain import ChallengeState, Outcome
from loosh_pipeline.errors import StoreError
from loosh_pipeline.store.figures import WITHOUT_SCORES
from loosh_pipeline.store.moments import Moments, ids_in, moments
from loosh_pipeline.store.tables import TableKey, Tables

logger = logging.getLogger(__name__)

MOST = 20_000
"""Challenges that are followed at once; beyond, the oldest are not."""
READ_AT_ONCE = MOST
"""Ids of those that wait, of a backlog that may be longer."""
AT_ONCE = 500
"""As many are looked up in one look; the others in the next."""
UNTOLD_MOST = 2000
BUCKETS_S = (0.5, 1, 2, 3, 5, 8, 12, 20, 30, 45, 60, 90, 120, 300, 900, 3600, 21_600)
ANSWER_BUCKETS_S = (0.1, 0.25, 0.5, 1, 2, 3, 5, 8, 12, 20, 30, 45, 60, 120, 300)
ATTEMPT_BUCKETS = (1, 2, 3, 5, 10, 25, 50, 100, 150)
COLUMNS = {"outcome": pl.String, "elapsed_ms": pl.Float64}


class Progress:
    """What became of challenges since this process started. `delivers`: whether results are told to anybody."""

    def __init__(self, engine: Engine, tables: Tables, registry: CollectorRegistry, *, delivers: bool = True) -> None:
        self._engine, self._tables, self._delivers = engine, tables, delivers
        self._unscored: OrderedDict[str, None] = OrderedDict.fromkeys(ids_in(engine, WITHOUT_SCORES, MOST))
        self._untold: OrderedDict[str, None] = OrderedDict()
        self._collected = _seconds(registry, "collected", "its miners' answers")
        self._scored = _seconds(registry, "scored", "its scores")
        self._delivered = _seconds(registry, "delivered", "its delivery to the Challenge API")
        self._attempts = Histogram(
            "loosh_evaluation_attempts",
            "Runs that a challenge took until it had scores or was given up.",
            buckets=ATTEMPT_BUCKETS,
            registry=registry,
        )
        self._evaluations = Counter(
            "loosh_evaluations_total", "Challenges that got scores, or were given up.", ("result",), registry=registry
        )
        self._outcomes = Counter(
            "loosh_miner_outcomes_total",
            "What became of asking one miner, of challenges evaluated since the start.",
            ("outcome",),
            registry=registry,
        )
        self._answered = Histogram(
            "loosh_miner_answer_seconds",
            "From the first byte of a challenge to the last of a miner's answer.",
            buckets=ANSWER_BUCKETS_S,
            registry=registry,
        )
        for outcome in Outcome:
            self._outcomes.labels(outcome)
        for result in ("scored", "failed"):
            self._evaluations.labels(result)

    def accepted(self, challenge_id: str) -> None:
        """Follow a challenge from here on."""
        self._unscored[challenge_id] = None
        if len(self._unscored) > MOST:
            self._unscored.popitem(last=False)

    def follow(self) -> None:
        """Look at what has moved."""
        followed = list(self._unscored)  # before: what is accepted meanwhile is not among those that wait
        waiting = set(ids_in(self._engine, WITHOUT_SCORES, READ_AT_ONCE))
        moved = list(islice((each for each in followed if each not in waiting), AT_ONCE))
        found = moments(self._engine, moved)
        rows = [row for row in found if row.state not in WITHOUT_SCORES]
        self._count_answers(row for row in rows if row.asked)
        for row in rows:
            self._note(row)
        for challenge_id in moved:
            self._unscored.pop(challenge_id, None)
        room = max(0, MOST - len(self._unscored))
        for challenge_id in islice(waiting.difference(followed), room):  # it was given up, and is tried again
            self._unscored[challenge_id] = None
        for row in found:
            if row.state in WITHOUT_SCORES:  # of a backlog longer than what is read of it: others have their turn
                self.accepted(row.id)
        self._note_told()

    def _note(self, row: Moments) -> None:
        scored = row.state is not ChallengeState.FAILED
        self._evaluations.labels("scored" if scored else "failed").inc()
        self._attempts.observe(row.attempts)
        for histogram, at in ((self._collected, row.collected_at), (self._scored, row.scored_at)):
            if at is not None:
                histogram.observe(_since(row, at))
        if scored and self._delivers:
            self._untold[row.id] = None
            if len(self._untold) > UNTOLD_MOST:
                self._untold.popitem(last=False)

    def _note_told(self) -> None:
        for row in moments(self._engine, list(self._untold)):
            if row.submitted_at is not None:
                self._delivered.observe(_since(row, row.submitted_at))
                del self._untold[row.id]

    def _count_answers(self, rows: Iterable[Moments]) -> None:
        by_day: dict[date, list[str]] = {}
        for row in rows:
            key = TableKey.of(row.id, row.received_at)
            by_day.setdefault(key.day, []).append(key.file)
        for day, files in by_day.items():
            for frame in self._read(day, files):
                for outcome, count in frame["outcome"].value_counts().iter_rows():
                    self._outcomes.labels(Outcome(outcome)).inc(count)
                for elapsed_ms in frame.filter(pl.col("outcome") == Outcome.ANSWERED)["elapsed_ms"].drop_nulls():
                    self._answered.observe(elapsed_ms / 1000)

    def _read(self, day: date, files: Sequence[str]) -> Iterator[pl.DataFrame]:
        """The answers of some challenges; where one file cannot be read, of the others all the same."""
        try:
            yield self._tables.read_files("miner_responses", day, files, COLUMNS)
        except StoreError as error:
            if len(files) > 1:
                for file in files:
                    yield from self._read(day, [file])
            else:
                logger.debug("answers are not counted: %s", error)


def _seconds(registry: CollectorRegistry, name: str, until: str) -> Histogram:
    about = f"From the acceptance of a challenge to {until}."
    return Histogram(f"loosh_challenge_{name}_seconds", about, buckets=BUCKETS_S, registry=registry)


def _since(row: Moments, at: datetime) -> float:
    """A clock that was set back meanwhile makes nothing negative."""
    return max(0.0, (at - row.received_at).total_seconds())
