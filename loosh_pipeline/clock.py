"""Noticing that the clock was set back, while a validator runs or while it did not."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

NOTICED_FROM_S = 5.0
"""Below it, waiting is simpler than putting anything right."""
KEPT_EVERY_S = 30.0


class ClockWatch:
    """Remembers the latest time of day that was seen, in memory and now and then in a file."""

    def __init__(self, file: Path, clock: Callable[[], float] = time.time) -> None:
        self._file = file
        self._clock = clock
        self._kept_s = self._seen_s = self._stored()

    def set_back_s(self) -> float:
        """By how many seconds the clock was set back since the last call; 0.0 when it was not, or by very little."""
        now_s, seen_s = self._clock(), self._seen_s
        self._seen_s = now_s
        back_s = seen_s - now_s if seen_s - now_s >= NOTICED_FROM_S else 0.0
        if back_s or now_s - self._kept_s >= KEPT_EVERY_S:
            self._keep(now_s)
        return back_s

    def _stored(self) -> float:
        try:
            return float(self._file.read_text())
        except (OSError, ValueError):  # the first start, or one that was cut off as it wrote
            return 0.0

    def _keep(self, now_s: float) -> None:
        self._kept_s = now_s
        with suppress(OSError):  # a full disk must keep nobody from looking after the processes
            self._file.write_text(f"{now_s:.0f}")
