"""How much is done at once: so much that nobody who writes beside it waits noticeably, until the time is up."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

LOCKED_S = 0.04
"""A transaction that holds the lock of a database no longer is no delay that anybody notices."""
LEAST_PAUSE_S = 0.06
"""SQLite's waiters look every 1 to 100 ms whether the lock is free: between two transactions one finds it so."""
LEAST, MOST = 16, 4096
"""Events in a transaction: what a run wrote varies a thousandfold."""


@dataclass(slots=True)
class Pace:
    """How many events go in the next transaction, learned from how long the last ones held a lock."""

    until_s: float
    size: int = 128
    longest_s: float = field(default=0.0, init=False)

    @property
    def over(self) -> bool:
        return time.monotonic() >= self.until_s

    def rest(self, locked_s: float) -> None:
        """Leave others room after a transaction that held a lock for so long."""
        self.longest_s = max(self.longest_s, locked_s)
        if locked_s > LOCKED_S:
            self.size = max(LEAST, self.size // 2)
        elif locked_s < LOCKED_S / 2:
            self.size = min(MOST, self.size + self.size // 4 + 1)
        time.sleep(max(LEAST_PAUSE_S, locked_s))
