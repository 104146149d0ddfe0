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
from loosh_pipeline.orchestrator import PRESENT_JOB, RESCORE_DAY_JOB, RESCORE_JOB, SCORE_JOB, WEIGHTS_JOB
from loosh_pipeline.settings import Settings
from loosh_pipeline.workers.config import QUEUE_TAG, UPKEEP

RANGE_TAG = "dagster/asset_partition_range_start"
RANGE_END_TAG = "dagster/asset_partition_range_end"
"""Tags of a run of several partitions: the first and the last of them."""
ENDED = ("SUCCESS", "FAILURE", "CANCELED")
"""Dagster's statuses of runs that are over."""
FINISHED = (ChallengeState.SUBMITTED, ChallengeState.FAILED)
"""Of a challenge of which nothing more comes by itself. What is parked gets its partition again with its next run."""

UNFINISHED, RUN_LATELY, ON_A_PAGE = "it is evaluated", "it was run lately", "a page names a run of it as the newest"
"""Why a challenge that is due stays for now, where no backfill or run under way holds it."""


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
        if RANGE_TAG in self.tags or self.job in (WEIGHTS_JOB, RESCORE_JOB, RESCORE_DAY_JOB):
            return Kind.LASTING  # weights are set on the workers of upkeep, and are no upkeep
        if self.job in (SCORE_JOB, PRESENT_JOB):
            return Kind.EVALUATION
        return Kind.UPKEEP if self.tags.get(QUEUE_TAG) == UPKEEP else Kind.LASTING


@dataclass(frozen=True, slots=True)
class SeenPartition:
    """A partition of a challenge; `number` counts them, by their order or by when they were added or restored."""

    number: int
    key: str
    added_at: datetime


@dataclass(frozen=True, slots=True)
class Untouchable:
    """What stays whatever its age: runs that pages still speak of, and what backfills and runs under way work on.

    `partitions`: what holds each, as `backfill ID` or `run ID`; `everything`: a backfill that does not say which
    partitions are its own.
    """

    runs: Collection[str] = ()
    backfills: Collection[str] = ()
    partitions: Mapping[str, str] = field(default_factory=dict)
    everything: str | None = None

    def holder(self, run: SeenRun) -> str | None:
        """What keeps a run; None where nothing does."""
        if run.status not in ENDED:
            return f"run {run.run_id}"
        if run.backfill in self.backfills:
            return f"backfill {run.backfill}"
        return ON_A_PAGE if run.run_id in self.runs else None


def is_due(partition: SeenPartition, excess: int, before: datetime) -> bool:
    """Whether a challenge is among the `excess` oldest, or its partition was added before that time.

    `partition.number` counts from 0 here: its place among all of them.
    """
    return partition.number < excess or partition.added_at < before


def held_by(
    key: str,
    state: ChallengeState | None,
    runs: Collection[SeenRun],
    untouchable: Untouchable,
    moved_before: datetime | None,
) -> str | None:
    """What keeps a challenge that is due; None where it can go with all its runs. `state`: None of one that was never
    accepted here.

    `moved_before`: a run of it that moved since then keeps it; None where there are too many to ask.
    """
    if state not in (None, *FINISHED):
        return UNFINISHED
    if holder := untouchable.everything or untouchable.partitions.get(key):
        return holder
    if holders := [holder for run in runs if (holder := untouchable.holder(run))]:
        return holders[0]
    return RUN_LATELY if moved_before is not None and any(run.moved_at >= moved_before for run in runs) else None


def run_may_go(run: SeenRun, ages: Ages, now: datetime, untouchable: Untouchable, partitions: Collection[str]) -> bool:
    """Whether a run goes by its own age: that of a challenge whose partition is there goes with that one only."""
    if run.partition in partitions or untouchable.holder(run) is not None:
        return False
    return run.moved_at < now - ages.of_kind(run.kind)
