"""What the benchmarks of a running validator share: percentiles, medians of runs, the machine's load, and how figures
are shown.
"""

from __future__ import annotations

import json
import math
import os
import statistics
from collections.abc import Mapping, Sequence
from typing import Any


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of all reach at most (nearest rank). Raises ValueError for none."""
    if not values:
        raise ValueError("there is no percentile of nothing")
    return sorted(values)[max(math.ceil(share * len(values)), 1) - 1]


def median_of_runs(runs: Sequence[Mapping[str, Any]], digits: int = 3) -> dict[str, Any]:
    """The median of each figure over runs that all have the same figures, also of those in a group."""
    return {name: _median([run.get(name, 0.0) for run in runs], digits) for name in runs[0]}


def _median(values: Sequence[Any], digits: int) -> Any:
    if isinstance(values[0], Mapping):
        return median_of_runs(values, digits)
    return round(statistics.median(values), digits)


class Load:
    """The machine's load: `before` anything was started, and `during` (mean and highest of what `note` was told)."""

    def __init__(self) -> None:
        self.before = os.getloadavg()[0]
        self._during: list[float] = []

    def note(self) -> None:
        self._during.append(os.getloadavg()[0])

    def figures(self) -> dict[str, float]:
        during = self._during or [self.before]
        return {
            "load_before": round(self.before, 2),
            "load_during": round(statistics.mean(during), 2),
            "load_highest": round(max(during), 2),
        }


def show(figures: Mapping[str, Any], as_json: bool) -> None:
    """A table, and with `as_json` one object as the last line."""
    width = max(map(len, figures))
    for name, value in figures.items():
        if isinstance(value, Mapping):
            value = ", ".join(f"{part} {number}" for part, number in value.items())
        print(f"{name:>{width}}  {value}")
    if as_json:
        print(json.dumps(figures))
