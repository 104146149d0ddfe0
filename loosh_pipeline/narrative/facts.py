"""The figures of a round that a narrative is made of, rounded as they are told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from loosh_pipeline.domain import Challenge, Hotkey, Outcome, Response
from loosh_pipeline.errors import LooshError
from loosh_pipeline.scoring.result import RoundMeasure, RoundScores, Score


@dataclass(frozen=True, slots=True)
class MinerFacts:
    """The figures of one miner asked, rounded as they are told; None where not measured."""

    uid: int
    payout: float
    reason: str
    relevance: float | None
    meaning: float | None
    coverage: float | None
    wording: float | None
    share: float


@dataclass(frozen=True, slots=True)
class RoundFacts:
    """The figures a narrative is made of. `copies`: groups of uids whose answers are copies of one another.

    `consensus`: what the network's method found; `removed`: uids that it left out, and its reason.
    """

    asked: int
    answered: int
    paid: int
    consensus: RoundMeasure | None
    profile: str
    removed: tuple[tuple[int, str], ...]
    relevance_gate: float | None
    best: MinerFacts | None
    copies: tuple[tuple[int, ...], ...]
    unpaid: tuple[MinerFacts, ...]


def facts_of(challenge: Challenge, scores: RoundScores, responses: Sequence[Response]) -> RoundFacts:
    """The figures of a round. Raises LooshError when a scored hotkey is not among the responses."""
    uids = {response.hotkey: int(response.uid) for response in responses}
    if missing := [score.hotkey for score in scores.scores if score.hotkey not in uids]:
        raise LooshError(
            f"challenge {challenge.id}: scores of {', '.join(missing)} have no response; score the round again"
        )
    paid = [score for score in scores.scores if score.payout > 0]
    best = max(paid, key=lambda score: (score.payout, score.hotkey), default=None)
    return RoundFacts(
        asked=len(scores.scores),
        answered=sum(score.outcome is Outcome.ANSWERED for score in scores.scores),
        paid=len(paid),
        consensus=scores.measure and _rounded_measure(scores.measure),
        profile=scores.profile,
        removed=tuple(
            sorted(
                (uids[score.hotkey], score.measure.removed_by)
                for score in scores.scores
                if score.measure and score.measure.removed_by
            )
        ),
        relevance_gate=scores.scores[0].relevance_gate if scores.scores else None,
        best=None if best is None else _facts(best, uids[best.hotkey]),
        copies=tuple(tuple(sorted(uids[h] for h in group)) for group in copy_groups(scores.scores)),
        unpaid=tuple(sorted((_facts(s, uids[s.hotkey]) for s in scores.scores if not s.payout > 0), key=_uid)),
    )


def copy_groups(scores: Sequence[Score]) -> list[frozenset[Hotkey]]:
    """Sets of hotkeys linked by copying, directly or through others; in order of their first hotkey."""
    groups: list[set[Hotkey]] = []
    for score in scores:
        if score.copies:
            linked = {score.hotkey, *score.copies}
            touching = [group for group in groups if group & linked]
            groups = [group for group in groups if not group & linked] + [linked.union(*touching)]
    return sorted(map(frozenset, groups), key=min)


def _uid(miner: MinerFacts) -> int:
    return miner.uid


def _facts(score: Score, uid: int) -> MinerFacts:
    reason = score.reason if not score.scored else "" if score.payout > 0 else "no_agreement"
    return MinerFacts(
        uid=uid,
        payout=round(score.payout, 3),
        reason=reason,
        relevance=_rounded(score.relevance),
        meaning=_rounded(score.meaning),
        coverage=_rounded(score.coverage),
        wording=_rounded(score.wording),
        share=round(score.share, 3),
    )


def _rounded_measure(measure: RoundMeasure) -> RoundMeasure:
    return replace(
        measure,
        consensus_score=round(measure.consensus_score, 3),
        consensus_mean=round(measure.consensus_mean, 3),
        consensus_spread=round(measure.consensus_spread, 3),
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
