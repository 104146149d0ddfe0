"""Every ask of a miner in a lookback, and what copies of its answers cost it, from stored rows: pure functions."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np
import polars as pl

from loosh_pipeline.audit.judged import MOST_COPIES, Judged, copied, judged_rounds, payouts_apart_from
from loosh_pipeline.audit.receipt import FailedAsk, Failure, Neighbour, RoundSaid, SourceSaid, SourcesSaid
from loosh_pipeline.domain import Hotkey, OneSource, Outcome
from loosh_pipeline.emissions import decays
from loosh_pipeline.payouts import window_columns
from loosh_pipeline.scoring.admission import NO_AGREEMENT, OFF_TOPIC
from loosh_pipeline.scoring.columns import WindowColumns
from loosh_pipeline.scoring.explanation import REASONS
from loosh_pipeline.scoring.pairs import Pair, PairHistory, histories_of
from loosh_pipeline.scoring.profile import RobustProfile
from loosh_pipeline.scoring.profiles import ScoringProfile
from loosh_pipeline.scoring.signals import Floats
from loosh_pipeline.store.score_frames import PAIRED_FROM

REPRODUCED = 1e-6
"""How far a payout may be from the stored one for the same rows to have led to both."""
NEWEST = 3
"""Failed asks that are shown of each reason."""
_SETTLED = ("relevance_gate", "trust", "votes", "vote_weight", "agreement", "share", "score")
_FIGURES = ("payout", "rank", "asked", "weight", *_SETTLED)
_SEEN = ("vote", "wording", "similarity", "degree")


@dataclass(frozen=True, eq=False)
class MinerWindow:
    """The stored rows of all rounds that a miner was asked in, and how the window settled them.

    `scores` by challenge and hotkey, as `WindowRows` has them, with the `table` of each; `settled`: rows of
    `settled_scores`, None under a profile that settles nothing. `sources`: of the whole window. `reasons`: why an
    answer could not be compared, by challenge.
    """

    miner: Hotkey
    profile: ScoringProfile
    half_life_h: float
    scores: pl.DataFrame
    pairs: pl.DataFrame
    settled: pl.DataFrame | None
    sources: Sequence[OneSource]
    reasons: Mapping[str, str]

    @cached_property
    def rows(self) -> pl.DataFrame:
        """The scores with what was settled beside them: `payout_alone`, and `payout` that counts."""
        scores = self.scores.rename({"payout": "payout_alone"})
        if self.settled is None:
            blank = [pl.lit(None, dtype=pl.Float64).alias(name) for name in _SETTLED]
            return _ranked(scores.with_columns(*blank, payout=pl.col("payout_alone")))
        settled = self.settled.select("challenge_id", "hotkey", "payout", *_SETTLED)
        on = ["challenge_id", "hotkey"]
        return _ranked(scores.join(settled, on=on, how="left", maintain_order="left"))

    @cached_property
    def columns(self) -> WindowColumns:
        return window_columns(self.scores, self.pairs)

    @cached_property
    def judged(self) -> list[Judged]:
        """Empty under a profile without votes."""
        if not isinstance(self.profile, RobustProfile) or self.scores.is_empty():
            return []
        trust = self.rows["trust"].fill_null(1.0).to_numpy()
        gate = self.rows["relevance_gate"].fill_null(self.profile.relevance_gate).to_numpy()
        degrees: dict[Pair, float] = {(each.first, each.second): each.degree for each in self.sources}
        return judged_rounds(self.columns, self.miner, self.profile, trust, gate, degrees)

    @cached_property
    def differing(self) -> int:
        """How many payouts on record do not come out again from the rows."""
        stored = self.rows["payout"].to_numpy()
        return sum(int((~_alike(each, stored)).sum()) for each in self.judged)

    @cached_property
    def weights(self) -> Floats:
        """The part of each of its asks in the mean, in the order of `mine`."""
        at_ms = self.mine["received_at"].dt.epoch("ms").to_numpy()
        decay = decays(at_ms, self.half_life_h)
        parts: Floats = decay / math.fsum(decay.tolist()) if len(decay) else decay
        return parts

    @cached_property
    def mine(self) -> pl.DataFrame:
        """Its own rows, by challenge."""
        return self.rows.filter(pl.col("hotkey") == self.miner)


def _alike(each: Judged, stored: Floats) -> Any:
    rounds = np.arange(len(each.place))
    was = stored[each.rows[rounds, each.place]]
    return np.abs(each.verdicts.payout[rounds, each.place] - was) <= REPRODUCED * np.maximum(1.0, np.abs(was))


def _ranked(rows: pl.DataFrame) -> pl.DataFrame:
    paid = rows.with_columns(pl.col("payout").fill_null(0.0))
    rank = pl.col("payout").rank("min", descending=True).over("challenge_id").cast(pl.Int64)
    return paid.with_columns(rank=rank, asked=pl.len().over("challenge_id").cast(pl.Int64))


def rounds_said(window: MinerWindow) -> tuple[RoundSaid, ...]:
    """Every ask, the newest first."""
    unpaid, neighbours = _unpaid(window), _neighbours(window)
    found = []
    for mine, weight in zip(window.mine.iter_rows(named=True), window.weights.tolist(), strict=True):
        mine["weight"], mine["reason"] = weight, _reason(mine, window.reasons, unpaid)
        found.append(_round(mine, neighbours.get(mine["challenge_id"], ())))
    return tuple(sorted(found, key=lambda each: (each.at, each.challenge_id), reverse=True))


def _neighbours(window: MinerWindow) -> dict[str, tuple[Neighbour, ...]]:
    """The others of every round, the loudest first."""
    others = _seen(window).filter(pl.col("hotkey") != window.miner)
    louder = [pl.col("vote").fill_null(0.0), pl.col("payout")]
    ordered = others.sort("challenge_id", *louder, "hotkey", descending=[False, True, True, False])
    rows = ordered.select("challenge_id", "hotkey", "outcome", "payout", *_SEEN).iter_rows()
    return {challenge: tuple(Neighbour(*row[1:]) for row in group) for challenge, group in groupby(rows, itemgetter(0))}


def _seen(window: MinerWindow) -> pl.DataFrame:
    """The rows with what each answer is to the miner's: `vote`, `wording`, `similarity`, `degree`; null for none."""
    seen = {name: np.full(window.rows.height, np.nan) for name in _SEEN}
    for each in window.judged:
        rounds = np.arange(len(each.place))
        seen["vote"][each.rows] = each.votes()
        seen["wording"][each.rows] = each.batch.wording[rounds, each.place]
        seen["similarity"][each.rows] = each.similarity[rounds, each.place]
        seen["degree"][each.rows] = each.copies()
    return window.rows.with_columns(**{name: pl.Series(values, nan_to_null=True) for name, values in seen.items()})


