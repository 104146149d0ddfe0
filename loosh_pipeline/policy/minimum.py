"""How many weights the chain asks for, and how many it takes to share all under its limit for one."""

from __future__ import annotations

import math
from collections.abc import Sequence

from loosh_pipeline.domain import Hotkey, Metagraph, RuleAct
from loosh_pipeline.policy.ruled import Ruled, Shares, normalised

PADDING = "minimum_weights"
SMALLEST = 1 / 65_535
"""Of the largest: the smallest weight that the chain holds. What is less than half of it is none."""
SLACK = 1e-9


def required(subnet: Metagraph) -> int:
    """Weights that the chain takes at least."""
    return max(1, min(subnet.min_allowed_weights, len(subnet.neurons)))


def held(shares: Shares) -> list[Hotkey]:
    """Whose share is one after the chain has rounded it."""
    shares = {hotkey: share for hotkey, share in shares.items() if math.isfinite(share)}
    top = max(shares.values(), default=0.0)
    return sorted(hotkey for hotkey, share in shares.items() if top > 0 and round(share / top / SMALLEST) >= 1)


def to_share(limit: float, whole: float = 1.0) -> int:
    """How many it takes to share a part of all when none may get more than `limit`, which is above 0."""
    return math.ceil(whole / limit - SLACK)


def padded(shares: Shares, candidates: Sequence[Hotkey], wanted: int, why: str = "the chain asks for {}") -> Ruled:
    """As many weights as wanted, where there are any: the smallest there is for candidates that have none, in order.

    `why` says what asks for so many.
    """
    there = held(shares)
    missing = wanted - len(there)
    added = [hotkey for hotkey in candidates if hotkey not in there][: max(missing, 0)] if there else []
    if not added:
        return Ruled(shares)
    smallest = max(shares.values()) * SMALLEST
    after = normalised({**shares, **dict.fromkeys(added, smallest)})
    reason = f"{why.format(f'{wanted} weights')}, and {len(there)} miners earned one; this is the smallest there is"
    return Ruled(
        after, tuple(RuleAct(PADDING, hotkey, shares.get(hotkey, 0.0), after[hotkey], reason) for hotkey in added)
    )
