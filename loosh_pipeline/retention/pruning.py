"""Doing it, a slice at a time: what was old goes batch by batch, and a killed slice is gone on with by the next."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from dagster import DagsterInstance
from dagster._core.storage.event_log import SqliteEventLogStorage

from loosh_pipeline.domain import ChallengeState
from loosh_pipeline.retention.ages import Ages, SeenPartition, SeenRun, held_by, is_due, run_may_go
from loosh_pipeline.retention.deleting import Leaving
from loosh_pipeline.retention.history import History
from loosh_pipeline.retention.overdue import TOO_MANY
from loosh_pipeline.retention.pace import LEAST_PAUSE_S, Pace
from loosh_pipeline.retention.rows import CHUNK, chunks
from loosh_pipeline.retention.run_files import delete_run_files, left_over, orphans
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.presenting import Presenting
from loosh_pipeline.store.tables import HASHED, file_stem

BUDGET_S = 120.0
"""How long a slice works: far below what a run may take, and no batch is begun later."""
FOLD_AFTER = timedelta(days=2)
"""Longer than anything that was submitted is looked at for its own sake."""
FOLD_AT_ONCE = 500
ORPHAN_AFTER_S = 3600.0
"""How old a file must be that nothing speaks of: what does may be about to be written."""
PICTURES = ("png", "json")
UNFINISHED_PICTURE = ".tmp"
AT_ONCE = 64
"""Challenges that are decided on together, and then deleted."""
MOST_HOLDERS = 3
UNPICTURED = "it waits for its picture"


@dataclass(slots=True)
class Pruned:
    """What a slice did. `left`: challenges that are due and were not come to; `held_by`: what keeps how many that are
    due; `finished`: nothing more is to do now, and no more than a tenth too many are kept.
    """

    challenges: int = 0
    runs: int = 0
    backfills: int = 0
    pictures: int = 0
    files: int = 0
    folded: int = 0
    kept_challenges: int = 0
    kept_runs: int = 0
    left: int = 0
    held_by: str = "nothing"
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
        came_to_the_end = all(step() for step in steps)
        work.done.finished = came_to_the_end and work.done.kept_challenges <= TOO_MANY * self.ages.challenges
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
        self._deleter, self._held = self.history.deleter(pace), Counter[str]()

    def challenges(self) -> bool:
        """Prune challenges that are due, the oldest first."""
        by_age = sorted(self.history.partitions(), key=lambda each: each.added_at)
        there = [replace(each, number=number) for number, each in enumerate(by_age)]
        excess, before = len(there) - self._ages.challenges, self._now - self._ages.evaluation
        due = [each for each in there if is_due(each, excess, before)]
        looked_at = 0
        while looked_at < len(due) and not self.pace.over:
            part = due[looked_at : looked_at + AT_ONCE]
            looked_at += len(part)
            if going := self._going(part, excess, before):
                self._prune(going)
        if self.done.challenges:
            self.history.forget_statuses()
        self.done.kept_challenges, self.done.left = len(there) - self.done.challenges, len(due) - looked_at
        self.done.held_by = _told(self._held)
        return looked_at == len(due)

    def _look_again(self) -> None:
        """Backfills and runs may have begun since."""
        self._untouchable = replace(self.history.busy(), runs=self._untouchable.runs)

    def _going(self, part: Sequence[SeenPartition], excess: int, before: datetime) -> Mapping[str, Going]:
        """Those of some challenges that are due which may go. One that was restored since is not due any more."""
        self._look_again()
        keys = [each.key for each in part]
        added, states, runs = (
            self.history.added(keys),
            self._inbox.states(keys),
            _by_partition(self.history.runs_of(keys)),
        )
        unpictured = Presenting(self._inbox.engine).waiting(keys)
        found = {}
        for each in part:
            if added.get(each.key) != each.added_at:
                continue
            state, its, young = states.get(each.key), runs.get(each.key, ()), each.added_at >= before
            moved_before = None if each.number < excess else before
            holder = held_by(each.key, state, its, self._untouchable, moved_before)
            if holder is None and young and each.key in unpictured:
                holder = UNPICTURED
            if holder is None:
                found[each.key] = Going(state, Leaving(each.added_at, [run.run_id for run in its]))
            else:
                self._held[holder] += 1
        return found

    def _prune(self, going: Mapping[str, Going]) -> None:
        old = self._deleter.delete_of_challenges({key: each.leaving for key, each in going.items()})
        self.done.pictures += sum(map(self._delete_pictures, old))
        gone = self._deleter.delete_partitions({key: going[key].leaving.added_at for key in old})
        again = self._wanted_again({key: going[key] for key in gone})
        if again:
            self.history.add_partitions(again)
        self.done.challenges += len(gone) - len(again)
        self.done.runs += sum(len(going[key].leaving.run_ids) for key in gone)

    def _wanted_again(self, gone: Mapping[str, Going]) -> list[str]:
        """Challenges that were parked and taken up again just then, or that a run or a backfill began to work on."""
        keys = list(gone)
        self._look_again()
        states, begun = self._inbox.states(keys), _by_partition(self.history.runs_of(keys))
        held = self._untouchable
        return [
            key
            for key, each in gone.items()
            if states.get(key) != each.state or key in begun or key in held.partitions or held.everything
        ]

    def _delete_pictures(self, challenge_id: str) -> int:
        paths = [self._heatmaps / f"{file_stem(challenge_id)}.{kind}" for kind in PICTURES]
        return sum(map(_deleted, paths))

    def runs(self) -> bool:
        """Prune runs of no challenge that is there."""
        after = 0
        while not self.pace.over:
            old = self.history.old_runs(self._now - self._ages.shortest, after)
            if not old:
                return True
            after = old[-1].number
            self._look_again()
            there = self.history.added([run.partition for run in old if run.partition])
            self._prune_runs([run.run_id for run in old if self._run_may_go(run, there)])
        return False

    def _run_may_go(self, run: SeenRun, there: Collection[str]) -> bool:
        return run_may_go(run, self._ages, self._now, self._untouchable, there)

    def _prune_runs(self, run_ids: Sequence[str]) -> None:
        for batch in chunks(run_ids, AT_ONCE):
            if self.pace.over:
                return
            self._deleter.delete_runs(batch)
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
        """Delete what nothing speaks of: what a killed process, another version or a late look left."""
        for paths in self._lone_files():
            if self.pace.over:
                return False
            self.done.files += sum(map(_deleted, paths))
        for run_ids in self.history.runs_without_record(datetime.now(UTC) - timedelta(seconds=ORPHAN_AFTER_S)):
            if self.pace.over:
                return False
            if run_ids:
                self._deleter.delete_runs(run_ids)
        return True

    def _lone_files(self) -> Iterator[Sequence[Path]]:
        yield from map(self._pictures_of_none, chunks(sorted(self._heatmaps.glob("*")), CHUNK))
        yield from map(self._pictures_of_none, chunks(sorted(self._heatmaps.glob(f".*{UNFINISHED_PICTURE}")), CHUNK))
        if isinstance(self._storage, SqliteEventLogStorage):
            folder = Path(self._storage.path_for_shard("index")).parent
            yield list(left_over(folder, self._ages.evaluation.total_seconds()))
            for run_ids in orphans(folder, self.history, ORPHAN_AFTER_S):
                delete_run_files(self._storage, run_ids)
                self.done.files += len(run_ids)
                yield ()

    def _pictures_of_none(self, paths: Sequence[Path]) -> list[Path]:
        """Pictures of challenges that Dagster does not show, drawn while theirs was pruned, or since; and what a killed
        process had half written. Files of nobody's challenge are not ours to delete.
        """
        before, old = time.time() - ORPHAN_AFTER_S, {}
        for path in paths:
            half = path.name.startswith(".") and path.name.endswith(UNFINISHED_PICTURE)
            name = path.name[1 : -len(UNFINISHED_PICTURE)] if half else path.name
            stem, _, kind = name.rpartition(".")
            with suppress(FileNotFoundError):
                if kind in PICTURES and path.stat().st_mtime < before:
                    old[path] = (stem, half)
        stems = {stem for stem, _ in old.values()}
        ids = {stem: stem for stem in stems if not stem.startswith(HASHED)} | self._hashed(stems)
        known, shown = self._inbox.states(list(ids.values())), self.history.added(list(ids.values()))
        return [
            path for path, (stem, half) in old.items() if (key := ids.get(stem)) in known and (half or key not in shown)
        ]

    def _hashed(self, stems: Collection[str]) -> dict[str, str]:
        """Ids of challenges by the hash that their pictures are named by, where there are such pictures."""
        if not any(stem.startswith(HASHED) for stem in stems):
            return {}
        return {stem: key for key in self._inbox.all_ids() if (stem := file_stem(key)) in stems}


@dataclass(frozen=True, slots=True)
class Going:
    """A challenge that may go: how far it was, and what goes with it."""

    state: ChallengeState | None
    leaving: Leaving


def _told(held: Mapping[str, int]) -> str:
    """What keeps how many challenges, those that keep most."""
    most = Counter(held).most_common(MOST_HOLDERS)
    more = [f"{len(held) - len(most)} more"] if len(held) > len(most) else []
    return "; ".join([*(f"{holder}: {count:,}" for holder, count in most), *more]) or "nothing"


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