def _unpaid(window: MinerWindow) -> dict[str, str]:
    """Why answers that were compared were paid nothing, by challenge."""
    found: dict[str, str] = {}
    for each in window.judged:
        rounds = np.arange(len(each.place))
        passed = each.verdicts.passed[rounds, each.place]
        voting = each.verdicts.vote.voters[rounds, each.place]
        of_round = window.columns.round[each.rows[rounds, each.place]]
        for k in np.flatnonzero(~voting).tolist():
            found[window.columns.challenges[of_round[k]]] = NO_AGREEMENT if passed[k] else OFF_TOPIC
    return found


def _reason(row: Mapping[str, Any], reasons: Mapping[str, str], unpaid: Mapping[str, str]) -> str:
    """Why it was paid nothing; empty when it was paid."""
    challenge = row["challenge_id"]
    if row["payout"] > 0:
        return ""
    if row["outcome"] != Outcome.ANSWERED:
        return str(row["outcome"])
    return unpaid.get(challenge) or reasons.get(challenge) or "paid nothing"


def _round(row: Mapping[str, Any], neighbours: tuple[Neighbour, ...]) -> RoundSaid:
    return RoundSaid(
        challenge_id=row["challenge_id"],
        at=row["received_at"],
        scorer_version=row["scorer_version"],
        table=row["table"],
        outcome=row["outcome"],
        reason=row["reason"],
        elapsed_ms=row["elapsed_ms"],
        words=row["words"] or 0,
        payout_alone=row["payout_alone"],
        relevance=row["relevance"],
        **{name: row[name] for name in _FIGURES},
        neighbours=neighbours,
    )


def failures_said(rounds: Sequence[RoundSaid], details: Mapping[str, str]) -> tuple[Failure, ...]:
    """Asks that were paid nothing, by reason, the commonest first. `details`: what is known of some, by challenge."""
    counts = Counter(each.reason for each in rounds if each.reason)
    return tuple(
        Failure(
            reason,
            REASONS.get(reason, reason.replace("_", " ")),
            count,
            tuple(FailedAsk(each.challenge_id, each.at, details.get(each.challenge_id, "")) for each in newest),
        )
        for reason, count in sorted(counts.items(), key=lambda each: (-each[1], each[0]))
        for newest in [newest_failed(rounds, reason)]
    )


