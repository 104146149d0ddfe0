"""How much one miner, and one entity, may get of all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from loosh_pipeline.domain import Hotkey, RuleAct
from loosh_pipeline.policy.ruled import Ruled, Shares, normalised

ENTITY, MAXIMUM = "entity_cap", "max_share"
SLACK = 1e-12
"""Rounding that counts for nothing."""

Floats = NDArray[np.float64]


def entity_cap(shares: Shares, entities: Mapping[Hotkey, Hotkey], cap: float) -> Ruled:
    """No entity gets more than max(cap, 2 / entities that earn, the best miner's share); what it loses, others share.

    With few entities a cap would only make all alike: the floor leaves room for one to be twice as good as the mean.
    And it is meant for those of several hotkeys: whoever is that good alone is not fined for it.
    """
    before = normalised(shares)
    limit = entity_limit(before, entities, cap)
    after = filled(before, entities, 1.0, limit)
    totals, sizes = _totals(before, entities), Counter(entities[hotkey] for hotkey in _earning(before))
    acts = [
        RuleAct(
            ENTITY,
            hotkey,
            before[hotkey],
            after[hotkey],
            f"the {sizes[entity]} earning hotkeys of its coldkey and address (entity {entity}) would have "
            f"{totals[entity]:.1%}; {limit:.1%} is the most",
        )
        for hotkey in _earning(before)
        if totals[entity := entities[hotkey]] > limit + SLACK
    ]
    return Ruled(after, tuple(acts))


def max_share(shares: Shares, entities: Mapping[Hotkey, Hotkey], entity_cap: float, limit: float) -> Ruled:
    """No miner gets more than `limit`, and no entity more than before; 1/n where n miners could not share all."""
    before = normalised(shares)
    earning = _earning(before)
    limit = max(limit, 1 / max(len(earning), 1))
    after = filled(before, entities, limit, entity_limit(before, entities, entity_cap))
    acts = [
        RuleAct(MAXIMUM, hotkey, before[hotkey], after[hotkey], f"{limit:.1%} is the most that one miner gets")
        for hotkey in earning
        if before[hotkey] > limit + SLACK
    ]
    return Ruled(after, tuple(acts))


def entity_limit(shares: Shares, entities: Mapping[Hotkey, Hotkey], cap: float) -> float:
    """The most that one entity may get, given how many of them earn, and the best of all miners."""
    earning = len({entities[hotkey] for hotkey in _earning(shares)})
    return min(1.0, max(cap, 2 / max(earning, 1), max(normalised(shares).values(), default=0.0)))


def filled(
    shares: Shares, groups: Mapping[Hotkey, Hotkey], member_limit: float, group_limit: float
) -> dict[Hotkey, float]:
    """The shares scaled to one whole such that no member and no group exceeds its limit, in proportion below them.

    Who has nothing gets nothing. Where members at their limit cannot make up one whole under the limit of groups, that
    one gives way as far as it must. `member_limit` is at least 1 / number of those who have anything.
    """
    earning = _earning(shares)
    if not earning:
        return dict(shares)
    weights = np.array([shares[hotkey] for hotkey in earning])
    _, group = np.unique([groups[hotkey] for hotkey in earning], return_inverse=True)
    sizes = np.bincount(group)
    group_limit = max(group_limit, _common_level(sizes.astype(np.float64) * member_limit))
    result, capped = np.zeros(len(weights)), np.zeros(len(sizes), dtype=bool)
    while True:
        free = ~capped[group]
        result[free] = _level(weights[free], member_limit, 1.0 - capped.sum() * group_limit)
        over = (np.bincount(group, result) > group_limit + SLACK) & ~capped
        if not over.any():
            break
        capped |= over
        for each in np.flatnonzero(over):
            result[group == each] = _level(weights[group == each], member_limit, group_limit)
    found = dict.fromkeys(shares, 0.0) | dict(zip(earning, result.tolist(), strict=True))
    return {hotkey: found[hotkey] for hotkey in shares}


def _level(weights: Floats, limit: float, total: float) -> Floats:
    """min(limit, λ · weight) with the λ that makes them sum to `total`; all at the limit where they cannot."""
    order = np.argsort(-weights, kind="stable")
    ranked = weights[order]
    rest = np.cumsum(ranked[::-1])[::-1]
    factors = (total - np.arange(len(ranked)) * limit) / rest
    below = np.flatnonzero(factors * ranked <= limit)
    # The first rank from which nobody exceeds the limit; those before it are at it.
    level = factors[below[0]] if len(below) else np.inf
    found: Floats = np.minimum(limit, np.maximum(level, 0.0) * weights)
    return found


def _common_level(capacities: Floats) -> float:
    """The smallest c with sum of min(c, capacity) = 1; the largest capacity where they do not hold as much."""
    taken = 0.0
    for i, capacity in enumerate(ranked := np.sort(capacities)):
        level = (1.0 - taken) / (len(ranked) - i)
        if level <= capacity:
            return float(level)
        taken += capacity
    return float(ranked[-1])


def _earning(shares: Shares) -> Sequence[Hotkey]:
    """Who has anything, in an order that does not hang on the mapping's."""
    return sorted(hotkey for hotkey, share in shares.items() if share > 0)


def _totals(shares: Shares, entities: Mapping[Hotkey, Hotkey]) -> dict[Hotkey, float]:
    totals: dict[Hotkey, float] = {}
    for hotkey in _earning(shares):
        totals[entities[hotkey]] = totals.get(entities[hotkey], 0.0) + shares[hotkey]
    return totals
