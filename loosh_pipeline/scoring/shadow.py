"""What paying by one profile costs where the other validators pay by another."""

from __future__ import annotations

import math
from collections.abc import Mapping

from loosh_pipeline.domain import Hotkey


def surviving_share(own: Mapping[Hotkey, float], others: Mapping[Hotkey, float]) -> float:
    """The part of one's weights that survives clipping when all the others set theirs alike: sum of min(own, others).

    On chain each weight is clipped at the stake-weighted median; a validator's trust is what is left of its row. Both
    vectors are shares of 1. The expected loss is 1 minus this. 1 when nobody weighs anything.
    """
    total, other_total = math.fsum(own.values()), math.fsum(others.values())
    if not (total > 0 and other_total > 0):
        return 1.0
    return math.fsum(min(weight / total, others.get(hotkey, 0.0) / other_total) for hotkey, weight in own.items())
