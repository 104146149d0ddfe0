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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from loosh_pipeline.domain import ChallengeId, Hotkey
from loosh_pipeline.scoring.columns import Group, WindowColumns, columns_of, groups_of
from loosh_pipeline.scoring.pairs import Histories, Pair, PairHistory, histories_of
from loosh_pipeline.scoring.profile import RobustProfile
from loosh_pipeline.scoring.result import RoundScores
from loosh_pipeline.scoring.signals import Floats, Ints
from loosh_pipeline.scoring.votes import Standing, judge_rounds, ramp


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
    columns = columns_of(rounds)
    return _settlement(columns, settle_columns(columns, profile))


def _check(rounds: Sequence[RoundScores], profile: RobustProfile) -> None:
    for each, following in pairwise(rounds):
        if each.challenge_id == following.challenge_id:
            raise ValueError(f"challenge {each.challenge_id} is twice in the window; give one version of each round")
    if foreign := [each.challenge_id for each in rounds if each.profile != profile.name]:
        raise ValueError(f"challenges {', '.join(foreign[:5])} were not scored under profile {profile.name!r}")


@dataclass(frozen=True, eq=False)
class SettledColumns:
    """A window settled: the c answers that were compared, by challenge and hotkey, (c,), fields as in `SettledScore`.

    `rows`: their rows in the window's columns. Of s answers taken for one source with others, `source_of` (s,) is the
    place among the c, `source` (s,) who the other is, by hotkey; sorted.
    """

    rows: Ints
    relevance_gate: Floats
    trust: Floats
    votes: Floats
    vote_weight: Floats
    agreement: Floats
    share: Floats
    score: Floats
    payout: Floats
    source_of: Ints
    source: Ints
    histories: Histories


def settle_columns(columns: WindowColumns, profile: RobustProfile) -> SettledColumns:
    """`settle` from the rows of a window. Raises ValueError for rows that are no rounds, as `groups_of` says."""
    histories = histories_of(columns.pairs, columns.hotkeys, profile)
    judged = [_Judged(group, columns, histories, profile) for group in groups_of(columns)]
    for _ in range(int(profile.track_passes)):
        _judge_by_record(judged, columns, profile)
    return _joined(judged, columns, histories)


class _Judged:
    """Rounds of one size with how their identities stand and the verdicts that this leads to."""

    def __init__(self, group: Group, columns: WindowColumns, histories: Histories, profile: RobustProfile) -> None:
        self.group, self._profile = group, profile
        self.miners = columns.miner[group.rows]
        self._batch = group.batch(columns)
        gate = np.full(self.miners.shape, profile.relevance_gate)
        self.judge(Standing(_sources(self.miners, histories), np.ones(self.miners.shape), gate))

    def judge(self, standing: Standing) -> None:
        self.standing = standing
        self.verdicts = judge_rounds(self._batch, self._profile, standing)

    def relative(self) -> Floats:
        """(R, n) the scores in units of the round's typical one, up to the limit."""
        typical = self.verdicts.typical[:, np.newaxis]
        score = self.verdicts.score
        earned = np.broadcast_to(typical > 0, score.shape)
        relative: Floats = np.divide(score, typical, out=np.zeros_like(score), where=earned)
        return np.minimum(relative, self._profile.track_limit)


def _sources(miners: Ints, histories: Histories) -> Floats:
    """(R, n, n) degrees to which two of a round are one source, ones on the diagonals."""
    count, n = miners.shape
    sources = np.broadcast_to(np.eye(n), (count, n, n)).copy()
    i, j = np.triu_indices(n, 1)
    sources[:, i, j] = sources[:, j, i] = histories.degrees(miners[:, i], miners[:, j])
    return sources


