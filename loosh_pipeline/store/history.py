"""All days of all assets: which are compacted, and which are forgotten, in slices of bounded time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from loosh_pipeline.errors import PartTaken, StoreError
from loosh_pipeline.store.canary_accuracy import CANARY_ACCURACY
from loosh_pipeline.store.compaction import DayCompaction, Done
from loosh_pipeline.store.compaction_plan import last_closed, unused
from loosh_pipeline.store.objects import SECONDS_PER_H
from loosh_pipeline.store.score_tables import CANARIES, IN_USE, TRIED
from loosh_pipeline.store.seals import SEALS
from loosh_pipeline.store.tables import TableKey, Tables
from loosh_pipeline.store.weigh_records import COUNTED_ROUNDS, EMISSION_TERMS, PROPOSAL_INPUTS, UNPAID_ASKS
from loosh_pipeline.store.weighing import last_set, proposal_behind
from loosh_pipeline.store.window_cache import CACHE

NEVER = frozenset({CACHE, IN_USE.scorers, TRIED.scorers, CANARIES.scorers})
"""A copy, which is made again; and what the versions in all scores stand for, a few rows for good."""
OF_CHALLENGES = frozenset({
    "selections", "miner_responses", "embeddings", "consensus_scores", "pair_evidence", "narratives",
    "tried_scores", "tried_pairs", "canary_scores", "canary_pairs", "canary_verdicts",
})  # fmt: skip
"""All else is a series: of some moment, the newest table before it counts."""
SETTLED, WEIGHTS, PROPOSALS, EMISSIONS = "settled_scores", "weights", "weight_proposals", "emissions"
OF_WINDOWS = frozenset({SETTLED, COUNTED_ROUNDS})
"""A window is settled at each attempt to set weights; of those by which none were set, these are dropped: they are
large."""
OF_WEIGHTS = frozenset({
    WEIGHTS, "weights_dropped", "weight_receipts", PROPOSALS, "policy_acts", EMISSIONS, SETTLED, "sources",
    "rounds_left_out", COUNTED_ROUNDS, UNPAID_ASKS, EMISSION_TERMS, PROPOSAL_INPUTS, SEALS, CANARY_ACCURACY,
})  # fmt: skip
CHANGED_WITHIN_H = 7 * 24
"""Days into which parts were put so long ago are looked at again: some may have been replaced, or be merged."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Summary:
    """What a slice did, and what it left."""

    done: Done = field(default_factory=Done)
    days: int = 0
    """Asset days that were looked at."""
    days_left: int = 0
    """Asset days that are not done: just packed or merged, or not reached in time."""
    finished: bool = True
    """Whether nothing is left that a slice within the next hours could do."""
    until: date | None = None
    """The last day that is old enough to be compacted."""


def compact_history(
    tables: Tables, after_days: float, clock: Callable[[], datetime], over: Callable[[], bool]
) -> Summary:
    """Compact days that ended at least so long ago, the oldest first, until the time is over.

    What cannot be read or was changed meanwhile is in `problems`; it stays as it is.
    """
    until = last_closed(clock(), after_days)
    found = Summary(until=until)
    for day, asset in _waiting(tables, until, clock(), found.done.problems):
        if over():
            found.days_left += 1
            found.finished = False
            continue
        found.days += 1
        done, again = _compacted(tables, asset, day, clock, over)
        found.done.add(done)
        found.days_left += again or bool(done.left)
        found.finished &= not again
    return found


def _compacted(
    tables: Tables, asset: str, day: date, clock: Callable[[], datetime], over: Callable[[], bool]
) -> tuple[Done, bool]:
    """What became of a day, and whether it is to be looked at again soon."""
    compaction = DayCompaction(tables, asset, day, clock, over)
    done = compaction.done
    try:
        compaction.run(_unused(tables, day, asset) if asset in OF_WINDOWS else ())
    except PartTaken as error:
        done.problems.append(f"{asset} of {day}: {error}")
        return done, True
    except Exception as error:  # object stores raise their clients' errors, which have no base in common
        log.exception("%s of %s could not be compacted", asset, day)
        done.problems.append(f"{asset} of {day}: {_named(error)}")
        done.stuck += 1
        done.left = done.stuck
        return done, False
    return done, done.left > done.stuck or done.replaced > 0


def _named(error: Exception) -> str:
    return str(error) if isinstance(error, (StoreError, OSError)) else f"{type(error).__name__}: {error}"