def newest_failed(rounds: Sequence[RoundSaid], reason: str) -> list[RoundSaid]:
    """`rounds`: the newest first."""
    return [each for each in rounds if each.reason == reason][:NEWEST]


def mean_answered(rounds: Sequence[RoundSaid]) -> float | None:
    """The mean payout over asks that were answered, as they weigh."""
    answered = [each for each in rounds if each.outcome == Outcome.ANSWERED]
    weight = math.fsum(each.weight for each in answered)
    return math.fsum(each.weight * each.payout for each in answered) / weight if weight > 0 else None


def own_histories(window: MinerWindow) -> dict[Pair, PairHistory]:
    """What the window says of the miner and each it was compared with: all of these rounds are among its own."""
    if not isinstance(window.profile, RobustProfile) or window.pairs.is_empty():
        return {}
    with_it = (pl.col("first") == window.miner) | (pl.col("second") == window.miner)
    pairs = window.pairs.filter(with_it).select(*PAIRED_FROM)
    columns = window_columns(window.scores, pairs)
    return histories_of(columns.pairs, columns.hotkeys, window.profile).by_pair()


def sources_said(window: MinerWindow) -> SourcesSaid:
    """With whom it is taken for one source, within the window or blatantly in some round, and what that costs."""
    profile = window.profile
    if not isinstance(profile, RobustProfile) or not window.judged:
        return SourcesSaid()
    by_other = {
        _other(each, window.miner): each for each in window.sources if window.miner in (each.first, each.second)
    }
    histories = {_other_of(pair, window.miner): history for pair, history in own_histories(window).items()}
    hotkeys = window.columns.hotkeys
    places = copied(window.judged)
    pays = {int(place): _mean_apart(window, profile, np.array([place])) for place in places[:MOST_COPIES]}
    found = [
        _source(hotkeys[place], by_other.get(hotkeys[place]), histories.get(hotkeys[place]), pays.get(place))
        for place in map(int, places)
    ]
    ordered = tuple(sorted(found, key=lambda each: (-each.degree, -each.rounds, each.hotkey)))
    return SourcesSaid(ordered, _mean_apart(window, profile, places) if len(places) else None)


def _other(pair: OneSource, miner: Hotkey) -> Hotkey:
    return pair.second if pair.first == miner else pair.first


def _other_of(pair: Pair, miner: Hotkey) -> Hotkey:
    return pair[1] if pair[0] == miner else pair[0]


def _source(
    hotkey: Hotkey, taken: OneSource | None, history: PairHistory | None, payout_without: float | None
) -> SourceSaid:
    said = SourceSaid(
        hotkey=hotkey,
        degree=taken.degree if taken else 0.0,
        rounds=taken.rounds if taken else history.rounds if history else 0,
        evidence=None,
        alike_rate=None,
        wording=None,
        same_address=taken.same_address if taken else bool(history and history.same_address),
        same_coldkey=taken.same_coldkey if taken else bool(history and history.same_coldkey),
        payout_without=payout_without,
    )
    if history is None:
        return said
    return replace(said, evidence=history.evidence, alike_rate=history.alike_rate, wording=history.wording)


def _mean_apart(window: MinerWindow, profile: RobustProfile, others: Any) -> float:
    """The miner's mean payout if it shared no pay with these."""
    payout = window.mine["payout"].to_numpy().copy()
    place = {challenge: k for k, challenge in enumerate(window.mine["challenge_id"])}
    for each in window.judged:
        paid = payouts_apart_from(each, profile, others)
        of_round = window.columns.round[each.rows[:, 0]]
        for k, value in zip(of_round.tolist(), paid.tolist(), strict=True):
            payout[place[window.columns.challenges[k]]] = value
    return math.fsum((window.weights * payout).tolist())


def best_and_worst(rounds: Sequence[RoundSaid], most: int) -> Iterator[tuple[str, RoundSaid]]:
    """So many of the best paid asks, then so many of the worst that were answered; none twice."""
    answered = [each for each in rounds if each.outcome == Outcome.ANSWERED]
    by_pay = sorted(answered, key=lambda each: (-each.payout, each.challenge_id))
    best = by_pay[: min(most, (len(by_pay) + 1) // 2)]
    worst = by_pay[len(best) :][::-1][:most]
    yield from (("best", each) for each in best)
    yield from (("worst", each) for each in worst)
