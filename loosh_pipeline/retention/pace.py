"""How much is done at once: so much that nobody who writes beside it waits noticeably, until the time is up."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

LOCKED_S = 0.04
"""A transaction that holds the lock of a database no longer is no delay that anybody notices."""
LEAST_PAUSE_S = 0.06
"""SQLite's waiters look every 1 to 100 ms whether the lock is free: between two transactions one finds it so."""
LEAST, MOST = 4, 256


@dataclass(slots=True)
class Pace:
    """How many things go into the next transaction, learned from how long the last ones took."""

    until_s: float
    size: int = 32
    longest_s: float = field(default=0.0, init=False)

    @property
    def over(self) -> bool:
        return time.monotonic() >= self.until_s

    @contextmanager
    def step(self) -> Iterator[None]:
        """Time what is done within, and leave others room after it."""
        began_s = time.monotonic()
        yield
        took_s = time.monotonic() - began_s
        self.longest_s = max(self.longest_s, took_s)
        if took_s > LOCKED_S:
            self.size = max(LEAST, self.size // 2)
        elif took_s < LOCKED_S / 2:
            self.size = min(MOST, self.size + self.size // 4 + 1)
        time.sleep(max(LEAST_PAUSE_S, took_s))
