"""When a block comes, counted on from the newest that was seen: a snapshot is minutes old, and the chain goes on. Pure.

`facts` are those of `loosh_pipeline.chain_status`: `seen_at`, `due_at` and `cutoff_at` are times as text, None where
they are not known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

TICK_MINUTES = 2
"""How often weights_schedule looks."""
LATE_S = 60 * (TICK_MINUTES + 1)
"""Weights that are due for longer are late: a look of the schedule, and a minute for what it starts."""


def at_block(block: int, seen: int, seen_at: datetime, block_s: float | None) -> datetime | None:
    """When a block is made, or was, by the time that one takes; None where that is not known."""
    return None if block_s is None else seen_at + timedelta(seconds=(block - seen) * block_s)


@dataclass(frozen=True, slots=True)
class Countdown:
    """What is left now, in seconds, below 0 where it has passed; None where it is not known.

    `seen_s`: how long ago the newest known block was made. `passed`: blocks that were made since, about.
    """

    seen_s: float | None
    due_s: float | None
    cutoff_s: float | None
    passed: int

    @classmethod
    def of(cls, facts: Mapping[str, Any], now: datetime) -> Countdown:
        seen, due, cutoff = (_until(facts.get(name), now) for name in ("seen_at", "due_at", "cutoff_at"))
        block_s = facts.get("block_s")
        passed = 0 if seen is None or not block_s else max(0, int(-seen / block_s))
        return cls(None if seen is None else max(0.0, -seen), due, cutoff, passed)

    @property
    def late(self) -> bool:
        """Whether weights are due for longer than it takes to set them."""
        return self.due_s is not None and self.due_s < -LATE_S


def _until(moment: str | None, now: datetime) -> float | None:
    return None if moment is None else (datetime.fromisoformat(moment) - now).total_seconds()
