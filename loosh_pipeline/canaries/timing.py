"""When a canary comes: after a pushed challenge, as long after it as others lately came after one another.

So canaries have no clock of their own. Where challenges come by a clock, any canary would be out of step: there are
none.
"""

from __future__ import annotations

import math
from collections import deque
from random import Random

REMEMBERED = 200
MIN_GAPS = 20
"""So many are to be known before anything is said of them."""
LEAST_SPREAD = 0.5
"""Standard deviation of the gaps, of their mean: of what comes at random it is 1, of what comes by a clock 0."""
LONGEST_GAP_S = 3600.0
NEAREST = 0.1
"""The part of all gaps that are shorter than what a canary keeps from the challenge before it."""
REGULAR = "challenges are pushed so regularly that any other would be out of step"
TOO_FEW = f"fewer than {MIN_GAPS + 1} challenges were pushed since the start"


class Timing:
    """Of one process. `rate`: how many canaries there are to a pushed challenge, in the mean. Times are monotonic."""

    def __init__(self, rate: float, draw: Random) -> None:
        self._rate, self._draw = rate, draw
        self._gaps_s: deque[float] = deque(maxlen=REMEMBERED)
        self._last_s: float | None = None
        self._came_s = -math.inf

    def pushed(self, now_s: float) -> float | None:
        """A challenge was pushed; after how many seconds a canary is to follow, or None for none."""
        if self._last_s is not None:
            self._gaps_s.append(now_s - self._last_s)
        self._last_s = self._came_s = now_s
        if self.why_none() is not None or self._draw.random() >= self._rate:
            return None
        return self._gap_s()

    def why_none(self) -> str | None:
        """Why no canary comes, whatever the rate; None where some do."""
        if len(self._gaps_s) < MIN_GAPS:
            return TOO_FEW
        mean_s = sum(self._gaps_s) / len(self._gaps_s)
        spread_s = math.sqrt(sum((gap_s - mean_s) ** 2 for gap_s in self._gaps_s) / len(self._gaps_s))
        return REGULAR if mean_s <= 0 or spread_s < LEAST_SPREAD * mean_s else None

    def to_wait_s(self, now_s: float) -> float:
        """How long one that is due now has to wait still, as another came just before; 0 for not at all."""
        nearest_s = sorted(self._gaps_s)[int(NEAREST * len(self._gaps_s))] if self._gaps_s else 0.0
        return 0.0 if now_s - self._came_s >= nearest_s else self._gap_s()

    def put_in(self, now_s: float) -> None:
        """A canary came, from which the next one keeps away, too."""
        self._came_s = now_s

    def _gap_s(self) -> float:
        return min(self._draw.choice(self._gaps_s), LONGEST_GAP_S)
