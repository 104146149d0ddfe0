"""A window of scored rounds, settled: what each answer is finally worth, given what the other rounds show.

Three things need history. *Sources*: identities whose answers are worded alike round after round are one source, which
has one vote and one pay. *Track records*: the vote of an identity whose answers to other challenges were found good
weighs more, so that what good miners say counts, not what most say. *The gate*: who has proved to answer what is asked
passes with an answer that is unlike the question, as right answers of a word or two are. All derive from the stored
rows of the window and nothing else: settling the same rounds again gives the same bytes, whatever was restarted in
between.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from loosh_pipeline.domain import ChallengeId, Hotkey
from loosh_pipeline.scoring.pairs import Pair, PairHistory, pair_histories, same_source
from loosh_pipeline.scoring.profile import RobustProfile
from loosh_pipeline.scoring.result import RoundScores
from loosh_pipeline.scoring.signals import Floats, Signals
from loosh_pipeline.scoring.votes import Standing, Verdict, judge, ramp


@dataclass(frozen=True, slots=True)
class SettledScore:
    """One answer within its window. Fields as in `Score`; `trust` is the factor of its vote."""

    challenge_id: ChallengeId
    hotkey: Hotkey
    relevance_gate: float
    trust: float
    votes: float
    vote_weight: float
    agreement: float
    share: float
    sources: tuple[Hotkey, ...]
    """Who is taken for the same source, or gave the same answer: degree of at least one half."""
    score: float
    payout: float


@dataclass(frozen=True, slots=True)
class Settlement:
    """Every answer that was compared in a window, and what was learnt of pairs. Who is missing was paid 0."""

    scores: tuple[SettledScore, ...]
    pairs: Mapping[Pair, PairHistory]

    def payouts(self) -> dict[ChallengeId, dict[Hotkey, float]]:
        found: dict[ChallengeId, dict[Hotkey, float]] = {}
        for each in self.scores:
            found.setdefault(each.challenge_id, {})[each.hotkey] = each.payout
        return found


def settle(rounds: Sequence[RoundScores], profile: RobustProfile) -> Settlement:
    """Judge every round of a window again, knowing the others. The rounds may come in any order.

    Raises ValueError for a round given twice, or scored under another profile.
    """
    rounds = sorted(rounds, key=lambda each: each.challenge_id)
    _check(rounds, profile)
    histories = pair_histories((pair for each in rounds for pair in each.pairs), profile)
    signals = [signals_of(each) for each in rounds]
    standings = [
        replace(Standing.unknown(len(each), profile), sources=same_source(each.hotkeys, histories)) for each in signals
    ]
    verdicts = _judge_all(signals, standings, profile)
    for _ in range(int(profile.track_passes)):
        standings = _by_record(rounds, signals, standings, verdicts, profile)
        verdicts = _judge_all(signals, standings, profile)
    settled = zip(rounds, signals, standings, verdicts, strict=True)
    return Settlement(tuple(row for each in settled for row in _rows(*each)), histories)


def signals_of(scores: RoundScores) -> Signals:
    """The signals of a scored round, from its rows; bit for bit those it was scored on."""
    compared = sorted((score for score in scores.scores if score.relevance is not None), key=lambda s: s.hotkey)
    at = {score.hotkey: i for i, score in enumerate(compared)}
    similarity, meaning, coverage, wording = (np.eye(len(compared)) for _ in range(4))
    for pair in scores.pairs:
        i, j = at[pair.first], at[pair.second]
        similarity[i, j] = similarity[j, i] = pair.similarity
        meaning[i, j] = meaning[j, i] = pair.meaning
        wording[i, j] = wording[j, i] = pair.wording
        coverage[i, j], coverage[j, i] = pair.coverage, pair.coverage_back

    def column(name: str) -> Floats:
        values = (getattr(score, name) for score in compared)
        return np.array([math.nan if value is None else value for value in values], dtype=float)

    return Signals(
        hotkeys=tuple(at),
        words=column("words"),
        elapsed_ms=column("elapsed_ms"),
        relevance=column("relevance"),
        baseline=column("baseline"),
        similarity=similarity,
        meaning=meaning,
        coverage=coverage,
        wording=wording,
    )


def _check(rounds: Sequence[RoundScores], profile: RobustProfile) -> None:
    for each, following in pairwise(rounds):
        if each.challenge_id == following.challenge_id:
            raise ValueError(f"challenge {each.challenge_id} is twice in the window; give one version of each round")
    if foreign := [each.challenge_id for each in rounds if each.profile != profile.name]:
        raise ValueError(f"challenges {', '.join(foreign[:5])} were not scored under profile {profile.name!r}")


def _judge_all(signals: Sequence[Signals], standings: Sequence[Standing], profile: RobustProfile) -> list[Verdict]:
    return [judge(each, profile, standing) for each, standing in zip(signals, standings, strict=True)]


def _by_record(
    rounds: Sequence[RoundScores],
    signals: Sequence[Signals],
    standings: Sequence[Standing],
    verdicts: Sequence[Verdict],
    profile: RobustProfile,
) -> list[Standing]:
    """The standings with trust and gate by track record: what the scores of an identity's other rounds come to.

    A score is in units of the round's typical one and not shared with copies: who is copied loses pay, not its word.
    A round that was asked of the identity and brought no comparable answer counts as 0.
    """
    earned: dict[Hotkey, list[float]] = {score.hotkey: [] for each in rounds for score in each.scores}
    own = [_relative(verdict, profile) for verdict in verdicts]
    for each, values in zip(signals, own, strict=True):
        for hotkey, value in zip(each.hotkeys, values, strict=True):
            earned[hotkey].append(float(value))
    asked = Counter(score.hotkey for each_round in rounds for score in each_round.scores)
    total = {hotkey: math.fsum(values) for hotkey, values in earned.items()}
    found = []
    for each, values, standing in zip(signals, own, standings, strict=True):
        others = np.maximum(np.array([total[hotkey] for hotkey in each.hotkeys]) - values, 0.0)
        rounds_asked = np.array([asked[hotkey] for hotkey in each.hotkeys], dtype=float) - 1
        trust, gate = _trust(others, rounds_asked, profile), _gate(others, rounds_asked, profile)
        found.append(replace(standing, trust=trust, gate=gate))
    return found


def _trust(others: Floats, rounds: Floats, profile: RobustProfile) -> Floats:
    """(n,) ((sum of the other rounds' scores + prior) / (number of them + prior)) ** power."""
    prior = profile.track_prior_rounds
    mean = (others + prior) / np.maximum(rounds + prior, 1e-12)
    trust: Floats = mean**profile.track_power
    return trust if prior > 0 else np.where(rounds > 0, trust, 1.0)


def _gate(others: Floats, rounds: Floats, profile: RobustProfile) -> Floats:
    """(n,) the gate of each identity: lower for who has proved by other rounds to answer what is asked."""
    record = others / np.maximum(rounds + profile.proven_prior_rounds, 1e-12)
    gate: Floats = profile.relevance_gate * (1 - ramp(record, profile.proven_low, profile.proven_high))
    return gate


def _relative(verdict: Verdict, profile: RobustProfile) -> Floats:
    if not verdict.typical > 0:
        return np.zeros_like(verdict.score)
    relative: Floats = np.minimum(verdict.score / verdict.typical, profile.track_limit)
    return relative


def _rows(round_: RoundScores, signals: Signals, standing: Standing, verdict: Verdict) -> list[SettledScore]:
    return [
        SettledScore(
            challenge_id=round_.challenge_id,
            hotkey=hotkey,
            relevance_gate=float(standing.gate[i]),
            trust=float(standing.trust[i]),
            votes=float(verdict.vote.heard[i]),
            vote_weight=float(verdict.vote.weight[i]),
            agreement=float(verdict.vote.agreement[i]),
            share=float(verdict.share[i]),
            sources=tuple(h for j, h in enumerate(signals.hotkeys) if j != i and verdict.copies[i, j] >= 0.5),
            score=float(verdict.score[i]),
            payout=float(verdict.payout[i]),
        )
        for i, hotkey in enumerate(signals.hotkeys)
    ]
