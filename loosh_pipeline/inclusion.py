"""How likely each candidate of a weighted draw without replacement was to be in the sample.

The draw is a race of exponential clocks: candidate i rings at T_i = -ln(u_i) / w_i, and the k that ring first are
drawn (Efraimidis and Spirakis, 2006). Hence

    P(i is drawn) = ∫ w_i exp(-w_i t) P(fewer than k of the others have rung by t) dt  over t from 0 to infinity,

where the others ring independently, with probability 1 - exp(-w_j t) each. With t = exp(s) the integrand falls off
exponentially to the left and faster to the right, so the trapezoidal rule converges geometrically in its step. It is
as fine as makes the sum of all probabilities k to about 1e-11.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_COARSEST_STEP = 0.2
_STEP_OF_ONE = 0.4
"""The more are drawn, the more sudden is the moment by which they have rung: the step falls with the root of k."""
_MOST_CELLS = 2_000_000
"""Of one array: 16 MB."""
_LEAST_WEIGHT = 1e-15
"""Of the largest; what is less counts as this much, which changes no probability that could be told from 0."""

_Floats = NDArray[np.float64]


def inclusion_probabilities(weights: Sequence[float], sample: int) -> list[float]:
    """The probability of each candidate to be among the `sample` drawn.

    `weights` are finite and not negative. Who has none is drawn, each as likely as the other, only for places that
    nobody with a weight takes.
    """
    weighted = np.array([weight for weight in weights if weight > 0])
    unweighted = len(weights) - len(weighted)
    places_left = max(sample - len(weighted), 0)
    spare = min(places_left / unweighted, 1.0) if unweighted else 0.0
    of_weighted = iter(_race(weighted, sample))
    return [float(next(of_weighted)) if weight > 0 else spare for weight in weights]


def _race(weights: _Floats, sample: int) -> _Floats:
    if len(weights) <= sample:
        return np.ones(len(weights))
    rates = np.maximum(weights / weights.max(), _LEAST_WEIGHT)
    step = min(_COARSEST_STEP, _STEP_OF_ONE / math.sqrt(sample))
    # Left of the grid less than 1e-14 of any integral lies, right of it the slowest clock has rung.
    grid = np.arange(math.log(1e-15), math.log(40.0 / rates.min()), step)
    total = np.zeros(len(rates))
    for times in np.array_split(np.exp(grid), len(rates) * sample * len(grid) // _MOST_CELLS + 1):
        waiting = np.exp(-np.outer(rates, times))
        others = _fewer_than(sample, 1.0 - waiting)
        total += (rates[:, None] * times * waiting * others).sum(axis=1)
    return np.minimum(total * step, 1.0)


def _fewer_than(sample: int, rung: _Floats) -> _Floats:
    """For each candidate (row) and time (column): the probability that fewer than `sample` of the others have rung.

    Counts of the candidates before and of those after it, each up to `sample` - 1, put together: dividing the
    candidate out of the count of all would lose digits.
    """
    before = _counts(rung, sample)
    after = np.flip(_counts(np.flip(rung, axis=0), sample), axis=0)
    at_most = np.cumsum(after, axis=1)
    return np.asarray((before * np.flip(at_most, axis=1)).sum(axis=1))


def _counts(rung: _Floats, sample: int) -> _Floats:
    """(candidates, sample, times): how likely just m of the candidates before each have rung, for m below `sample`."""
    candidates, times = rung.shape
    counts = np.zeros((candidates, sample, times))
    count = np.zeros((sample, times))
    count[0] = 1.0
    for candidate in range(candidates):
        counts[candidate] = count
        fewer = np.vstack([np.zeros((1, times)), count[:-1]])
        count = count * (1.0 - rung[candidate]) + fewer * rung[candidate]
    return counts
