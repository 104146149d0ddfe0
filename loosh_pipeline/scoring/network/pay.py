"""From emissions to weights: who serves, a moving average, freshness, a penalty for sybils, and shares of the sum."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from loosh_pipeline.domain import Hotkey, Mode
from loosh_pipeline.scoring.network.entities import NO_ADDRESS
from loosh_pipeline.scoring.network.profile import NetworkPay


@dataclass(frozen=True, slots=True)
class Candidate:
    """A neuron of the metagraph that may be a serving miner."""

    hotkey: Hotkey
    ip: str
    port: int
    stake: float


@dataclass(frozen=True, slots=True)
class Serving:
    """Who gets a place in the weights, in the order of the metagraph, and why the others do not."""

    hotkeys: tuple[Hotkey, ...]
    excluded: Mapping[Hotkey, str]
    """Hotkey → own, no_endpoint, validator or stake."""


@dataclass(frozen=True, slots=True)
class EmissionRow:
    """What one evaluation paid. `at` is when it was evaluated, aware."""

    at: datetime
    emissions: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Penalised:
    """Averages after the penalty. `penalised`: sybil score of whom it struck; `spared`: whom the safety valve left."""

    averages: Mapping[Hotkey, float]
    penalised: Mapping[Hotkey, float]
    spared: tuple[Hotkey, ...]


def mode_for(blocks_since_update: int, cutoff_blocks: int, pay: NetworkPay) -> Mode:
    """The mode after so many blocks without new weights, of those after which the chain drops the validator."""
    if blocks_since_update >= pay.emergency_at * cutoff_blocks:
        return Mode.EMERGENCY
    return Mode.DEGRADED if blocks_since_update >= pay.degraded_at * cutoff_blocks else Mode.NORMAL


def serving_miners(
    candidates: Sequence[Candidate], own: Hotkey, validators: Collection[Hotkey] | None, pay: NetworkPay
) -> Serving:
    """Who serves and is no validator. The first rule that excludes one gives the reason.

    `validators`: hotkeys of the network's list, empty if it was never had; None when there is no such list, and only
    then stake tells who is one.
    """
    reasons = {candidate.hotkey: _why_excluded(candidate, own, validators, pay) for candidate in candidates}
    return Serving(
        hotkeys=tuple(hotkey for hotkey, reason in reasons.items() if not reason),
        excluded={hotkey: reason for hotkey, reason in reasons.items() if reason},
    )


def _why_excluded(candidate: Candidate, own: Hotkey, validators: Collection[Hotkey] | None, pay: NetworkPay) -> str:
    if candidate.hotkey == own:
        return "own"
    if candidate.ip in NO_ADDRESS or candidate.port == 0:
        return "no_endpoint"
    if validators is None:
        return "stake" if candidate.stake >= pay.max_stake else ""
    return "validator" if candidate.hotkey in validators else ""


def moving_averages(
    rows: Sequence[EmissionRow],
    now: datetime,
    pay: NetworkPay,
    hotkeys_by_uid: Mapping[str, Hotkey] | None = None,
) -> dict[Hotkey, float]:
    """Exponential moving average of every miner's emissions over the lookback, oldest first.

    The first value starts it. A miner that a row does not name keeps its average; time itself changes nothing.
    `hotkeys_by_uid` resolves rows keyed by uid. Raises ValueError for an emission that is not a finite number.
    """
    owners = hotkeys_by_uid or {}
    since = now - timedelta(hours=pay.lookback_hours)
    averages: dict[Hotkey, float] = {}
    for row in sorted((row for row in rows if row.at >= since), key=lambda row: row.at):
        for key, emission in row.emissions.items():
            hotkey = owners.get(key, Hotkey(key))
            _check_finite(emission, f"the emission of {key} in the evaluation of {row.at.isoformat()}")
            before = averages.get(hotkey)
            averages[hotkey] = emission if before is None else pay.ema_alpha * emission + (1 - pay.ema_alpha) * before
    return averages


def _check_finite(value: object, what: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{what} is {value!r}, not a finite number; no weight can be made of it")


def fresh_averages(
    averages: Mapping[Hotkey, float],
    last_success: Mapping[Hotkey, datetime],
    now: datetime,
    mode: Mode,
    pay: NetworkPay,
) -> dict[Hotkey, float]:
    """The averages, 0 for a miner whose last success is too long ago for the mode, or unknown."""
    if mode is Mode.EMERGENCY:
        return dict(averages)
    hours = pay.fresh_hours_degraded if mode is Mode.DEGRADED else pay.fresh_hours
    since = now - timedelta(hours=hours)
    return {
        hotkey: average if hotkey in last_success and last_success[hotkey] >= since else 0.0
        for hotkey, average in averages.items()
    }


def penalise(
    averages: Mapping[Hotkey, float], sybil_scores: Mapping[Hotkey, float], serving: int, pay: NetworkPay
) -> Penalised:
    """Take from each paid miner the share its sybil score says, leaving at least `penalty_retention` of its average.

    At scores below `penalty_hard_floor` no more than max(1, ⌊`penalty_soft_fraction` · serving⌋) are penalised, the
    worst ones, the first of equals. Raises ValueError for a score that is not a finite number.
    """
    scores = {hotkey: sybil_scores[hotkey] for hotkey in averages if hotkey in sybil_scores}
    for hotkey, score in scores.items():
        _check_finite(score, f"the sybil score of {hotkey}")
    accused = [hotkey for hotkey in scores if scores[hotkey] >= pay.penalty_threshold and averages[hotkey] > 0]
    soft = [hotkey for hotkey in accused if scores[hotkey] < pay.penalty_hard_floor]
    limit = max(1, math.floor(pay.penalty_soft_fraction * serving))
    spared = tuple(sorted(soft, key=lambda hotkey: -scores[hotkey])[limit:])
    penalised = {hotkey: scores[hotkey] for hotkey in accused if hotkey not in spared}
    return Penalised(
        averages={
            hotkey: _after_penalty(average, penalised[hotkey], pay) if hotkey in penalised else average
            for hotkey, average in averages.items()
        },
        penalised=penalised,
        spared=spared,
    )


def _after_penalty(average: float, score: float, pay: NetworkPay) -> float:
    return max(average * (1 - min(score, pay.penalty_max)), pay.penalty_retention * average)


def shares(
    serving: Sequence[Hotkey], averages: Mapping[Hotkey, float], mode: Mode, pay: NetworkPay
) -> dict[Hotkey, float] | None:
    """The weight of every serving miner: its share of their sum; 0 for one that is unknown or has nothing.

    When nobody has anything, all weigh the same in mode EMERGENCY. None when weights should not be set: nobody has
    anything, or fewer than `min_serving` serve. Raises ValueError for an average that is not a finite number.
    """
    if len(serving) < max(1, pay.min_serving):
        return None
    vector = {hotkey: averages.get(hotkey, 0.0) for hotkey in serving}
    for hotkey, average in vector.items():
        _check_finite(average, f"the average of {hotkey}")
    total = sum(vector.values())
    if total > 0:
        return {hotkey: average / total for hotkey, average in vector.items()}
    if mode is Mode.EMERGENCY:
        return dict.fromkeys(vector, 1 / len(vector))
    return None
