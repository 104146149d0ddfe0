"""Doing it, a slice at a time: what was old goes batch by batch, and a killed slice is gone on with by the next."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from dagster import DagsterInstance
from dagster._core.storage.event_log import SqliteEventLogStorage

from loosh_pipeline.domain import ChallengeState
from loosh_pipeline.retention.ages import Ages, SeenPartition, SeenRun, is_due, may_go, run_may_go
from loosh_pipeline.retention.history import CHUNK, History, chunks
from loosh_pipeline.retention.pace import LEAST_PAUSE_S, Pace
from loosh_pipeline.retention.run_files import delete_run_files, left_over, orphans
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.tables import file_stem

BUDGET_S = 120.0
"""How long a slice works: far below what a run may take, and no batch is begun later."""
FOLD_AFTER = timedelta(days=2)
"""Longer than anything that was submitted is looked at for its own sake."""
FOLD_AT_ONCE = 500
ORPHAN_AFTER_S = 3600.0
"""How old a file must be that nothing speaks of: what does may be about to be written."""
PICTURES = ("png", "json")


@dataclass(slots=True)
class Pruned:
    """What a slice did. `left`: challenges that are due and were not come to; `finished`: nothing more is to do now."""

    challenges: int = 0
    runs: int = 0
    backfills: int = 0
    pictures: int = 0
    files: int = 0
    folded: int = 0
    kept_challenges: int = 0
    kept_runs: int = 0
    left: int = 0
    finished: bool = False
    took_s: float = 0.0
    longest_lock_s: float = 0.0


@dataclass(frozen=True)
class Pruner:
    """What a slice works on."""

    instance: DagsterInstance
    inbox: Inbox
    heatmaps: Path
    ages: Ages

    def slice(self, now: datetime, budget_s: float = BUDGET_S) -> Pruned:
        """Do what is to be done, for so long; the next slice begins where this one ended."""
        began_s = time.monotonic()
        work = _Slice(self, now, Pace(began_s + budget_s))
        steps = (work.challenges, work.runs, work.backfills, work.figures, work.files)
        work.done.finished = all(step() for step in steps)
        work.done.kept_runs, work.done.took_s = work.history.count_runs(), time.monotonic() - began_s
        work.done.longest_lock_s = work.pace.longest_s
        return work.done


class _Slice:
    """One slice. Each step says whether it was done with before the time was up."""

    def __init__(self, pruner: Pruner, now: datetime, pace: Pace) -> None:
        self._inbox, self._ages, self._heatmaps = pruner.inbox, pruner.ages, pruner.heatmaps
        self._storage = pruner.instance.event_log_storage
        self.history, self._now, self.pace, self.done = History(pruner.instance), now, pace, Pruned()
        self._untouchable = self.history.untouchable()

    def challenges(self) -> bool:
        """Prune challenges that are due, the oldest first."""
        there = self.history.partitions()
        excess, before = len(there) - self._ages.challenges, self._now - self._ages.evaluation
        due = [each for each in there if is_due(each, excess, before)]
        looked_at = 0
        while looked_at < len(due) and not self.pace.over:
            part = due[looked_at : looked_at + self.pace.size]
            looked_at += len(part)
            if going := self._going(part, excess, before):
                self._prune(going)
        if self.done.challenges:
            self.history.forget_statuses()
        self.done.kept_challenges, self.done.left = len(there) - self.done.challenges, len(due) - looked_at
        return looked_at == len(due)

    def _going(self, part: Sequence[SeenPartition], excess: int, before: datetime) -> Mapping[str, Going]:
        """Those of some challenges that are due which may go."""
        keys = [each.key for each in part]
        states, runs = self._inbox.states(keys), _by_partition(self.history.runs_of(keys))
        return {
            key: Going(states.get(key), runs.get(key, ()))
            for key, moved_before in ((each.key, None if each.number < excess else before) for each in part)
            if may_go(key, states.get(key), runs.get(key, ()), self._untouchable, moved_before)
        }

    def _prune(self, going: Mapping[str, Going]) -> None:
        keys = list(going)
        run_ids = [run.run_id for each in going.values() for run in each.runs]
        locked_s = self.history.delete_runs(run_ids, keys)
        self.done.pictures += sum(map(self._delete_pictures, keys))
        self.history.delete_partitions(keys)
        # A parked challenge may have been taken up again just then: its next run needs the partition.
        states = self._inbox.states(keys)
        if moved := [key for key in keys if states.get(key) != going[key].state]:
            self.history.add_partitions(moved)
        self.done.challenges += len(keys) - len(moved)
        self.done.runs += len(run_ids)
        self.pace.rest(locked_s)

    def _delete_pictures(self, challenge_id: str) -> int:
        paths = [self._heatmaps / f"{file_stem(challenge_id)}.{kind}" for kind in PICTURES]
        return sum(map(_deleted, paths))

    def runs(self) -> bool:
        """Prune runs of no challenge that is there."""
        there, after = {each.key for each in self.history.partitions()}, 0
        while not self.pace.over:
            old = self.history.old_runs(self._now - self._ages.shortest, after)
            if not old:
                return True
            after = old[-1].number
            self._prune_runs([run.run_id for run in old if self._run_may_go(run, there)])
        return False

    def _run_may_go(self, run: SeenRun, there: Collection[str]) -> bool:
        return run_may_go(run, self._ages, self._now, self._untouchable, there)

    def _prune_runs(self, run_ids: Sequence[str]) -> None:
        at = 0
        while at < len(run_ids) and not self.pace.over:
            batch = run_ids[at : at + self.pace.size]
            self.pace.rest(self.history.delete_runs(batch))
            at += len(batch)
            self.done.runs += len(batch)

    def backfills(self) -> bool:
        """Prune records of backfills whose runs are gone."""
        while not self.pace.over:
            deleted = self.history.delete_backfills(self._now - self._ages.lasting)
            self.done.backfills += deleted
            if deleted < CHUNK:
                return True
        return False

    def figures(self) -> bool:
        """Let challenges that change no more stand in the totals."""
        while not self.pace.over:
            folded = self._inbox.fold(self._now - FOLD_AFTER, self._now, FOLD_AT_ONCE)
            self.done.folded += folded
            if not folded:
                return True
            time.sleep(LEAST_PAUSE_S)
        return False

    def files(self) -> bool:
        """Delete files that nothing speaks of: what a killed process, another version or a late look left."""
        for paths in self._lone_files():
            if self.pace.over:
                return False
            self.done.files += sum(map(_deleted, paths))
        return True

    def _lone_files(self) -> Iterator[Sequence[Path]]:
        stems = {file_stem(each.key) for each in self.history.partitions()}
        yield from chunks(_pictures_of_none(self._heatmaps, stems))
        if isinstance(self._storage, SqliteEventLogStorage):
            folder = Path(self._storage.path_for_shard("index")).parent
            yield list(left_over(folder, self._ages.evaluation.total_seconds()))
            for run_ids in orphans(folder, self.history, ORPHAN_AFTER_S):
                delete_run_files(self._storage, run_ids)
                self.done.files += len(run_ids)
                yield ()


@dataclass(frozen=True, slots=True)
class Going:
    """A challenge that may go: how far it was, and its runs."""

    state: ChallengeState | None
    runs: Sequence[SeenRun]


def _pictures_of_none(folder: Path, stems: Collection[str]) -> list[Path]:
    """Pictures of challenges that Dagster does not show: drawn while theirs was pruned, or since."""
    before, found = time.time() - ORPHAN_AFTER_S, []
    for path in folder.glob("*"):
        stem, _, kind = path.name.rpartition(".")
        with suppress(FileNotFoundError):
            if kind in PICTURES and stem not in stems and path.stat().st_mtime < before:
                found.append(path)
    return found


def _deleted(path: Path) -> bool:
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    return True


def _by_partition(runs: Sequence[SeenRun]) -> dict[str, list[SeenRun]]:
    found: dict[str, list[SeenRun]] = {}
    for run in runs:
        found.setdefault(run.partition or "", []).append(run)
    return found
