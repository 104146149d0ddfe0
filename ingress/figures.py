"""Figures of the inbox, counted for strangers once a second at most: each count reads the whole table."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from loosh_pipeline.store.figures import InboxStats
from loosh_pipeline.store.inbox import Inbox

ACTIVE_WITHIN = timedelta(hours=1)
KEPT_S = 1.0


@dataclass(frozen=True, slots=True)
class Counted:
    inbox: InboxStats
    active_miners: int


class Figures:
    """What was counted last, if that was a moment ago. Many askers share one count."""

    def __init__(self, inbox: Inbox, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._inbox = inbox
        self._clock = clock
        self._counting = threading.Lock()
        self._counted: tuple[float, Counted] | None = None

    def __call__(self, *, fresh: bool) -> Counted:
        """The figures; `fresh` ones for who is on this machine. Blocks."""
        with self._counting:
            if fresh or self._counted is None or self._clock() - self._counted[0] >= KEPT_S:
                active = self._inbox.active_miners(datetime.now(UTC) - ACTIVE_WITHIN)
                self._counted = self._clock(), Counted(self._inbox.stats(), active)
            return self._counted[1]
