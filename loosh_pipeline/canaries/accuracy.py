"""How often each miner was right, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from loosh_pipeline.canaries.rules import Rule, is_right
from loosh_pipeline.domain import Hotkey, Outcome, Response

Z = 1.959963984540054
"""Of an interval that holds the true share 95 times in 100."""


@dataclass(frozen=True, slots=True)
class Accuracy:
    """What became of the canaries that a miner was asked. Who did not answer was not right."""

    hotkey: Hotkey
    asked: int
    answered: int
    right: int

    @property
    def share(self) -> float:
        """Of those asked."""
        return self.right / self.asked

    @property
    def interval(self) -> tuple[float, float]:
        return wilson(self.right, self.asked)


def wilson(right: int, asked: int) -> tuple[float, float]:
    """Wilson's interval of a share, at 95 %: it stays within 0 to 1, and is wide for few."""
    if asked == 0:
        return 0.0, 1.0
    share, spread = right / asked, Z * Z / asked
    middle = (share + spread / 2) / (1 + spread)
    half = Z / (1 + spread) * math.sqrt(share * (1 - share) / asked + spread / (4 * asked))
    return max(0.0, middle - half), min(1.0, middle + half)


def accuracies(rounds: Iterable[tuple[tuple[Rule, ...], Iterable[Response]]]) -> tuple[Accuracy, ...]:
    """Of every miner that was asked any, by hotkey."""
    counts: dict[Hotkey, list[int]] = {}
    for rules, responses in rounds:
        for each in responses:
            count = counts.setdefault(each.hotkey, [0, 0, 0])
            count[0] += 1
            if each.outcome is Outcome.ANSWERED:
                count[1] += 1
                count[2] += is_right(each.text, rules)
    return tuple(Accuracy(hotkey, *count) for hotkey, count in sorted(counts.items()))
