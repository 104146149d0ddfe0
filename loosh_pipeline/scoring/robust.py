"""The robust scorer: an answer is paid for agreeing with independent, relevant peers.

    gate       an answer to something else gets no pay and no vote
    agreement  (meaning + coverage + wording) / 3, minus what the answer shares with answers to other challenges
    votes      near-copies share one vote, never vote for each other; a vote weighs its relevance squared
    pay        agreement ** power, scaled so that an average independent answer earns 1
    sharing    blatant copies of one round split one pay

A meaning threshold cannot tell copies from honest agreement; likeness of wording can, so copies are told by it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loosh_pipeline.domain import Hotkey
from loosh_pipeline.scoring.admission import OFF_TOPIC, Answers, admit
from loosh_pipeline.scoring.context import ScoringContext
from loosh_pipeline.scoring.coverage import coverage
from loosh_pipeline.scoring.profile import RobustProfile, scorer_version
from loosh_pipeline.scoring.result import RoundScores, Score
from loosh_pipeline.scoring.round import Round, RoundResponse
from loosh_pipeline.scoring.vectors import unit_vector
from loosh_pipeline.scoring.wording import word_weight, wording_similarity

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Signals:
    """What is measured of n answers before anyone votes: (n,) vectors and (n, n) matrices."""

    relevance: Floats
    baseline: Floats
    similarity: Floats
    meaning: Floats
    coverage: Floats
    wording: Floats


@dataclass(frozen=True, eq=False)
class _Votes:
    """Who has a vote, how much it weighs, and what the peers of each answer say of it. All (n,) but `copies`."""

    passed: NDArray[np.bool_]
    copies: Floats
    group_size: Floats
    weight: Floats
    total: Floats
    meaning: Floats
    coverage: Floats
    wording: Floats
    agreement: Floats


@dataclass(frozen=True, eq=False)
class _Pay:
    """Shares, scores and payouts, each (n,); `typical` is the score that earns 1."""

    share: Floats
    speed_factor: Floats
    score: Floats
    payout: Floats
    typical: float


def score_round(round_: Round, context: ScoringContext, profile: RobustProfile) -> RoundScores:
    """One score per response asked, in the order given; pure, and bit for bit the same in any order of replies.

    Raises ValueError when the context's background has another width than the round's vectors.
    """
    answers, reasons = admit(round_)
    signals = _measure(answers, round_, context, profile)
    votes = _vote(signals, profile)
    pay = _pay(answers, signals, votes, profile)
    reasons |= {h: OFF_TOPIC for h, ok in zip(answers.hotkeys, votes.passed, strict=True) if not ok}
    at = {hotkey: i for i, hotkey in enumerate(answers.hotkeys)}
    rows = (
        _compared(r, at[r.hotkey], reasons.get(r.hotkey, ""), answers, signals, votes, pay, profile)
        if r.hotkey in at
        else _unscored(r, reasons[r.hotkey], profile)
        for r in round_.responses
    )
    return RoundScores(
        challenge_id=round_.challenge_id,
        scorer_version=scorer_version(profile),
        context_digest=context.digest,
        scores=tuple(rows),
        similarity=signals.similarity,
        similarity_hotkeys=answers.hotkeys,
        consensus_score=_consensus(signals.similarity, votes.weight),
        typical_score=pay.typical,
    )


def ramp(values: Floats, low: float, high: float) -> Floats:
    """0 up to `low`, 1 from `high` on, linear between."""
    degree: Floats = np.clip((values - low) / (high - low), 0.0, 1.0)
    return degree


def _measure(answers: Answers, round_: Round, context: ScoringContext, profile: RobustProfile) -> _Signals:
    question = unit_vector(round_.prompt_vector)
    relevance = np.clip(answers.vectors @ question, -1.0, 1.0)
    added = answers.vectors - np.outer(relevance, question)
    elsewhere = _background(context, profile, question)
    return _Signals(
        relevance=relevance,
        baseline=added @ (elsewhere - (elsewhere @ question) * question),
        similarity=np.clip(answers.vectors @ answers.vectors.T, -1.0, 1.0),
        meaning=added @ added.T,
        coverage=coverage(answers.sentences),
        wording=wording_similarity(answers.words, word_weight(context, profile)),
    )


def _background(context: ScoringContext, profile: RobustProfile, question: Floats) -> Floats:
    background = context.background
    if background is None or context.rounds < profile.context_rounds:
        return np.zeros_like(question)
    if background.shape != question.shape:
        raise ValueError(
            f"the context's background has shape {background.shape}, the round's vectors {question.shape}; "
            "rebuild the context with the embedding model of the round"
        )
    return background


def _vote(signals: _Signals, profile: RobustProfile) -> _Votes:
    passed = signals.relevance >= profile.relevance_gate
    copies = ramp(signals.wording, profile.copy_low, profile.copy_high)
    np.fill_diagonal(copies, 1.0)
    group_size = _group_size(signals.wording, copies, passed, profile)
    # Relevance alone would give a reply that repeats the question the heaviest vote of all, for nothing it said.
    restated = ramp(signals.relevance, profile.restated_low, profile.restated_high)
    voice = np.maximum(signals.relevance, 0.0) ** profile.vote_power * (1 - restated)
    weight = passed * voice / group_size
    heard = weight * (1 - copies)
    total = heard.sum(axis=1)

    def said_of(view: Floats) -> Floats:
        mean: Floats = np.divide((heard * view).sum(axis=1), total, out=np.zeros_like(total), where=total > 0)
        return mean

    meaning, covered, wording = said_of(signals.meaning), said_of(signals.coverage), said_of(signals.wording)
    views = (
        profile.meaning_weight * meaning
        + profile.coverage_weight * covered
        + profile.wording_weight * wording
        - profile.baseline_weight * (profile.meaning_weight + profile.coverage_weight) * signals.baseline
    ) / profile.view_weight
    prior = profile.prior_votes
    voted = total + prior
    agreement = np.divide(
        total * views + prior * profile.prior_agreement, voted, out=np.zeros_like(voted), where=voted > 0
    )
    return _Votes(passed, copies, group_size, weight, total, meaning, covered, wording, agreement)


def _group_size(wording: Floats, copies: Floats, passed: NDArray[np.bool_], profile: RobustProfile) -> Floats:
    """(n,) how many answers each one effectively is, itself included.

    With T the blatant degree (ones on the diagonal) and t_j = 1 / sum_l T_jl over answers that passed, it is
    sum_j copies_ij · t_j / t_i: n for n exact copies, and for an honest answer partly like them the same whether they
    are one or n. A plain sum of copy degrees would charge that bystander for every copy.
    """
    twins = ramp(wording, profile.blatant_low, profile.blatant_high)
    np.fill_diagonal(twins, 1.0)
    part = 1 / np.maximum((twins * passed).sum(axis=1), 1.0)
    others = copies * (1 - np.eye(len(copies)))
    size: Floats = 1 + (others * passed * part).sum(axis=1) / part
    return size


def _pay(answers: Answers, signals: _Signals, votes: _Votes, profile: RobustProfile) -> _Pay:
    # Counted as votes are, copies once: in the median time, and in the typical score even where one round is too
    # little to make copies share pay. So copying moves nobody else's payout.
    independent = votes.passed / votes.group_size
    speed_factor = 1 + profile.speed * _pace(answers.elapsed_ms, independent)
    score = np.where(votes.passed, np.maximum(votes.agreement, 0.0), 0.0) ** profile.power * speed_factor
    sizes = np.array([len(bag) for bag in answers.words], dtype=float)
    evidence = np.minimum(1.0, np.minimum.outer(sizes, sizes) / profile.blatant_full_words)
    same_source = ramp(signals.wording, profile.blatant_low, profile.blatant_high) * evidence
    np.fill_diagonal(same_source, 1.0)
    share = votes.passed / np.maximum((same_source * votes.passed).sum(axis=1), 1.0)
    earning = float((independent * (score > 0)).sum())
    typical = float((independent * score).sum()) / earning if earning > 0 else 0.0
    payout = share * score / typical if typical > 0 else np.zeros_like(score)
    return _Pay(share, speed_factor, score, payout, typical)


def _pace(elapsed_ms: Floats, weight: Floats) -> Floats:
    """(n,) in [-1, 1]: how much faster than the weighted median; 0 where the time is unknown."""
    timed = np.isfinite(elapsed_ms)
    heard = timed & (weight > 0)
    if not heard.any():
        return np.zeros_like(elapsed_ms)
    # from a nanosecond to thirty years: no ratio of such times can overflow
    bounded = np.clip(np.nan_to_num(elapsed_ms), 1e-6, 1e12)
    median = weighted_median(bounded[heard], weight[heard])
    pace: Floats = np.where(timed, np.clip(1 - bounded / median, -1.0, 1.0), 0.0)
    return pace


def weighted_median(values: Floats, weights: Floats) -> float:
    """The value with half of the weight on either side; the mean of two when it lies between them."""
    order = np.argsort(values, kind="stable")
    below = np.cumsum(weights[order])
    half, tolerance = below[-1] / 2, below[-1] * 1e-9
    low = values[order][np.searchsorted(below, half - tolerance)]
    high = values[order][np.searchsorted(below, half + tolerance)]
    return float((low + high) / 2)


def _consensus(similarity: Floats, weight: Floats) -> float | None:
    pairs = np.triu(np.outer(weight, weight), k=1)
    total = float(pairs.sum())
    return float((pairs * similarity).sum()) / total if total > 0 else None


def _compared(
    response: RoundResponse,
    i: int,
    reason: str,
    answers: Answers,
    signals: _Signals,
    votes: _Votes,
    pay: _Pay,
    profile: RobustProfile,
) -> Score:
    relevance, heard = float(signals.relevance[i]), votes.total[i] > 0
    return Score(
        hotkey=response.hotkey,
        outcome=response.outcome,
        scored=not reason,
        reason=reason,
        words=len(answers.words[i]),
        elapsed_ms=response.elapsed_ms,
        relevance=relevance,
        relevance_gate=profile.relevance_gate,
        relevance_margin=relevance - profile.relevance_gate,
        meaning=float(votes.meaning[i]) if heard else None,
        coverage=float(votes.coverage[i]) if heard else None,
        wording=float(votes.wording[i]) if heard else None,
        baseline=float(signals.baseline[i]),
        agreement=float(votes.agreement[i]),
        votes=float(votes.total[i]),
        vote_weight=float(votes.weight[i]),
        copy_group_size=float(votes.group_size[i]),
        copies=_copies_of(i, answers.hotkeys, votes.copies),
        share=float(pay.share[i]),
        speed_factor=float(pay.speed_factor[i]),
        score=float(pay.score[i]),
        payout=float(pay.payout[i]),
    )


def _copies_of(i: int, hotkeys: tuple[Hotkey, ...], copies: Floats) -> tuple[Hotkey, ...]:
    return tuple(hotkey for j, hotkey in enumerate(hotkeys) if j != i and copies[i, j] >= 0.5)


def _unscored(response: RoundResponse, reason: str, profile: RobustProfile) -> Score:
    return Score(
        hotkey=response.hotkey,
        outcome=response.outcome,
        scored=False,
        reason=reason,
        words=0,
        elapsed_ms=response.elapsed_ms,
        relevance=None,
        relevance_gate=profile.relevance_gate,
        relevance_margin=None,
        meaning=None,
        coverage=None,
        wording=None,
        baseline=None,
        agreement=None,
        votes=0.0,
        vote_weight=0.0,
        copy_group_size=None,
        copies=(),
        share=0.0,
        speed_factor=1.0,
        score=0.0,
        payout=0.0,
    )
