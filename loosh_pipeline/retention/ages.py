"""What is to be pruned, decided from what was read: nothing here looks at a store or at the clock.

A challenge and the runs of its partition go together: as one of the RETAIN_CHALLENGES is no longer, or when neither
its partition was added nor a run of it moved within RETAIN_DAYS. Runs of no such partition go by what they are for.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import Self

from loosh_pipeline.domain import ChallengeState
from loosh_pipeline.orchestrator import PRESENT_JOB, SCORE_JOB
from loosh_pipeline.settings import Settings
from loosh_pipeline.workers.config import QUEUE_TAG, UPKEEP

RANGE_TAG = "dagster/asset_partition_range_start"
"""Tag of a run of several partitions."""
ENDED = ("SUCCESS", "FAILURE", "CANCELED")
"""Dagster's statuses of runs that are over."""
FINISHED = (ChallengeState.SUBMITTED, ChallengeState.FAILED)
"""Of a challenge of which nothing more comes by itself. What is parked gets its partition again with its next run."""


class Kind(Enum):
    """What a run is for, which is how long it is kept."""

    EVALUATION = "evaluation"
    UPKEEP = "upkeep"
    LASTING = "lasting"
    """It set weights, rescored, or was started by hand."""


@dataclass(frozen=True, slots=True)
class Ages:
    """The settings RETAIN_*: how long each kind of run is kept, and how many challenges at most."""

    evaluation: timedelta
    upkeep: timedelta
    lasting: timedelta
    challenges: int

    @classmethod
    def of(cls, settings: Settings) -> Self:
        return cls(
            timedelta(days=settings.retain_days),
            timedelta(days=settings.retain_upkeep_days),
            timedelta(days=settings.retain_weights_days),
            settings.retain_challenges,
        )

    def of_kind(self, kind: Kind) -> timedelta:
        age: timedelta = getattr(self, kind.value)
        return age

    @property
    def shortest(self) -> timedelta:
        return min(self.of_kind(kind) for kind in Kind)


@dataclass(frozen=True, slots=True)
class SeenRun:
    """A run as its record says. `moved_at`: when its status last changed; `partition`: of a run of one partition."""

    number: int
    run_id: str
    job: str
    status: str
    moved_at: datetime
    backfill: str | None = None
    partition: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def kind(self) -> Kind:
        if RANGE_TAG in self.tags:
            return Kind.LASTING
        if self.job in (SCORE_JOB, PRESENT_JOB):
            return Kind.EVALUATION
        return Kind.UPKEEP if self.tags.get(QUEUE_TAG) == UPKEEP else Kind.LASTING


@dataclass(frozen=True, slots=True)
class SeenPartition:
    """A partition of a challenge; `number` counts them in the order in which they were added."""

    number: int
    key: str
    added_at: datetime


@dataclass(frozen=True, slots=True)
class Untouchable:
    """What stays whatever its age: runs that pages still speak of, and what backfills under way work on.

    `all_partitions`: a backfill under way does not say which ones are its own.
    """

    runs: Collection[str] = ()
    backfills: Collection[str] = ()
    partitions: Collection[str] = ()
    all_partitions: bool = False

    def holds(self, run: SeenRun) -> bool:
        return run.status not in ENDED or run.run_id in self.runs or run.backfill in self.backfills


def is_due(partition: SeenPartition, excess: int, before: datetime) -> bool:
    """Whether a challenge is among the `excess` oldest, or its partition was added before that time.

    `partition.number` counts from 0 here: its place among all of them.
    """
    return partition.number < excess or partition.added_at < before


def may_go(
    key: str,
    state: ChallengeState | None,
    runs: Collection[SeenRun],
    untouchable: Untouchable,
    moved_before: datetime | None,
) -> bool:
    """Whether a challenge that is due can go with all its runs. `state`: None of one that was never accepted here.

    `moved_before`: a run of it that moved since then keeps it; None where there are too many to ask.
    """
    if state not in (None, *FINISHED) or untouchable.all_partitions or key in untouchable.partitions:
        return False
    if any(untouchable.holds(run) for run in runs):
        return False
    return moved_before is None or all(run.moved_at < moved_before for run in runs)


def run_may_go(run: SeenRun, ages: Ages, now: datetime, untouchable: Untouchable, partitions: Collection[str]) -> bool:
    """Whether a run goes by its own age: that of a challenge whose partition is there goes with that one only."""
    if run.partition in partitions or untouchable.holds(run):
        return False
    return run.moved_at < now - ages.of_kind(run.kind)
