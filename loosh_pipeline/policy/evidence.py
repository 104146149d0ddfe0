"""How much evidence a window makes attainable, which is what a miner's evidence is measured by.

In a window of many rounds the settings hold, and a newcomer ramps up. In one of few (the first hours, or few challenges
a day) nobody can have as much, and luck in the draw must not decide who is paid: what the upper quartile of those asked
has is enough. Not the median: it would take only as many fresh identities as there are miners to bring that down, and
to bring the upper quartile down it takes three times as many.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def full_evidence(rounds: float, evidence: Sequence[float]) -> float:
    """The evidence from which pay is full: a setting, or the upper quartile of what miners have."""
    return min([rounds, *_upper_quartile(evidence)])


def least_asked(rounds: int, asked: Sequence[int]) -> int:
    """How often a miner must have been asked to be paid: a setting, or half of the upper quartile, at least once.

    Half: whoever was drawn once less than others must not be out, and the next hour in; the ramp pays it less.
    """
    return max(1, min([rounds, *(math.floor(each / 2) for each in _upper_quartile(asked))]))


def _upper_quartile(values: Sequence[float]) -> list[float]:
    """One number; none of no values."""
    return [float(np.quantile(np.array(values, dtype=np.float64), 0.75))] if values else []
