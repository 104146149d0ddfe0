"""From signals to payouts: who has a vote, what the peers say of an answer, what that earns.

The same function judges a round alone and within its window. Alone, only blatant copies of the round are known to be
of one source and every voter counts alike; within a window, pair history adds sources and track records weigh votes.
Rounds of one size are judged together, each along its own axes: a round gives the same bytes alone and among others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import numpy as np

from loosh_pipeline.scoring.profile import RobustProfile
from loosh_pipeline.scoring.signals import Batch, Flags, Floats, Ints, Signals

AT_ONCE = 2**15
"""Pairs judged at once: as many as stay in a processor's cache."""


@dataclass(frozen=True, eq=False)
class Vote:
    """One count of the votes of n answers, all (n,); of R rounds, (R, n).

    `voters`: who has a vote. `group_size`: among how many copies it stands. `weight`: of its own vote. `heard`: sum of
    the votes of independent peers. `meaning`, `coverage`, `wording`: their mean view of it; `agreement` sums it up.
    """

    voters: Flags
    group_size: Floats
    weight: Floats
    heard: Floats
    meaning: Floats
    coverage: Floats
    wording: Floats
    agreement: Floats

    def one(self, k: int) -> Self:
        """That of the k-th round."""
        return type(self)(*(getattr(self, each.name)[k] for each in fields(self)))


@dataclass(frozen=True, eq=False)
class Verdict:
    """What a round says of n answers: (n,) but `copies` (n, n) and `typical`, the score that earns 1.

    `passed` the gate; who then agreed with nobody is not among the voters of `vote`.
    """

    passed: Flags
    copies: Floats
    vote: Vote
    share: Floats
    speed_factor: Floats
    score: Floats
    payout: Floats
    typical: float


@dataclass(frozen=True, eq=False)
class Verdicts:
    """What R rounds say of n answers each: the fields of `Verdict` with an axis of rounds before."""

    passed: Flags
    copies: Floats
    vote: Vote
    share: Floats
    speed_factor: Floats
    score: Floats
    payout: Floats
    typical: Floats

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Those on the rounds of all parts, in their order."""
        if len(parts) == 1:
            return parts[0]
        vote = Vote(*(np.concatenate([getattr(each.vote, name.name) for each in parts]) for name in fields(Vote)))
        names = [each.name for each in fields(cls) if each.name != "vote"]
        return cls(vote=vote, **{name: np.concatenate([getattr(each, name) for each in parts]) for name in names})

    @classmethod
    def of_one(cls, verdict: Verdict) -> Self:
        """Those on a single round."""
        vote = Vote(*(getattr(verdict.vote, each.name)[np.newaxis] for each in fields(Vote)))
        names = [each.name for each in fields(cls) if each.name not in ("vote", "typical")]
        arrays = {name: getattr(verdict, name)[np.newaxis] for name in names}
        return cls(vote=vote, typical=np.array([verdict.typical]), **arrays)

    def one(self, k: int) -> Verdict:
        """The verdict on the k-th round."""
        return Verdict(
            passed=self.passed[k],
            copies=self.copies[k],
            vote=self.vote.one(k),
            share=self.share[k],
            speed_factor=self.speed_factor[k],
            score=self.score[k],
            payout=self.payout[k],
            typical=float(self.typical[k]),
        )


def ramp(values: Floats, low: float, high: float) -> Floats:
    """0 up to `low`, 1 from `high` on, linear between."""
    degree: Floats = np.clip((values - low) / (high - low), 0.0, 1.0)
    return degree


@dataclass(frozen=True, eq=False)
class Standing:
    """What the other rounds of a window say of n answers' identities; of R rounds, with an axis of rounds before.

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

    def part(self, rounds: slice | Ints | None) -> Self:
        """Those rounds alone; None adds the axis of rounds to one round."""
        return type(self)(self.sources[rounds], self.trust[rounds], self.gate[rounds])


def judge(signals: Signals, profile: RobustProfile, standing: Standing | None = None) -> Verdict:
    """The verdict on a round, by itself unless it is given how its identities stand."""
    stands = Standing.unknown(len(signals), profile) if standing is None else standing
    return judge_rounds(Batch.of_one(signals), profile, stands.part(None)).one(0)


