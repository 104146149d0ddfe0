"""All days of all assets: which are compacted, and which are forgotten, in slices of bounded time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from loosh_pipeline.errors import PartTaken, StoreError
from loosh_pipeline.store.compaction import DayCompaction, Done
from loosh_pipeline.store.compaction_plan import last_closed, unused
from loosh_pipeline.store.score_tables import IN_USE, TRIED
from loosh_pipeline.store.tables import Tables
from loosh_pipeline.store.weighing import last_set
from loosh_pipeline.store.window_cache import CACHE

NEVER = frozenset({CACHE, IN_USE.scorers, TRIED.scorers})
"""A copy, which is made again; and what the versions in all scores stand for, a few rows for good."""
OF_CHALLENGES = frozenset({
    "selections", "miner_responses", "embeddings", "consensus_scores", "pair_evidence", "narratives",
    "tried_scores", "tried_pairs",
})  # fmt: skip
"""All else is a series: of some moment, the newest table before it counts."""
OF_WEIGHTS = frozenset({"weights", "weights_dropped", "weight_proposals", "policy_acts", "weight_receipts"})
SETTLED, WEIGHTS = "settled_scores", "weights"

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Summary:
    """What a slice did, and what it left."""

    done: Done = field(default_factory=Done)
    days: int = 0
    """Asset days that were looked at."""
    days_left: int = 0
    """Asset days of which files still lie alone: just packed, or not reached in time."""
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
    found = Summary(until=last_closed(clock(), after_days))
    for day, asset in _waiting(tables, found.until):
        if over():
            found.days_left += 1
            found.finished = False
            continue
        found.days += 1
        compaction = DayCompaction(tables, asset, day, clock, over)
        done = compaction.done
        try:
            compaction.run(_unused(tables, day) if asset == SETTLED else ())
        except PartTaken as error:
            done.problems.append(f"{asset} of {day}: {error}")
            done.left += 1
        except (StoreError, OSError) as error:
            done.problems.append(f"{asset} of {day}: {error}")
            done.left = done.stuck = done.stuck + 1
        found.done.add(done)
        found.days_left += bool(done.left)
        found.finished &= done.left <= done.stuck
    return found


def _waiting(tables: Tables, until: date | None) -> list[tuple[date, str]]:
    """Days with files that lie alone, the oldest first."""
    assets = [asset for asset in tables.assets() if asset not in NEVER]
    return sorted((day, asset) for asset in assets for day in tables.open_days(asset) if until and day <= until)


def _unused(tables: Tables, day: date) -> set[str]:
    """Files of settled windows of a day by which no weights were set: a window is settled at each attempt."""
    later = next((each for each in tables.days(SETTLED) if each > day), None)
    if later is None:
        return set()
    names = {each.name for each in tables.files(SETTLED, day)}
    following = {each.name for each in tables.files(SETTLED, later)}
    days = [each for each in tables.days(WEIGHTS) if day <= each <= later]
    submitted = (each.name for weights_day in days for each in tables.files(WEIGHTS, weights_day))
    return unused(names | following, submitted) & {each.name for each in tables.originals(SETTLED, day)}


def forget_history(tables: Tables, kept_days: float | None, now: datetime) -> list[str]:
    """Delete whole days that ended at least so long ago, none for None; returns which, with their assets.

    Of a series, the newest of these days stays, which says how things were when what is kept begins; and so do the
    weights that stand on chain, with what they were made of.
    """
    if kept_days is None:
        return []
    until = last_closed(now, kept_days)
    found = [(day, asset) for asset in tables.assets() if asset not in NEVER for day in _old(tables, asset, until)]
    for day, asset in sorted(found):
        tables.remove_day(asset, day)
        log.warning("all %s of %s were deleted, as RETAIN_TABLES_DAYS is %g", asset, day, kept_days)
    return [f"{asset} of {day}" for day, asset in sorted(found)]


def _old(tables: Tables, asset: str, until: date) -> Iterator[date]:
    days = [day for day in tables.days(asset) if day <= until]
    if asset not in OF_CHALLENGES:
        days = days[:-1]
    standing = last_set(tables) if asset in OF_WEIGHTS and days else None
    return (day for day in days if standing is None or day < standing[0].day - timedelta(days=1))
