"""From payouts to emissions: what each miner earned over the lookback, and whether that may become weights.

emission = sum of payouts / (times asked + PSEUDO_ROUNDS): every failed ask counts as 0, and the pseudo-rounds at 0
let a newcomer ramp up, so that one lucky answer earns little and no scored answer earns exactly nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from loosh_pipeline.domain import Emission, Hotkey

PSEUDO_ROUNDS = 2
SUM_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class Earnings:
    """What the score tables of the lookback say of one miner."""

    hotkey: Hotkey
    asked: int
    answered: int
    paid: int
    payout_sum: float
    last_answered_at: datetime | None


@dataclass(frozen=True, slots=True)
class Verdict:
    passed: bool
    reason: str


def aggregate(earnings: Sequence[Earnings]) -> tuple[Emission, ...]:
    """Emissions sorted by hotkey; their weights sum to 1, or are all 0 when nobody earned anything."""
    emissions = [_emission(each) for each in sorted(earnings, key=lambda each: each.hotkey)]
    total = math.fsum(each.emission for each in emissions)
    if not total > 0:
        return tuple(emissions)
    return tuple(replace(each, weight=each.emission / total) for each in emissions)


def _emission(each: Earnings) -> Emission:
    return Emission(
        hotkey=each.hotkey,
        asked=each.asked,
        answered=each.answered,
        paid=each.paid,
        mean_payout=each.payout_sum / each.asked if each.asked else 0.0,
        emission=each.payout_sum / (each.asked + PSEUDO_ROUNDS),
        weight=0.0,
        last_answered_at=each.last_answered_at,
    )


def _finite(emissions: Sequence[Emission]) -> Verdict:
    """No emission or weight is infinite or not a number."""
    wrong = [e.hotkey for e in emissions if not (math.isfinite(e.emission) and math.isfinite(e.weight))]
    return Verdict(not wrong, f"not finite: {', '.join(wrong)}" if wrong else "all finite")


def _no_negative(emissions: Sequence[Emission]) -> Verdict:
    """No emission or weight is below zero."""
    wrong = [f"{e.hotkey} {min(e.emission, e.weight)}" for e in emissions if e.emission < 0 or e.weight < 0]
    return Verdict(not wrong, f"negative: {', '.join(wrong)}" if wrong else "none negative")


def _not_all_zero(emissions: Sequence[Emission]) -> Verdict:
    """Somebody earned something; else the chain keeps the weights it has."""
    earning = sum(e.weight > 0 for e in emissions)
    if earning:
        return Verdict(True, f"{earning} of {len(emissions)} miners earn")
    return Verdict(False, f"none of {len(emissions)} miners earned anything in the lookback; weights stay as they are")


def _sums_to_one(emissions: Sequence[Emission]) -> Verdict:
    """The weights are shares of one whole."""
    total = math.fsum(e.weight for e in emissions)
    return Verdict(abs(total - 1.0) <= SUM_TOLERANCE, f"weights sum to {total!r}")


def _evidence(emissions: Sequence[Emission]) -> Verdict:
    """Behind every weight stands at least one paid round."""
    wrong = [e.hotkey for e in emissions if e.weight != 0 and e.paid < 1]
    return Verdict(not wrong, f"weight without a paid round: {', '.join(wrong)}" if wrong else "a round behind each")


CHECKS: Mapping[str, Callable[[Sequence[Emission]], Verdict]] = {
    "finite": _finite,
    "no_negative": _no_negative,
    "not_all_zero": _not_all_zero,
    "sums_to_one": _sums_to_one,
    "evidence_behind_each": _evidence,
}
"""What must hold before money moves; each is a blocking asset check."""