def judge_rounds(batch: Batch, profile: RobustProfile, standing: Standing) -> Verdicts:
    """The verdicts on rounds of one size, each the same as if it were judged alone."""
    step = max(1, AT_ONCE // max(1, batch.relevance.shape[1] ** 2))
    parts = (slice(start, start + step) for start in range(0, max(1, len(batch)), step))
    return Verdicts.joined([_judge(batch.part(each), profile, standing.part(each)) for each in parts])


def _judge(batch: Batch, profile: RobustProfile, standing: Standing) -> Verdicts:
    known = standing.sources
    copies = np.maximum(known, ramp(batch.wording, profile.blatant_low, profile.blatant_high))
    _mark_self(copies)
    passed = batch.relevance >= standing.gate
    vote = _vote(batch, copies, passed.copy(), standing.trust, profile)
    _silence(vote, batch, copies, standing.trust, profile)
    voters, independent = vote.voters, vote.voters / vote.group_size
    speed_factor = 1 + profile.speed * _pace(batch.elapsed_ms, independent)
    score = np.where(voters, np.maximum(vote.agreement, 0.0), 0.0) ** profile.power * speed_factor
    share = _share(batch, known, voters, profile)
    typical = _typical(score, independent)
    payout = _payout(share, score, typical)
    return Verdicts(passed, copies, vote, share, speed_factor, score, payout, typical)


def _silence(vote: Vote, batch: Batch, copies: Floats, trust: Floats, profile: RobustProfile) -> None:
    """Count again without who agrees with nobody, the farthest off of each round first, until all agree with some.

    Who agrees with nobody has no say in what the others are worth.
    """
    rounds = np.arange(len(batch))
    while (rounds := rounds[_silent(vote, rounds).any(axis=1)]).size:
        farthest = np.where(_silent(vote, rounds), vote.agreement[rounds], np.inf).argmin(axis=1)
        voters = vote.voters[rounds]
        voters[np.arange(len(rounds)), farthest] = False
        again = _vote(batch.part(rounds), copies[rounds], voters, trust[rounds], profile)
        for each in fields(Vote):
            getattr(vote, each.name)[rounds] = getattr(again, each.name)


def _silent(vote: Vote, rounds: Ints) -> Flags:
    silent: Flags = vote.voters[rounds] & (vote.agreement[rounds] <= 0)
    return silent


def _vote(batch: Batch, copies: Floats, voters: Flags, trust: Floats, profile: RobustProfile) -> Vote:
    size = _group_size(_same_text(batch.wording, profile), copies, voters)
    independent = voters / size
    weight = independent * _voice(batch.relevance, profile) * trust
    heard = weight[:, np.newaxis, :] * (1 - copies)
    heard_sum = heard.sum(axis=2)
    meaning, covered, wording = (_said_of(v, heard, heard_sum) for v in _views(batch, independent, profile))
    view = (
        profile.meaning_weight * meaning
        + profile.coverage_weight * covered
        + profile.wording_weight * wording
        - profile.baseline_weight * (profile.meaning_weight + profile.coverage_weight) * batch.baseline
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


def _views(batch: Batch, independent: Floats, profile: RobustProfile) -> tuple[Floats, Floats, Floats]:
    """Meaning, coverage and wording, (R, n, n): row i is what each peer finds of itself in i.

    A longer answer covers more of anything. Coverage is therefore taken at equal length: less its slope over the
    logarithm of the length, from the median answer, as far as one factor of e either way.
    """
    longer = np.log1p(batch.words)
    heard = independent.any(axis=1, keepdims=True)
    longer = np.where(heard, longer - weighted_medians(longer, independent)[:, np.newaxis], longer)
    limit = profile.coverage_length_limit
    at_equal_length = batch.coverage - profile.coverage_length_slope * np.clip(longer, -limit, limit)[..., np.newaxis]
    return batch.meaning, at_equal_length, batch.wording


def _said_of(view: Floats, heard: Floats, votes: Floats) -> Floats:
    mean: Floats = np.divide((heard * view).sum(axis=2), votes, out=np.zeros_like(votes), where=votes > 0)
    return mean


def _same_text(wording: Floats, profile: RobustProfile) -> Floats:
    degree = ramp(wording, profile.identical_low, profile.identical_high)
    _mark_self(degree)
    return degree


def _mark_self(degrees: Floats) -> None:
    """Every answer is itself: ones on the diagonals of (R, n, n)."""
    n = degrees.shape[-1]
    degrees[:, np.arange(n), np.arange(n)] = 1.0


def _group_size(same_text: Floats, copies: Floats, voters: Flags) -> Floats:
    """(R, n) how many answers of its source each one stands among, itself included.

    With T the degree of being the same text and t_j = 1 / sum_l T_jl over the voters, it is
    sum_j copies_ij · t_j / t_i: n for n copies of one source, exact or not, and for an honest answer partly like them
    the same whether an exact copy is there once or n times. A plain sum of degrees would charge it for every copy.
    """
    heard = voters[:, np.newaxis, :]
    part = 1 / np.maximum((same_text * heard).sum(axis=2), 1.0)
    others = copies * (1 - np.eye(copies.shape[-1]))
    size: Floats = 1 + (others * heard * part[:, np.newaxis, :]).sum(axis=2) / part
    return size


def payouts_apart(batch: Batch, profile: RobustProfile, standing: Standing, verdicts: Verdicts, apart: Flags) -> Floats:
    """(R, n) what would be paid if the pairs of `apart` (R, n, n) shared no pay; votes, and so scores, as they were.

    How an answer would have to read to be no copy is not known, but not what sharing costs. So what one of a pair says
    of the other stays unheard: two like answers would praise each other more than any others do.
    """
    share = _share(batch, standing.sources, verdicts.vote.voters, profile, apart)
    return _payout(share, verdicts.score, verdicts.typical)


def _payout(share: Floats, score: Floats, typical: Floats) -> Floats:
    earned = np.broadcast_to(typical[:, np.newaxis] > 0, score.shape)
    payout: Floats = np.divide(share * score, typical[:, np.newaxis], out=np.zeros_like(score), where=earned)
    return payout


def _share(batch: Batch, known: Floats, voters: Flags, profile: RobustProfile, apart: Flags | None = None) -> Floats:
    """(R, n) part of one pay: one source is paid once. A short text alone proves no copying, so it shares less.

    With S the degree of being one source, T of being one text, and g_i = 1 + sum_j T_ij · S_ij, the size of its group
    of one text, an answer shares with sum_j S_ij · (T_ij + (1 - T_ij) · g_i · S_ij / sum_l S_il · T_lj) others: all of
    its own text, and of another text, as every answer of its own shares with it, once however often that is there.
    `apart` (R, n, n): pairs that share nothing whatever they are.
    """
    evidence = evidence_of(batch.words, profile)
    same = np.maximum(known, ramp(batch.wording, profile.blatant_low, profile.blatant_high) * evidence)
    same = same * (1 - np.eye(same.shape[-1])) * voters[:, np.newaxis, :]
    if apart is not None:
        same = np.where(apart, 0.0, same)
    text = _same_text(batch.wording, profile)
    own = text * same
    group = 1 + own.sum(axis=2, keepdims=True) - own
    once = np.divide(same, same @ text, out=np.zeros_like(same), where=same > 0)
    share: Floats = voters / (1 + (own + (1 - text) * same * once * group).sum(axis=2))
    return share


def evidence_of(words: Floats, profile: RobustProfile) -> Floats:
    """(…, n, n) in [0, 1]: how much the likeness of two answers says, by the words of the shorter one; words (…, n)."""
    shorter = np.minimum(words[..., :, np.newaxis], words[..., np.newaxis, :])
    evidence: Floats = np.minimum(1.0, shorter / profile.evidence_full_words)
    return evidence


def _typical(score: Floats, independent: Floats) -> Floats:
    """(R,) the score of an average independent answer that earns anything; copies count once. 0 when nobody earns."""
    earning = (independent * (score > 0)).sum(axis=1)
    total = (independent * score).sum(axis=1)
    typical: Floats = np.divide(total, earning, out=np.zeros_like(total), where=earning > 0)
    return typical


def _pace(elapsed_ms: Floats, weight: Floats) -> Floats:
    """(R, n) in [-1, 1]: how much faster than the weighted median; 0 where the time is unknown."""
    timed = np.isfinite(elapsed_ms)
    heard = np.where(timed, weight, 0.0)
    # from a nanosecond to thirty years: no ratio of such times can overflow
    bounded = np.clip(np.nan_to_num(elapsed_ms), 1e-6, 1e12)
    median = weighted_medians(bounded, heard)[:, np.newaxis]
    known = timed & heard.any(axis=1, keepdims=True)
    pace: Floats = np.where(known, np.clip(1 - bounded / median, -1.0, 1.0), 0.0)
    return pace


def weighted_medians(values: Floats, weights: Floats) -> Floats:
    """(R,) of each row of (R, n) the value with half of the weight on either side; the mean of two when it lies
    between them. Of a row without any weight it is some value of it; without values, 0.
    """
    if not values.shape[1]:
        return np.zeros(len(values))
    order = np.argsort(values, axis=1, kind="stable")
    ordered = np.take_along_axis(values, order, axis=1)
    below = np.cumsum(np.take_along_axis(weights, order, axis=1), axis=1)
    half, tolerance = below[:, -1:] / 2, below[:, -1:] * 1e-9
    low, high = (
        np.take_along_axis(ordered, (below < at).sum(axis=1, keepdims=True), axis=1)
        for at in (half - tolerance, half + tolerance)
    )
    median: Floats = ((low + high) / 2)[:, 0]
    return median


def weighted_median(values: Floats, weights: Floats) -> float:
    """That of one row."""
    return float(weighted_medians(values[np.newaxis], weights[np.newaxis])[0])
