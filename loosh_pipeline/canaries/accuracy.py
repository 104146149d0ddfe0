"""How often each miner was right, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
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


@dataclass(frozen=True, slots=True)
class Verdict:
    """On one miner in one canary."""

    hotkey: Hotkey
    answered: bool
    right: bool


def judged(rules: Sequence[Rule], responses: Iterable[Response]) -> tuple[Verdict, ...]:
    """On everybody that was asked."""
    return tuple(
        Verdict(each.hotkey, answered := each.outcome is Outcome.ANSWERED, answered and is_right(each.text, rules))
        for each in responses
    )


def accuracies(rounds: Iterable[Sequence[Verdict]]) -> tuple[Accuracy, ...]:
    """Of every miner that was asked any, by hotkey. A round in which nobody answered says nothing of anybody."""
    counts: dict[Hotkey, list[int]] = {}
    for verdicts in rounds:
        if not any(each.answered for each in verdicts):
            continue
        for each in verdicts:
            count = counts.setdefault(each.hotkey, [0, 0, 0])
            count[0] += 1
            count[1] += each.answered
            count[2] += each.right
    return tuple(Accuracy(hotkey, *count) for hotkey, count in sorted(counts.items()))