def _judge_by_record(judged: Sequence[_Judged], columns: WindowColumns, profile: RobustProfile) -> None:
    """Judge again with trust and gate by track record: what the scores of an identity's other rounds come to.

    A score is in units of the round's typical one and not shared with copies: who is copied loses pay, not its word.
    A round that was asked of the identity and brought no comparable answer counts as 0.
    """
    own = [each.relative() for each in judged]
    miners, values = (np.concatenate([part.ravel() for part in parts]) for parts in ([j.miners for j in judged], own))
    total = _totals(miners, values, len(columns.hotkeys))
    asked = np.bincount(columns.miner, minlength=len(columns.hotkeys))
    for each, values in zip(judged, own, strict=True):
        others = np.maximum(total[each.miners] - values, 0.0)
        rounds_asked = asked[each.miners].astype(float) - 1
        trust, gate = _trust(others, rounds_asked, profile), _gate(others, rounds_asked, profile)
        each.judge(replace(each.standing, trust=trust, gate=gate))


def _totals(miners: Ints, values: Floats, count: int) -> Floats:
    """(count,) the exact sum of each miner's values, whatever their order."""
    order = np.argsort(miners, kind="stable")
    ends = np.cumsum(np.bincount(miners, minlength=count))
    return np.array([math.fsum(part) for part in np.split(values[order], ends[:-1])])


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


_FIGURES = ("relevance_gate", "trust", "votes", "vote_weight", "agreement", "share", "score", "payout")


def _figures(each: _Judged) -> tuple[Floats, ...]:
    """(R, n) each, by the names of `_FIGURES`."""
    standing, verdicts = each.standing, each.verdicts
    vote = verdicts.vote
    stands = (standing.gate, standing.trust)
    return (*stands, vote.heard, vote.weight, vote.agreement, verdicts.share, verdicts.score, verdicts.payout)


def _joined(judged: Sequence[_Judged], columns: WindowColumns, histories: Histories) -> SettledColumns:
    """What was judged by the size of rounds, by challenge and hotkey."""
    rows = np.concatenate([each.group.rows.ravel() for each in judged])
    order = np.lexsort((columns.miner[rows], columns.round[rows]))
    figures = zip(*(_figures(each) for each in judged), strict=True)
    joined = [np.concatenate([part.ravel() for part in parts])[order] for parts in figures]
    place = np.zeros(len(columns.miner), dtype=np.int64)
    place[rows[order]] = np.arange(len(rows))
    of, source = (np.concatenate(parts) for parts in zip(*(_one_source(each) for each in judged), strict=True))
    by_answer = np.lexsort((source, place[of]))
    return SettledColumns(
        rows=rows[order],
        **dict(zip(_FIGURES, joined, strict=True)),
        source_of=place[of][by_answer],
        source=source[by_answer],
        histories=histories,
    )


def _one_source(each: _Judged) -> tuple[Ints, Ints]:
    """The rows of answers that are one source with another of their round, and the miners of the others."""
    n = each.miners.shape[1]
    k, i, j = np.nonzero((each.verdicts.copies >= 0.5) & ~np.eye(n, dtype=bool))
    return each.group.rows[k, i], each.miners[k, j]


def _settlement(columns: WindowColumns, settled: SettledColumns) -> Settlement:
    """The same as objects."""
    sources: dict[int, list[Hotkey]] = {}
    for place, miner in zip(settled.source_of.tolist(), settled.source.tolist(), strict=True):
        sources.setdefault(place, []).append(columns.hotkeys[miner])
    figures = zip(*(getattr(settled, name).tolist() for name in _FIGURES), strict=True)
    whose = zip(columns.round[settled.rows].tolist(), columns.miner[settled.rows].tolist(), strict=True)
    scores = tuple(
        SettledScore(
            challenge_id=columns.challenges[round_],
            hotkey=columns.hotkeys[miner],
            sources=tuple(sources.get(place, ())),
            **dict(zip(_FIGURES, values, strict=True)),
        )
        for place, ((round_, miner), values) in enumerate(zip(whose, figures, strict=True))
    )
    return Settlement(scores, settled.histories.by_pair())
