"""From shares to weights the chain accepts, and back: pure functions over one metagraph snapshot.

The chain holds weights as u16 relative to the largest of the row: the largest is 65535, a weight that rounds to 0 is
no weight. Planning applies this, so that a plan says exactly what will be set.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from loosh_pipeline.chain.port import ERA_BLOCKS
from loosh_pipeline.domain import Block, Hotkey, Metagraph, Neuron, ObservedWeights, Uid, WeightPlan
from loosh_pipeline.errors import ChainError, ScoringError

U16_MAX = 65_535
SIGNING_BLOCKS = 16
"""Blocks that may pass between the snapshot of a plan and its signature."""


def plan_weights(shares: Mapping[Hotkey, float], metagraph: Metagraph, own_hotkey: Hotkey) -> WeightPlan:
    """Weights by uid at the block of the snapshot, summing to 1; who is left out stands in `dropped`.

    Raises `ScoringError` for a share that is negative or not finite; `ChainError` when too few weights are left for
    the subnet.
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


def quantize(weights: Mapping[Uid, float]) -> dict[Uid, int]:
    """Weights as the chain stores them: the largest is 65535, those that round to 0 are left out."""
    top = max(weights.values(), default=0.0)
    if top <= 0:
        return {}
    values = {uid: round(weight / top * U16_MAX) for uid, weight in weights.items()}
    return {uid: value for uid, value in values.items() if value}


def weights_due(metagraph: Metagraph, own_hotkey: Hotkey, interval_blocks: int) -> str | None:
    """None when weights are due; otherwise why not, for people.

    The chain accepts weights once `weights_rate_limit_blocks` have passed since the last ones, or at any time when
    none were ever set. The interval is the operator's own, on top of that.
    """
    own = metagraph.by_hotkey().get(own_hotkey)
    where = f"subnet {metagraph.netuid} at block {metagraph.block}"
    if own is None:
        return f"{own_hotkey} is not registered on {where}"
    if not own.validator_permit:
        return f"{own_hotkey} (uid {own.uid}) has no validator permit on {where}"
    if own.last_update == 0:
        return None
    waits = {
        "the chain's rate limit": metagraph.weights_rate_limit_blocks,
        "the interval": interval_blocks,
    }
    reason, blocks = max(waits.items(), key=lambda wait: wait[1])
    since = metagraph.block - own.last_update
    if since >= blocks:
        return None
    return (
        f"weights were set at block {own.last_update}, {since} blocks before block {metagraph.block}; "
        f"{reason} is {blocks} blocks, so they are due at block {own.last_update + blocks}"
    )


def unsettled(planned_at: Block, metagraph: Metagraph, own_hotkey: Hotkey) -> str | None:
    """Why a plan whose outcome was lost forbids another submission; None when it is known or past.

    It is known once `last_update` moved past the block of the plan, and past once its signature has expired.
    """
    own = metagraph.by_hotkey()[own_hotkey]
    until = planned_at + ERA_BLOCKS + SIGNING_BLOCKS
    if own.last_update > planned_at or metagraph.block > until:
        return None
    return (
        f"whether the plan of block {planned_at} was included is unknown, and it may still be until block {until} "
        f"(now {metagraph.block}); nothing else is submitted before"
    )


def matches(plan: WeightPlan, observed: ObservedWeights) -> bool:
    """Whether the observed row is what the plan says: the same uids, the same shares after rounding to u16.

    The chain may rescale a row once more, which moves each of its n entries by at most 1 in a row whose sum S is at
    least 65535; a share s then moves by at most (1 + n s) / S. That is the tolerance.
    """
    expected = quantize(plan.weights)
    if expected.keys() != observed.weights.keys():
        return False
    total = sum(expected.values())
    shares = {uid: value / total for uid, value in expected.items()}
    return all(
        abs(observed.weights[uid] - share) <= (1 + len(shares) * share) / U16_MAX for uid, share in shares.items()
    )
