"""Rounds drawn from an epoch and scored anew: what a scorer would change, where stored rows cannot say it.

Both are worked out on the same rounds, the weights as they are and as they would be: what a sample of rounds is apart
from all of them is in both, and the difference is what counts. Pairs meet less often in a sample than in the whole
window, so that copies are told less surely, in both. What asks for a number of rounds asks for the sample's part of it.
The interval is by drawing rounds again (bootstrap), with what each round paid as it was settled; no more of it than the
rounds that were not drawn leave open.
"""

from __future__ import annotations

import math
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
ENOUGH = 2
"""Rounds of a miner that it takes to tell how they spread."""
AHEAD = 2
"""Batches that wait for each process."""

Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Draw:
    """Rounds that were drawn of so many, by a seed."""

    of_rounds: int
    seed: int


@dataclass(frozen=True, slots=True)
class Interval:
    """Between what a figure lies with 95 %, as far as the draw of rounds is concerned."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """Of a figure of all rounds, from some of them."""

    value: float
    between: Interval

    def less(self, whole: float) -> Estimate:
        """What is left of `whole`."""
        low, high = whole - self.between.high, whole - self.between.low
        return Estimate(whole - self.value, Interval(low, high))


@dataclass(frozen=True, eq=False)
class Spread:
    """How far chance in the draw of rounds moves what was found.

    `changes`: of each miner's, for whom enough rounds were drawn. `ranks`: None where either side weighs all alike.
    `unjudged`: whom the epoch's rounds asked, and too few of those drawn to say anything of.
    """

    changes: Mapping[Hotkey, Interval]
    total_variation: Estimate
    ranks: Estimate | None
    unjudged: tuple[Hotkey, ...]


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


def scaled(given: Given, part: float) -> Given:
    """With what asks for a number of rounds asking for this part of it: a sample holds that much of everybody's.

    Else whoever is seldom asked would be unpaid in every sample, whatever the scorer says of it.
    """
    rule, policy = given.terms.rule, given.inputs.policy
    terms = replace(given.terms, rule=replace(rule, full_evidence_rounds=rule.full_evidence_rounds * part))
    least = {name: max(1, round(getattr(policy, name) * part)) for name in ("min_rounds", "min_evidence_rounds")}
    return replace(given, terms=terms, inputs=replace(given.inputs, policy=replace(policy, **least)))


def unjudged(asked: Mapping[Hotkey, int], drawn_: Mapping[Hotkey, int]) -> tuple[Hotkey, ...]:
    """Who was asked more than once and hardly in the rounds that were drawn, so that nothing tells chance apart."""
    return tuple(sorted(each for each, count in asked.items() if drawn_.get(each, 0) < min(ENOUGH, count)))


def spread(
    before: Given,
    was: Earnings,
    after: Given,
    would: Earnings,
    found: WeightDiff,
    asked: Mapping[Hotkey, int],
    draw: Draw,
) -> Spread:
    """Draw the rounds of both again, `REPLICATES` times, with what each paid as it was settled.

    `found`: what they come to as they were drawn. `asked`: in how many of all rounds each miner was. Drawing again is
    as if from a world of rounds without end; of `draw.of_rounds` only those that were not drawn are unknown, which
    narrows all by the square root of their part. Raises ScoringError where the sides have no round in common.
    """
    common = sorted(_paid_rounds(was) & _paid_rounds(would))
    if not common:
        raise ScoringError("no round could be paid under both; there is nothing to draw from")
    old, new = _Side(before, was, common), _Side(after, would, common)
    rng, again = np.random.default_rng(draw.seed), []
    for _ in range(REPLICATES):
        places = rng.integers(len(common), size=len(common))
        again.append(weight_diff(old.weights(places), new.weights(places)))
    unknown = max(0.0, 1.0 - len(common) / draw.of_rounds)
    counts = {each.hotkey: each.asked for each in was.emissions}
    few = unjudged(asked, counts)
    deviations = _deviations(found, again, unknown)
    rounds = np.array([counts.get(each.hotkey, REPLICATES) for each in found.moves], dtype=np.float64)
    # Drawing m rounds again shows (m - 1) / m of the variance.
    wide = deviations * np.sqrt(rounds / np.maximum(rounds - 1, 1))
    changes = {each.hotkey: _around(each.change, wide[place]) for place, each in enumerate(found.moves)}
    return Spread(
        changes={hotkey: between for hotkey, between in changes.items() if hotkey not in few},
        total_variation=_moved(found, deviations, np.array([each.total_variation for each in again]), unknown),
        ranks=_ranks(found, again, unknown),
        unjudged=few,
    )


def _deviations(found: WeightDiff, again: Sequence[WeightDiff], unknown: float) -> Floats:
    """Of each miner's change, in the order of `found.moves`."""
    drawn_again = [{move.hotkey: move.change for move in each.moves} for each in again]
    changes = np.array([[each.get(move.hotkey, 0.0) for move in found.moves] for each in drawn_again])
    deviations: Floats = changes.std(axis=0, ddof=1) * math.sqrt(unknown)
    return deviations


def _moved(found: WeightDiff, deviations: Floats, again: Floats, unknown: float) -> Estimate:
    """Of the total variation of all rounds.

    Chance adds to |change| of a miner from nothing, where the change is large beside it, to √(2/π) deviations, where
    there is none: the truth lies between the figure of the sample and that less the most that chance can have added,
    and the interval is around both. The figure itself is scaled by how much of the squared changes is not chance.
    """
    changes = np.array([move.change for move in found.moves])
    seen, chance = float(changes @ changes), float(deviations @ deviations)
    plain, most = found.total_variation, float(deviations.sum()) * math.sqrt(2 / math.pi) / 2
    kept = math.sqrt(max(0.0, 1.0 - chance / seen)) if seen > 0 else 1.0
    within = WITHIN_95 * float(again.std(ddof=1)) * math.sqrt(unknown)
    least = max(0.0, plain - most)
    return Estimate(max(least, plain * kept), Interval(max(0.0, least - within), min(1.0, plain + within)))


def _ranks(found: WeightDiff, again: Sequence[WeightDiff], unknown: float) -> Estimate | None:
    """Of the rank correlation, which chance lowers: it is told without the part of that which is unknown."""
    drawn_again = np.array([each.rank_correlation for each in again if each.rank_correlation is not None])
    if found.rank_correlation is None or len(drawn_again) < 2:
        return None
    plain = found.rank_correlation
    value = min(1.0, max(-1.0, plain + unknown * (plain - float(drawn_again.mean()))))
    within = WITHIN_95 * float(drawn_again.std(ddof=1)) * math.sqrt(unknown) + abs(value - plain)
    return Estimate(value, Interval(max(-1.0, value - within), min(1.0, value + within)))


def _around(value: float, deviation: float) -> Interval:
    return Interval(value - WITHIN_95 * deviation, value + WITHIN_95 * deviation)


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
