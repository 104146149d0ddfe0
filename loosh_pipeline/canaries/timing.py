"""When a canary comes: after a pushed challenge, as long after it as others lately came after one another.

So canaries have no clock of their own: where challenges come every minute they do, too, and where they come at random,
they come at random.
"""

from __future__ import annotations

from collections import deque
from random import Random

REMEMBERED = 200
LONGEST_GAP_S = 3600.0


class Timing:
    """Of one process. `rate`: how many canaries there are to a pushed challenge, in the mean."""

    def __init__(self, rate: float, draw: Random) -> None:
        self._rate, self._draw = rate, draw
        self._gaps_s: deque[float] = deque(maxlen=REMEMBERED)
        self._last_s: float | None = None

    def pushed(self, now_s: float) -> float | None:
        """A challenge was pushed; after how many seconds a canary is to follow, or None for none."""
        if self._last_s is not None:
            self._gaps_s.append(now_s - self._last_s)
        self._last_s = now_s
        if not self._gaps_s or self._draw.random() >= self._rate:
            return None
        return min(self._draw.choice(self._gaps_s), LONGEST_GAP_S)
