"""Rounds drawn from an epoch and scored anew: what a scorer would change, where stored rows cannot say it.

Both are worked out on the same rounds, the weights as they are and as they would be: what a sample of rounds is apart
from all of them is in both, and the difference is what counts. Pairs meet less often in a sample than in the whole
window, so that copies are told less surely, in both. The interval is by drawing rounds again (bootstrap), with what
each round paid as it was settled.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from loosh_pipeline.audit.weighing_again import Given, coverage_again, proposed
from loosh_pipeline.audit.weight_diff import WeightDiff, weight_diff
from loosh_pipeline.domain import ChallengeId, Hotkey
from loosh_pipeline.emissions import emissions_from
from loosh_pipeline.errors import ScoringError
from loosh_pipeline.paid import Paid
from loosh_pipeline.paying import Earnings, as_earned
from loosh_pipeline.payouts import paid_of
from loosh_pipeline.rescoring.processes import ScoringProcesses
from loosh_pipeline.rescoring.rounds import Found, StoredRound, Unscorable, of_challenges
from loosh_pipeline.rescoring.scoring import ScoredBatch
from loosh_pipeline.scoring.profiles import ScoringProfile
from loosh_pipeline.scoring.signals import Floats, Ints
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.score_frames import PAIRED_FROM, SETTLED_FROM
from loosh_pipeline.store.score_tables import WindowRows
from loosh_pipeline.store.tables import Tables

REPLICATES = 100
WITHIN_95 = 1.96
"""Standard deviations either way, between which 95 % of what is normally distributed lies."""
AHEAD = 2
"""Batches that wait for each process."""

Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Interval:
    """Between what a figure lies with 95 %, as far as the draw of rounds is concerned."""

    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Spread:
    """How far chance in the draw of rounds moves what was found: of each miner's change, and of total variation.

    Every miner's chance adds to the total variation of a sample, and none takes from it: `total_variation` is without
    what drawing again adds on average.
    """

    changes: Mapping[Hotkey, Interval]
    total_variation: float
    between: Interval


@dataclass(frozen=True, eq=False)
class ScoredAnew:
    """Rows of rounds under another scorer, and which rounds cannot be scored by it."""

    rows: WindowRows
    unscorable: tuple[Unscorable, ...]


def drawn(rounds: Sequence[str], count: int, seed: int) -> list[str]:
    """So many of these rounds, without replacement, or all of them; in their order. The same by the same seed."""
    if count >= len(rounds):
        return list(rounds)
    chosen = np.random.default_rng(seed).choice(len(rounds), count, replace=False)
    return [rounds[place] for place in sorted(chosen.tolist())]


def score_anew(
    tables: Tables,
    inbox: Inbox,
    ids: Sequence[str],
    profile: ScoringProfile,
    left_out: Sequence[Hotkey],
    advance: Advance,
    processes: int | None,
) -> ScoredAnew:
    """Score stored rounds without some hotkeys, in processes beside this one; nothing is written. `advance` hears of
    each batch.
    """
    scores, pairs = [pl.DataFrame(schema=SETTLED_FROM)], [pl.DataFrame(schema=PAIRED_FROM)]
    unscorable: list[Unscorable] = []
    with ScoringProcesses(tables.objects.root, profile, processes) as pool:
        for missing, done in _batches(of_challenges(tables, inbox, ids, with_scores=False), left_out, pool):
            scores.append(done.scores.select(list(SETTLED_FROM)))
            pairs.append(done.pairs.select(list(PAIRED_FROM)))
            unscorable += [*missing, *done.unscorable]
            advance(len(missing) + len(done.rounds) + len(done.unscorable))
    return ScoredAnew(WindowRows(pl.concat(scores), pl.concat(pairs)), tuple(unscorable))


def _batches(
    batches: Iterable[Sequence[Found | Unscorable]], left_out: Sequence[Hotkey], pool: ScoringProcesses
) -> Iterator[tuple[list[Unscorable], ScoredBatch]]:
    waiting: deque[tuple[list[Unscorable], Future[ScoredBatch]]] = deque()
    for batch in batches:
        rounds = [_without(each.round, left_out) for each in batch if isinstance(each, Found)]
        missing = [each for each in batch if isinstance(each, Unscorable)]
        waiting.append((missing, pool.submit(rounds)))
        if len(waiting) > AHEAD * pool.count:
            told, future = waiting.popleft()
            yield told, future.result()
    while waiting:
        told, future = waiting.popleft()
        yield told, future.result()


def _without(round_: StoredRound, left_out: Sequence[Hotkey]) -> StoredRound:
    if not left_out:
        return round_
    kept = ~pl.col("hotkey").is_in(list(left_out))
    return replace(round_, responses=round_.responses.filter(kept), vectors=round_.vectors.filter(kept))


def of_rounds(rows: WindowRows, ids: Sequence[str]) -> WindowRows:
    """The rows of these rounds alone."""
    kept = pl.DataFrame({"challenge_id": list(ids)}, schema={"challenge_id": pl.String})
    return WindowRows(*(each.join(kept, on="challenge_id", how="semi") for each in (rows.scores, rows.pairs)))


def spread(before: Given, was: Earnings, after: Given, would: Earnings, found: WeightDiff, seed: int) -> Spread:
    """Draw the rounds of both again, `REPLICATES` times, with what each paid as it was settled.

    `found`: what they come to as they were drawn. Raises ScoringError where they have no round in common.
    """
    common = sorted(_paid_rounds(was) & _paid_rounds(would))
    if not common:
        raise ScoringError("no round could be paid under both; there is nothing to draw from")
    old, new = _Side(before, was, common), _Side(after, would, common)
    rng = np.random.default_rng(seed)
    again = []
    for _ in range(REPLICATES):
        places = rng.integers(len(common), size=len(common))
        again.append(weight_diff(old.weights(places), new.weights(places)))
    varied = np.array([each.total_variation for each in again])
    corrected = min(1.0, max(0.0, 2 * found.total_variation - float(varied.mean())))
    between = _around(corrected, varied)
    return Spread(_of_miners(found, again), corrected, Interval(max(0.0, between.low), min(1.0, between.high)))


def _of_miners(found: WeightDiff, again: Sequence[WeightDiff]) -> dict[Hotkey, Interval]:
    changed = {each.hotkey: each.change for each in found.moves}
    drawn_again = [{move.hotkey: move.change for move in each.moves} for each in again]
    return {
        hotkey: _around(change, np.array([each.get(hotkey, 0.0) for each in drawn_again]))
        for hotkey, change in changed.items()
    }


def _around(value: float, again: Floats) -> Interval:
    within = WITHIN_95 * float(again.std(ddof=1))
    return Interval(value - within, value + within)


def _paid_rounds(found: Earnings) -> set[str]:
    return set(found.payouts.paid["challenge_id"].unique())


class _Side:
    """One of the two, as weights of any draw of its rounds."""

    def __init__(self, given: Given, found: Earnings, rounds: Sequence[str]) -> None:
        self._given, self._terms = given, found.terms
        self._earned = as_earned(found)
        self._coverage = coverage_again(given)
        self._paid = paid_of(found.payouts.paid.filter(pl.col("challenge_id").is_in(list(rounds))))
        order = np.argsort(self._paid.round, kind="stable")
        sizes = np.bincount(self._paid.round, minlength=len(rounds))
        self._rows = np.split(order, np.cumsum(sizes)[:-1])

    def weights(self, places: Ints) -> Mapping[Hotkey, float]:
        """Of the rounds at these places of the sorted list, each as often as it is named."""
        terms, given = self._terms, self._given
        paid = self._drawn(places)
        emissions = emissions_from(
            paid, given.profile, terms.made_at, coverage=self._coverage, mode=terms.mode, rule=terms.rule
        )
        earned = replace(self._earned, emissions=emissions)
        return proposed(given.inputs, earned, given.subnet).weights

    def _drawn(self, places: Ints) -> Paid:
        parts = [self._rows[place] for place in places.tolist()]
        rows = np.concatenate(parts)
        miners, miner = np.unique(self._paid.miner[rows], return_inverse=True)
        return Paid(
            challenges=tuple(ChallengeId(f"{place:09d}") for place in range(len(parts))),
            hotkeys=tuple(self._paid.hotkeys[place] for place in miners.tolist()),
            round=np.repeat(np.arange(len(parts)), [len(part) for part in parts]),
            miner=miner,
            at_ms=self._paid.at_ms[rows],
            answered=self._paid.answered[rows],
            measured=self._paid.measured[rows],
            payout=self._paid.payout[rows],
        )
