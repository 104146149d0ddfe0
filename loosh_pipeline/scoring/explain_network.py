"""Explains a payout of the network's existing method by its formula: time share · consensus · membership · best."""

from __future__ import annotations

import math
from dataclasses import replace

from loosh_pipeline.scoring.explanation import Change, EmissionParts, Explanation, Gate, WhatIf
from loosh_pipeline.scoring.network.emission import top_factors
from loosh_pipeline.scoring.network.profile import NetworkProfile
from loosh_pipeline.scoring.result import Measure, RoundScores, Score

TOLERANCE = 1e-6


def explain_network(round_: RoundScores, row: Score, profile: NetworkProfile) -> Explanation:
    """The explanation of one row of a round scored under the `network` profile.

    Times of arrival are not in the rows: the share that an answer's time left it is what the other factors leave of
    its emission. Raises ValueError when those shares do not sum to one less than the replies, as they must.
    """
    measures = [each.measure for each in round_.scores if each.measure and each.measure.quality is not None]
    mine = Explanation(
        challenge_id=round_.challenge_id,
        hotkey=row.hotkey,
        profile=round_.profile,
        row=row,
        round_measure=round_.measure,
        settled=None,
        payout=row.payout,
        rank=1 + sum(each.payout > row.payout for each in round_.scores),
        asked=len(round_.scores),
        gates=_gates(row),
        reason=row.reason,
        score=row.score,
        share=row.share,
        what_ifs=_earned_by_others(round_) if row.reason else (),
    )
    if row.measure is None or row.measure.quality is None or round_.measure is None:
        return mine
    parts = _parts(round_, measures, profile)
    emission = parts[next(k for k, each in enumerate(measures) if each is row.measure)] if parts else None
    changed = _what_ifs(row.measure, emission, len(measures), profile) if emission else ()
    return replace(mine, emission=emission, what_ifs=changed)


def _gates(row: Score) -> tuple[Gate, ...]:
    if row.measure is None:
        return ()
    measured = row.measure
    return (Gate("quality", measured.quality, measured.quality_threshold, measured.quality_margin, pays=False),)


def _parts(round_: RoundScores, measures: list[Measure], profile: NetworkProfile) -> list[EmissionParts]:
    """The factors of every measured reply, in their order; none when the round paid nobody."""
    consensus = round_.measure.consensus_score if round_.measure else 0.0
    if consensus <= 0:
        return []
    inside = [each.in_consensus for each in measures]
    best = top_factors([each.composite for each in measures], inside, profile)
    parts = []
    for each, factor in zip(measures, best, strict=True):
        bonus = profile.consensus_bonus if each.in_consensus else 1.0
        share = each.emission / (consensus * bonus * factor)
        parts.append(EmissionParts(float(share), consensus, bonus, float(factor)))
    total = math.fsum(each.time_share for each in parts)
    if abs(total - (len(parts) - 1)) > TOLERANCE * len(parts):
        raise ValueError(
            f"challenge {round_.challenge_id}: the time shares of {len(parts)} replies sum to {total}, not to "
            f"{len(parts) - 1}; give the network profile that the round was scored under"
        )
    return parts


def _what_ifs(measured: Measure, parts: EmissionParts, replies: int, profile: NetworkProfile) -> tuple[WhatIf, ...]:
    found = []
    if not measured.in_consensus:
        found.append(WhatIf(Change.IN_CONSENSUS, measured.emission * profile.consensus_bonus))
    average = 1 - 1 / replies
    if abs(parts.time_share - average) > TOLERANCE:
        paid = average * parts.consensus_score * parts.consensus_factor * parts.top_factor
        found.append(WhatIf(Change.AVERAGE_TIME, paid, average))
    return tuple(found)


def _earned_by_others(round_: RoundScores) -> tuple[WhatIf, ...]:
    scored = [each.payout for each in round_.scores if each.scored]
    return (WhatIf(Change.ANSWERED, math.fsum(scored) / len(scored)),) if scored else ()
