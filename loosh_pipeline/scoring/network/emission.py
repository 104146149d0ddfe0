"""What a round pays: faster replies more, those in consensus more, and the best composite a little more."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from loosh_pipeline.scoring.network.profile import NetworkProfile


def time_shares(times_ms: Sequence[float]) -> NDArray[np.float64]:
    """1 - t / Σt of every reply, (n,). Raises ValueError for a time that is no time, and when all are 0."""
    for time in times_ms:
        if not (math.isfinite(time) and time >= 0):
            raise ValueError(f"a response time is {time} ms; leave the reply out, or give the time it took")
    total = math.fsum(times_ms)
    if total <= 0:
        raise ValueError(f"all {len(times_ms)} response times are 0 ms, so none has a share; give the times measured")
    return 1.0 - np.asarray(times_ms, dtype=np.float64) / total


def top_multiplier(gap: float, profile: NetworkProfile) -> float:
    """Factor of the best composite that is `gap` above the second; 1 when it is not above it."""
    if gap <= 0:
        return 1.0
    return min(profile.top_cap, 1.0 + profile.top_bonus * math.tanh(profile.top_scale * gap))


def top_factors(
    composites: Sequence[float | None], in_consensus: Sequence[bool], profile: NetworkProfile
) -> NDArray[np.float64]:
    """`top_multiplier` for the reply of the best composite, 1 for the others, (n,).

    The best one need not be in consensus. Equal ones have no gap; so nobody's factor depends on their order.
    """
    factors = np.ones(len(composites))
    ranked = [(value, i) for i, value in enumerate(composites) if value is not None]
    if len(ranked) < 2:
        return factors
    ranked.sort(key=lambda entry: (-entry[0], not in_consensus[entry[1]], entry[1]))
    factors[ranked[0][1]] = top_multiplier(ranked[0][0] - ranked[1][0], profile)
    return factors


def emissions(
    times_ms: Sequence[float],
    consensus_score: float,
    in_consensus: Sequence[bool],
    composites: Sequence[float | None],
    profile: NetworkProfile,
) -> NDArray[np.float64]:
    """Emission of every reply, (n,): ρ · θ · `consensus_bonus` in consensus · the factor of the best composite.

    A reply out of consensus is paid all the same, without the bonus. Raises ValueError like `time_shares`.
    """
    bonus = np.where(np.asarray(in_consensus, dtype=bool), profile.consensus_bonus, 1.0)
    paid: NDArray[np.float64] = (
        time_shares(times_ms) * consensus_score * bonus * top_factors(composites, in_consensus, profile)
    )
    return paid
