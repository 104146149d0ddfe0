"""Figures of the last hours, counted for all who look at a page once in a few seconds: a busy day has many rows."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from loosh_pipeline.store.listing import Hour, Listing

HOURS = 24
OF_EACH_HOUR = 100
"""Challenges that got scores in each hour whose latencies count, the newest; in the last hour OF_THE_LAST."""
OF_THE_LAST = 1000
KEPT_S = 5.0


@dataclass(frozen=True, slots=True)
class Day:
    """The last hours, the oldest first."""

    hours: Sequence[Hour]
    latencies_s: Sequence[float]
    """Of those that got scores in the last hour."""


class Days:
    """What was counted last, if that was a moment ago. Many askers share one count."""

    def __init__(self, listing: Listing, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._listing, self._clock = listing, clock
        self._counting = threading.Lock()
        self._counted: tuple[float, Day] | None = None

    def __call__(self) -> Day:
        """Blocks."""
        with self._counting:
            if self._counted is None or self._clock() - self._counted[0] >= KEPT_S:
                self._counted = self._clock(), self._count(datetime.now(UTC))
            return self._counted[1]

    def _count(self, now: datetime) -> Day:
        hours = self._listing.hours(now, HOURS, OF_EACH_HOUR)
        return Day(hours, self._listing.latencies_s(hours[-1].since, now, OF_THE_LAST))
