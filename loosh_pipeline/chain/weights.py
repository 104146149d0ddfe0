"""From shares to weights the chain accepts, and back: pure functions over one metagraph snapshot.

The chain holds weights as u16 relative to the largest of the row: the largest is 65535, a weight that rounds to 0 is
no weight. Planning applies this, so that a plan says exactly what will be set.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from loosh_pipeline.domain import Hotkey, Metagraph, Neuron, ObservedWeights, Uid, WeightPlan
from loosh_pipeline.errors import ChainError, ScoringError

U16_MAX = 65_535


def plan_weights(shares: Mapping[Hotkey, float], metagraph: Metagraph, own_hotkey: Hotkey) -> WeightPlan:
    """Weights by uid at the block of the snapshot, summing to 1; who is left out stands in `dropped`.

    Raises `ScoringError` for a share that is negative or not finite; `ChainError` when too few weights are left for
    the subnet, or one is more than it allows.
    """
    _check_shares(shares)
    registered = metagraph.by_hotkey()
    dropped = {
        hotkey: reason
        for hotkey, share in shares.items()
        if (reason := _why_dropped(hotkey, share, metagraph, registered, own_hotkey))
    }
    candidates = {registered[hotkey].uid: share for hotkey, share in shares.items() if hotkey not in dropped}
    kept = quantize(candidates)
    for uid in candidates.keys() - kept.keys():
        hotkey = _hotkey_at(metagraph, uid)
        dropped[hotkey] = f"weight is below 1/{2 * U16_MAX} of the largest, which the chain rounds to 0"
    _check_enough(kept, dropped, metagraph)
    total = math.fsum(candidates[uid] for uid in kept)
    _check_largest({uid: candidates[uid] / total for uid in kept}, metagraph)
    return WeightPlan(
        netuid=metagraph.netuid,
        block=metagraph.block,
        weights={uid: candidates[uid] / total for uid in sorted(kept)},
        hotkeys={uid: _hotkey_at(metagraph, uid) for uid in sorted(kept)},
        version_key=metagraph.weights_version_key,
        dropped=dropped,
    )


def _check_shares(shares: Mapping[Hotkey, float]) -> None:
    for hotkey, share in shares.items():
        if not math.isfinite(share) or share < 0:
            raise ScoringError(f"the share of {hotkey} is {share}; shares are finite and not negative")


def _why_dropped(
    hotkey: Hotkey,
    share: float,
    metagraph: Metagraph,
    registered: Mapping[Hotkey, Neuron],
    own_hotkey: Hotkey,
) -> str | None:
    if hotkey == own_hotkey:
        return "own hotkey: a validator gives itself no weight"
    if share == 0:
        return "weight is 0"
    if hotkey not in registered:
        return f"not registered on subnet {metagraph.netuid} at block {metagraph.block}"
    return None


def _hotkey_at(metagraph: Metagraph, uid: Uid) -> Hotkey:
    return next(neuron.hotkey for neuron in metagraph.neurons if neuron.uid == uid)


def _check_enough(kept: Mapping[Uid, int], dropped: Mapping[Hotkey, str], metagraph: Metagraph) -> None:
    required = max(1, min(metagraph.min_allowed_weights, len(metagraph.neurons)))
    if len(kept) >= required:
        return
    left_out = "; ".join(f"{hotkey}: {reason}" for hotkey, reason in dropped.items()) or "nobody was proposed"
    raise ChainError(
        f"{len(kept)} weights are left for subnet {metagraph.netuid} at block {metagraph.block}, "
        f"which asks for at least {required}; left out: {left_out}"
    )


def _check_largest(weights: Mapping[Uid, float], metagraph: Metagraph) -> None:
    """Handed over as they are, they would be clipped or, where nothing else fits, made all alike."""
    largest = max(weights, key=lambda uid: weights[uid])
    if weights[largest] > metagraph.max_weight_share + 1 / U16_MAX:
        raise ChainError(
            f"{_hotkey_at(metagraph, largest)} would have {weights[largest]:.1%} of all weight, and subnet "
            f"{metagraph.netuid} allows {metagraph.max_weight_share:.1%}; the proposal must share it out"
        )


def quantize(weights: Mapping[Uid, float]) -> dict[Uid, int]:
    """Weights as the chain stores them: the largest is 65535, those that round to 0 are left out."""
    top = max(weights.values(), default=0.0)
    if top <= 0:
        return {}
    values = {uid: round(weight / top * U16_MAX) for uid, weight in weights.items()}
    return {uid: value for uid, value in values.items() if value}


def matches(plan: WeightPlan, observed: ObservedWeights, ignoring: frozenset[Uid] = frozenset()) -> bool:
    """Whether the observed row is what the plan says: the same uids, the same shares after rounding to u16.

    The chain may rescale a row once more, which moves each of its n entries by at most 1 in a row whose sum S is at
    least 65535; a share s then moves by at most (1 + n s) / S. That is the tolerance. Without the uids `ignoring`,
    whose weights the chain took out when their slots changed hands, S is that of the others; without all, nothing is
    left to go by.
    """
    expected = {uid: value for uid, value in quantize(plan.weights).items() if uid not in ignoring}
    shown = {uid: share for uid, share in observed.weights.items() if uid not in ignoring}
    if not expected or expected.keys() != shown.keys():
        return False
    total, count, seen = sum(expected.values()), len(expected), math.fsum(shown.values())
    least = U16_MAX if total >= U16_MAX else max(total - count, 1)
    return all(
        abs(shown[uid] / seen - value / total) <= (1 + count * value / total) / least for uid, value in expected.items()
    )
