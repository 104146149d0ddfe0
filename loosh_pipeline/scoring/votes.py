"""From signals to payouts: who has a vote, what the peers say of an answer, what that earns.

The same function judges a round alone and within its window. Alone, only blatant copies of the round are known to be
of one source and every voter counts alike; within a window, pair history adds sources and track records weigh votes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from loosh_pipeline.scoring.profile import RobustProfile
from loosh_pipeline.scoring.signals import Floats, Signals


@dataclass(frozen=True, eq=False)
class Vote:
    """One count of the votes of n answers, all (n,).

    `voters`: who has a vote. `group_size`: among how many copies it stands. `weight`: of its own vote. `heard`: sum of
    the votes of independent peers. `meaning`, `coverage`, `wording`: their mean view of it; `agreement` sums it up.
    """

    voters: NDArray[np.bool_]
    group_size: Floats
    weight: Floats
    heard: Floats
    meaning: Floats
    coverage: Floats
    wording: Floats
    agreement: Floats


@dataclass(frozen=True, eq=False)
class Verdict:
    """What a round says of n answers: (n,) but `copies` (n, n) and `typical`, the score that earns 1.

    `passed` the gate; who then agreed with nobody is not among the voters of `vote`.
    """

    passed: NDArray[np.bool_]
    copies: Floats
    vote: Vote
    share: Floats
    speed_factor: Floats
    score: Floats
    payout: Floats
    typical: float


def ramp(values: Floats, low: float, high: float) -> Floats:
    """0 up to `low`, 1 from `high` on, linear between."""
    degree: Floats = np.clip((values - low) / (high - low), 0.0, 1.0)
    return degree


@dataclass(frozen=True, eq=False)
class Standing:
    """What the other rounds of a window say of n answers' identities.

    `sources`: (n, n) degrees in [0, 1] to which two are one source. `trust`: (n,) factors of their votes. `gate`: (n,)
    relevance below which an answer counts as one to something else.
    """

    sources: Floats
    trust: Floats
    gate: Floats

    @classmethod
    def unknown(cls, n: int, profile: RobustProfile) -> Self:
        """That of a round by itself."""
        return cls(np.zeros((n, n)), np.ones(n), np.full(n, profile.relevance_gate))


def judge(signals: Signals, profile: RobustProfile, standing: Standing | None = None) -> Verdict:
    """The verdict on a round, by itself unless it is given how its identities stand."""
    n = len(signals)
    stands = Standing.unknown(n, profile) if standing is None else standing
    known, trusted = stands.sources, stands.trust
    copies = np.maximum(known, ramp(signals.wording, profile.blatant_low, profile.blatant_high))
    np.fill_diagonal(copies, 1.0)
    passed = signals.relevance >= stands.gate
    vote = _vote(signals, copies, passed, trusted, profile)
    while (silent := vote.voters & (vote.agreement <= 0)).any():
        # Who agrees with nobody has no say in what the others are worth; the farthest off goes first.
        farthest = np.where(silent, vote.agreement, np.inf).argmin()
        vote = _vote(signals, copies, vote.voters & (np.arange(n) != farthest), trusted, profile)
    voters, independent = vote.voters, vote.voters / vote.group_size
    speed_factor = 1 + profile.speed * _pace(signals.elapsed_ms, independent)
    score = np.where(voters, np.maximum(vote.agreement, 0.0), 0.0) ** profile.power * speed_factor
    share = _share(signals, known, voters, profile)
    typical = _typical(score, independent)
    payout = share * score / typical if typical > 0 else np.zeros(n)
    return Verdict(passed, copies, vote, share, speed_factor, score, payout, typical)


def _vote(signals: Signals, copies: Floats, voters: NDArray[np.bool_], trust: Floats, profile: RobustProfile) -> Vote:
    size = _group_size(_same_text(signals.wording, profile), copies, voters)
    independent = voters / size
    weight = independent * _voice(signals.relevance, profile) * trust
    heard = weight * (1 - copies)
    heard_sum = heard.sum(axis=1)
    meaning, covered, wording = (_said_of(v, heard, heard_sum) for v in _views(signals, independent, profile))
    view = (
        profile.meaning_weight * meaning
        + profile.coverage_weight * covered
        + profile.wording_weight * wording
        - profile.baseline_weight * (profile.meaning_weight + profile.coverage_weight) * signals.baseline
    ) / profile.view_weight
    prior = profile.prior_votes
    voted = heard_sum + prior
    agreement: Floats = np.divide(
        heard_sum * view + prior * profile.prior_agreement, voted, out=np.zeros_like(voted), where=voted > 0
    )
    return Vote(voters, size, weight, heard_sum, meaning, covered, wording, agreement)


def _voice(relevance: Floats, profile: RobustProfile) -> Floats:
    # Relevance alone would give a reply that repeats the question the heaviest vote of all, for nothing it said.
    restated = ramp(relevance, profile.restated_low, profile.restated_high)
    voice: Floats = np.maximum(relevance, 0.0) ** profile.vote_power * (1 - restated)
    return voice


def _views(signals: Signals, independent: Floats, profile: RobustProfile) -> tuple[Floats, Floats, Floats]:
    """Meaning, coverage and wording, (n, n): row i is what each peer finds of itself in i.

    A longer answer covers more of anything. Coverage is therefore taken at equal length: less its slope over the
    logarithm of the length, from the median answer, as far as one factor of e either way.
    """
    longer = np.log1p(signals.words)
    if independent.any():
        longer = longer - weighted_median(longer, independent)
    limit = profile.coverage_length_limit
    at_equal_length = signals.coverage - profile.coverage_length_slope * np.clip(longer, -limit, limit)[:, np.newaxis]
    return signals.meaning, at_equal_length, signals.wording


def _said_of(view: Floats, heard: Floats, votes: Floats) -> Floats:
    mean: Floats = np.divide((heard * view).sum(axis=1), votes, out=np.zeros_like(votes), where=votes > 0)
    return mean


def _same_text(wording: Floats, profile: RobustProfile) -> Floats:
    degree = ramp(wording, profile.identical_low, profile.identical_high)
    np.fill_diagonal(degree, 1.0)
    return degree


def _group_size(same_text: Floats, copies: Floats, voters: NDArray[np.bool_]) -> Floats:
    """(n,) how many answers of its source each one stands among, itself included.

    With T the degree of being the same text and t_j = 1 / sum_l T_jl over the voters, it is
    sum_j copies_ij · t_j / t_i: n for n copies of one source, exact or not, and for an honest answer partly like them
    the same whether an exact copy is there once or n times. A plain sum of degrees would charge it for every copy.
    """
    part = 1 / np.maximum((same_text * voters).sum(axis=1), 1.0)
    others = copies * (1 - np.eye(len(copies)))
    size: Floats = 1 + (others * voters * part).sum(axis=1) / part
    return size


def _share(signals: Signals, known: Floats, voters: NDArray[np.bool_], profile: RobustProfile) -> Floats:
    """(n,) part of one pay: one source is paid once. A short text alone proves no copying, so it shares less.

    With S the degree of being one source, T of being one text, and g_i = 1 + sum_j T_ij · S_ij, the size of its group
    of one text, an answer shares with sum_j S_ij · (T_ij + (1 - T_ij) · g_i · S_ij / sum_l S_il · T_lj) others: all of
    its own text, and of another text, as every answer of its own shares with it, once however often that is there.
    """
    evidence = evidence_of(signals.words, profile)
    same = np.maximum(known, ramp(signals.wording, profile.blatant_low, profile.blatant_high) * evidence)
    same = same * (1 - np.eye(len(same))) * voters
    text = _same_text(signals.wording, profile)
    own = text * same
    group = 1 + own.sum(axis=1, keepdims=True) - own
    once = np.divide(same, same @ text, out=np.zeros_like(same), where=same > 0)
    share: Floats = voters / (1 + (own + (1 - text) * same * once * group).sum(axis=1))
    return share


def evidence_of(words: Floats, profile: RobustProfile) -> Floats:
    """(n, n) in [0, 1]: how much the likeness of two answers says, by the words of the shorter one."""
    evidence: Floats = np.minimum(1.0, np.minimum.outer(words, words) / profile.evidence_full_words)
    return evidence


def _typical(score: Floats, independent: Floats) -> float:
    """The score of an average independent answer that earns anything; copies count once. 0 when nobody earns."""
    earning = float((independent * (score > 0)).sum())
    return float((independent * score).sum()) / earning if earning > 0 else 0.0


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
