"""A window settled round by round, in the plainest form that gives the same bits: what the batched form must equal."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from loosh_pipeline.domain import Hotkey
from loosh_pipeline.scoring.pairs import Pair, PairEvidence
from loosh_pipeline.scoring.profile import RobustProfile
from loosh_pipeline.scoring.result import RoundScores
from loosh_pipeline.scoring.votes import Standing, ramp

Array = Any


@dataclass(frozen=True, eq=False)
class Answers:
    """n compared answers of a round: (n,) and (n, n)."""

    hotkeys: tuple[Hotkey, ...]
    words: Array
    elapsed_ms: Array
    relevance: Array
    baseline: Array
    meaning: Array
    coverage: Array
    wording: Array


@dataclass(frozen=True, eq=False)
class Judged:
    voters: Array
    copies: Array
    heard: Array
    weight: Array
    agreement: Array
    share: Array
    score: Array
    payout: Array
    typical: float


def answers_of(scores: RoundScores) -> Answers:
    compared = sorted((score for score in scores.scores if score.relevance is not None), key=lambda s: s.hotkey)
    at = {score.hotkey: i for i, score in enumerate(compared)}
    meaning, coverage, wording = (np.eye(len(compared)) for _ in range(3))
    for pair in scores.pairs:
        i, j = at[pair.first], at[pair.second]
        meaning[i, j] = meaning[j, i] = pair.meaning
        wording[i, j] = wording[j, i] = pair.wording
        coverage[i, j], coverage[j, i] = pair.coverage, pair.coverage_back
    columns = {
        name: np.array([math.nan if (v := getattr(score, name)) is None else v for score in compared], dtype=float)
        for name in ("words", "elapsed_ms", "relevance", "baseline")
    }
    return Answers(tuple(at), meaning=meaning, coverage=coverage, wording=wording, **columns)


def judged(answers: Answers, profile: RobustProfile, standing: Standing) -> Judged:
    n = len(answers.hotkeys)
    copies = np.maximum(standing.sources, ramp(answers.wording, profile.blatant_low, profile.blatant_high))
    np.fill_diagonal(copies, 1.0)
    voters = answers.relevance >= standing.gate
    while True:
        size, weight, heard, agreement = counted(answers, copies, voters, standing.trust, profile)
        silent = voters & (agreement <= 0)
        if not silent.any():
            break
        voters = voters & (np.arange(n) != np.where(silent, agreement, np.inf).argmin())
    independent = voters / size
    speed = 1 + profile.speed * pace(answers.elapsed_ms, independent)
    score = np.where(voters, np.maximum(agreement, 0.0), 0.0) ** profile.power * speed
    share = shared(answers, standing.sources, voters, profile)
    earning = float((independent * (score > 0)).sum())
    typical = float((independent * score).sum()) / earning if earning > 0 else 0.0
    payout = share * score / typical if typical > 0 else np.zeros(n)
    return Judged(voters, copies, heard, weight, agreement, share, score, payout, typical)


def counted(answers: Answers, copies: Array, voters: Array, trust: Array, profile: RobustProfile) -> tuple[Array, ...]:
    part = 1 / np.maximum((same_text(answers, profile) * voters).sum(axis=1), 1.0)
    size = 1 + (copies * (1 - np.eye(len(copies))) * voters * part).sum(axis=1) / part
    independent = voters / size
    restated = ramp(answers.relevance, profile.restated_low, profile.restated_high)
    weight = independent * (np.maximum(answers.relevance, 0.0) ** profile.vote_power * (1 - restated)) * trust
    votes = weight * (1 - copies)
    heard = votes.sum(axis=1)
    longer = np.log1p(answers.words)
    if independent.any():
        longer = longer - median(longer, independent)
    longer = np.clip(longer, -profile.coverage_length_limit, profile.coverage_length_limit)
    coverage = answers.coverage - profile.coverage_length_slope * longer[:, np.newaxis]
    meaning, covered, wording = (
        np.divide((votes * view).sum(axis=1), heard, out=np.zeros_like(heard), where=heard > 0)
        for view in (answers.meaning, coverage, answers.wording)
    )
    view = (
        profile.meaning_weight * meaning
        + profile.coverage_weight * covered
        + profile.wording_weight * wording
        - profile.baseline_weight * (profile.meaning_weight + profile.coverage_weight) * answers.baseline
    ) / profile.view_weight
    voted = heard + profile.prior_votes
    said = heard * view + profile.prior_votes * profile.prior_agreement
    return size, weight, heard, np.divide(said, voted, out=np.zeros_like(voted), where=voted > 0)


def same_text(answers: Answers, profile: RobustProfile) -> Array:
    degree = ramp(answers.wording, profile.identical_low, profile.identical_high)
    np.fill_diagonal(degree, 1.0)
    return degree


def shared(answers: Answers, known: Array, voters: Array, profile: RobustProfile) -> Array:
    evidence = np.minimum(1.0, np.minimum.outer(answers.words, answers.words) / profile.evidence_full_words)
    same = np.maximum(known, ramp(answers.wording, profile.blatant_low, profile.blatant_high) * evidence)
    same = same * (1 - np.eye(len(same))) * voters
    text = same_text(answers, profile)
    own = text * same
    group = 1 + own.sum(axis=1, keepdims=True) - own
    once = np.divide(same, same @ text, out=np.zeros_like(same), where=same > 0)
    return voters / (1 + (own + (1 - text) * same * once * group).sum(axis=1))


def pace(elapsed_ms: Array, weight: Array) -> Array:
    timed = np.isfinite(elapsed_ms)
    heard = timed & (weight > 0)
    if not heard.any():
        return np.zeros_like(elapsed_ms)
    bounded = np.clip(np.nan_to_num(elapsed_ms), 1e-6, 1e12)
    return np.where(timed, np.clip(1 - bounded / median(bounded[heard], weight[heard]), -1.0, 1.0), 0.0)


def median(values: Array, weights: Array) -> float:
    order = np.argsort(values, kind="stable")
    below = np.cumsum(weights[order])
    half, tolerance = below[-1] / 2, below[-1] * 1e-9
    low, high = (values[order][np.searchsorted(below, at)] for at in (half - tolerance, half + tolerance))
    return float((low + high) / 2)


def degree(rounds: Sequence[PairEvidence], profile: RobustProfile) -> float:
    weight, wording = (np.array([getattr(each, name) for each in rounds]) for name in ("evidence", "wording"))
    alike = np.sort(weight * ramp(wording, profile.alike_low, profile.alike_high)).sum()
    evidence = max(np.sort(weight).sum() + profile.pair_prior_rounds, 1e-12)
    rate = (alike + profile.pair_prior_rounds * profile.pair_prior_alike) / evidence
    return float(ramp(np.array(rate), profile.pair_low, profile.pair_high))


def settled(rounds: Sequence[RoundScores], profile: RobustProfile) -> list[tuple[Answers, Standing, Judged]]:
    """Every round, by challenge, with how its identities stand and what it says."""
    rounds = sorted(rounds, key=lambda each: each.challenge_id)
    met: dict[Pair, list[PairEvidence]] = {}
    for pair in (pair for each in rounds for pair in each.pairs):
        met.setdefault((pair.first, pair.second), []).append(pair)
    degrees = {pair: degree(rounds, profile) for pair, rounds in met.items()}
    answers = [answers_of(each) for each in rounds]
    stands = [
        replace(Standing.unknown(len(each.hotkeys), profile), sources=sources(each.hotkeys, degrees))
        for each in answers
    ]
    said = [judged(each, profile, stand) for each, stand in zip(answers, stands, strict=True)]
    for _ in range(int(profile.track_passes)):
        stands = by_record(rounds, answers, stands, said, profile)
        said = [judged(each, profile, stand) for each, stand in zip(answers, stands, strict=True)]
    return list(zip(answers, stands, said, strict=True))


def sources(hotkeys: Sequence[Hotkey], degrees: dict[Pair, float]) -> Array:
    of = [[degrees.get((min(a, b), max(a, b)), 0.0) if a != b else 1.0 for b in hotkeys] for a in hotkeys]
    return np.array(of, dtype=float).reshape(len(hotkeys), len(hotkeys))


def by_record(
    rounds: Sequence[RoundScores],
    answers: Sequence[Answers],
    stands: Sequence[Standing],
    said: Sequence[Judged],
    profile: RobustProfile,
) -> list[Standing]:
    asked = Counter(score.hotkey for each in rounds for score in each.scores)
    own = [
        np.minimum(each.score / each.typical, profile.track_limit) if each.typical > 0 else np.zeros_like(each.score)
        for each in said
    ]
    earned: dict[Hotkey, list[float]] = {}
    for each, values in zip(answers, own, strict=True):
        for hotkey, value in zip(each.hotkeys, values.tolist(), strict=True):
            earned.setdefault(hotkey, []).append(value)
    found = []
    for each, values, stand in zip(answers, own, stands, strict=True):
        others = np.maximum(np.array([math.fsum(earned[h]) for h in each.hotkeys]) - values, 0.0)
        count = np.array([asked[h] for h in each.hotkeys], dtype=float) - 1
        prior = profile.track_prior_rounds
        trust = ((others + prior) / np.maximum(count + prior, 1e-12)) ** profile.track_power
        record = others / np.maximum(count + profile.proven_prior_rounds, 1e-12)
        gate = profile.relevance_gate * (1 - ramp(record, profile.proven_low, profile.proven_high))
        found.append(replace(stand, trust=trust if prior > 0 else np.where(count > 0, trust, 1.0), gate=gate))
    return found
