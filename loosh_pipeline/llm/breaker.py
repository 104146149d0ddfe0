"""Leaving a server alone that failed several times in a row: it would cost its timeout each time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

MOST_FAILURES = 3
PAUSE_S = 300.0


class Breaker:
    """Open after `most_failures` in a row, for `pause_s`; then one more failure opens it again."""

    def __init__(
        self,
        most_failures: int = MOST_FAILURES,
        pause_s: float = PAUSE_S,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most_failures = most_failures
        self._pause_s = pause_s
        self._now_s = now_s
        self._failures = 0
        self._until_s = now_s()
        self._lock = threading.Lock()

    def is_open(self) -> bool:
        """Whether the server is left alone now."""
        with self._lock:
            return self._failures >= self._most_failures and self._now_s() < self._until_s

    def failed(self) -> None:
        with self._lock:
            self._failures += 1
            self._until_s = self._now_s() + self._pause_s

    def answered(self) -> None:
        with self._lock:
            self._failures = 0