def _waiting(tables: Tables, until: date, now: datetime, problems: list[str]) -> list[tuple[date, str]]:
    """Days with files that lie alone, or into which parts were put lately, the oldest first."""
    since_hour, waiting = int(now.timestamp()) // SECONDS_PER_H - CHANGED_WITHIN_H, list[tuple[date, str]]()
    for asset in (each for each in tables.assets() if each not in NEVER):
        with _told(problems, asset):
            days = {*tables.open_days(asset), *tables.closed.changed_days(asset, since_hour)}
            waiting += [(day, asset) for day in days if day <= until]
    return sorted(waiting)


def _unused(tables: Tables, day: date, asset: str) -> set[str]:
    """Files of windows of a day by which no weights were set."""
    alone = {each.name for each in tables.originals(asset, day)}
    following = [each for each in tables.days(asset) if each > day]
    if not alone or not following:
        return set()
    windows = alone | {each.name for each in tables.files(asset, following[0])}
    # Of a window's last proposal, the weights come before the next proposal, whenever that is.
    proposed, until = set[str](), following[0]
    for each in (each for each in tables.days(PROPOSALS) if each >= day):
        proposed |= {file.name for file in tables.files(PROPOSALS, each)}
        until = max(until, each)
        if each > following[0]:
            break
    days = [each for each in tables.days(WEIGHTS) if day <= each <= until]
    submitted = [file.name for each in days for file in tables.files(WEIGHTS, each)]
    return unused(windows, proposed, submitted) & alone


@dataclass(slots=True)
class Forgotten:
    """Asset days that were deleted, and what could not be."""

    deleted: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    finished: bool = True


def forget_history(
    tables: Tables, kept_days: float | None, now: datetime, over: Callable[[], bool] = lambda: False
) -> Forgotten:
    """Delete whole days that ended at least so long ago, none for None, the oldest first, until the time is over.

    Of a series, the newest of these days stays (of contexts, that of each model), which says how things were when what
    is kept begins; and so do the weights that stand on chain, with what they were made of. Raises StoreError when
    assets cannot be listed.
    """
    found = Forgotten()
    if kept_days is None:
        return found
    until, old = last_closed(now, kept_days), list[tuple[date, str]]()
    for asset in (each for each in tables.assets() if each not in NEVER):
        with _told(found.problems, asset):
            old += [(day, asset) for day in _old(tables, asset, until)]
    for day, asset in sorted(old):
        if over():
            found.finished = False
            break
        with _told(found.problems, f"{asset} of {day}"):
            tables.remove_day(asset, day)
            if left := tables.files(asset, day):
                raise StoreError(f"{len(left)} tables are still there, such as {left[0].name}")
            found.deleted.append(f"{asset} of {day}")
            log.warning("all %s of %s were deleted, as RETAIN_TABLES_DAYS is %g", asset, day, kept_days)
    return found


@contextmanager
def _told(problems: list[str], what: str) -> Iterator[None]:
    """What cannot be listed or deleted keeps nothing else from being."""
    try:
        yield
    except Exception as error:  # see `_compacted`
        log.exception("%s: passed over", what)
        problems.append(f"{what}: {_named(error)}")


def _old(tables: Tables, asset: str, until: date) -> list[date]:
    days = [day for day in tables.days(asset) if day <= until]
    if not days or asset in OF_CHALLENGES:
        return days
    counting = _newest_of_each_version(tables, asset, days)
    if asset in OF_WEIGHTS and (standing := _standing(tables)):
        counting |= {day for day in days if standing[0] <= day <= standing[1]}
    return [day for day in days if day not in counting]


def _newest_of_each_version(tables: Tables, asset: str, days: Sequence[date]) -> set[date]:
    """Days of which something counts until there is something newer."""
    seen, counting = set[str](), set[date]()
    for day in reversed(days):
        versions = {TableKey.named(day, each.name).version for each in tables.files(asset, day)}
        if not versions <= seen:
            counting.add(day)
            seen |= versions
    return counting


def _standing(tables: Tables) -> tuple[date, date] | None:
    """From when to when there is something of the weights that stand on chain: from the emissions that their proposal
    was made of to the day after they were sent, when they were read back.
    """
    found = last_set(tables, most=None)
    if found is None:
        return None
    submitted = found[0]
    proposal = proposal_behind(tables, submitted) or submitted
    made_of = (key for key in tables.newest_first(EMISSIONS, proposal.day) if key.name <= proposal.name)
    return next(made_of, proposal).day, submitted.day + timedelta(days=1)
