"""From payouts to emissions: what each miner earned over the lookback, and whether that may become weights.

Under the robust profile the rounds of the lookback are settled together first. Then emission = sum of payouts / (times
asked + PSEUDO_ROUNDS): every failed ask counts as 0, and the pseudo-rounds at 0 let a newcomer ramp up, so that one
lucky answer earns little and no scored answer earns exactly nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import polars as pl

from loosh_pipeline.domain import ChallengeId, Emission, Hotkey, Mode, Outcome
from loosh_pipeline.payouts import Payouts
from loosh_pipeline.scoring.network.pay import EmissionRow, fresh_averages, moving_averages
from loosh_pipeline.scoring.network.profile import NetworkPay, NetworkProfile
from loosh_pipeline.scoring.profiles import ScoringProfile
from loosh_pipeline.scoring.window import Settlement, settle
from loosh_pipeline.store.score_tables import Window

PSEUDO_ROUNDS = 2
SUM_TOLERANCE = 1e-9
DEFAULT_PAY = NetworkPay()


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


@dataclass(frozen=True, slots=True)
class Payroll:
    """What a profile makes of a window of rounds. Only the robust one settles it; `settlement` says how."""

    emissions: tuple[Emission, ...]
    settlement: Settlement | None


def payroll(window: Window, profile: ScoringProfile, now: datetime) -> Payroll:
    """The emissions of a window under a profile, sorted by hotkey."""
    if isinstance(profile, NetworkProfile):
        return Payroll(network_emissions(window, now), None)
    settlement = settle(window.rounds, profile)
    return Payroll(aggregate(earnings_of(window, settlement.payouts())), settlement)


def emissions_of(payouts: Payouts, profile: ScoringProfile, now: datetime) -> tuple[Emission, ...]:
    """The emissions of what a profile paid in a lookback, sorted by hotkey."""
    earned = [
        Earnings(Hotkey(hotkey), len(paid), sum(answered), sum(p > 0 for p in paid), math.fsum(paid), last)
        for hotkey, paid, answered, last in payouts.paid.group_by("hotkey")
        .agg("payout", "answered", last=pl.col("received_at").filter("answered").max())
        .sort("hotkey")
        .iter_rows()
    ]
    if not isinstance(profile, NetworkProfile):
        return aggregate(earned)
    rows = (
        payouts.paid.filter("measured").group_by("challenge_id").agg(pl.col("received_at").first(), "hotkey", "payout")
    )
    found = [EmissionRow(at, dict(zip(who, paid, strict=True))) for _, at, who, paid in rows.iter_rows()]
    return _network(earned, found, now, DEFAULT_PAY)


def earnings_of(window: Window, payouts: Mapping[ChallengeId, Mapping[Hotkey, float]]) -> list[Earnings]:
    """What every miner asked in a window earned, by the settled payouts; who has none in a round earned 0 there."""
    found: dict[Hotkey, list[tuple[float, datetime | None]]] = {}
    for scored in window.rounds:
        paid, at = payouts.get(scored.challenge_id, {}), window.received_at[scored.challenge_id]
        for score in scored.scores:
            answered_at = at if score.outcome is Outcome.ANSWERED else None
            found.setdefault(score.hotkey, []).append((paid.get(score.hotkey, 0.0), answered_at))
    return [_earnings(hotkey, asked) for hotkey, asked in sorted(found.items())]


def _earnings(hotkey: Hotkey, asked: Sequence[tuple[float, datetime | None]]) -> Earnings:
    answered = [at for _, at in asked if at is not None]
    return Earnings(
        hotkey=hotkey,
        asked=len(asked),
        answered=len(answered),
        paid=sum(payout > 0 for payout, _ in asked),
        payout_sum=math.fsum(payout for payout, _ in asked),
        last_answered_at=max(answered, default=None),
    )


def network_emissions(window: Window, now: datetime, pay: NetworkPay = DEFAULT_PAY) -> tuple[Emission, ...]:
    """Emissions as the network's existing validator makes them: a moving average, 0 for who has not answered lately."""
    paid = {each.challenge_id: {s.hotkey: s.payout for s in each.scores} for each in window.rounds}
    earned = earnings_of(window, paid)
    rows = [
        EmissionRow(window.received_at[each.challenge_id], {s.hotkey: s.payout for s in each.scores if s.measure})
        for each in window.rounds
    ]
    return _network(earned, rows, now, pay)


def _network(
    earned: Sequence[Earnings], rows: Sequence[EmissionRow], now: datetime, pay: NetworkPay
) -> tuple[Emission, ...]:
    averages = moving_averages(rows, now, pay)
    last_success = {each.hotkey: each.last_answered_at for each in earned if each.last_answered_at}
    fresh = fresh_averages(averages, last_success, now, Mode.NORMAL, pay)
    emissions = [replace(_emission(each), emission=fresh.get(each.hotkey, 0.0)) for each in earned]
    return _weighed(emissions)


def aggregate(earnings: Sequence[Earnings]) -> tuple[Emission, ...]:
    """Emissions sorted by hotkey; their weights sum to 1, or are all 0 when nobody earned anything."""
    return _weighed([_emission(each) for each in sorted(earnings, key=lambda each: each.hotkey)])


def _weighed(emissions: Sequence[Emission]) -> tuple[Emission, ...]:
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
