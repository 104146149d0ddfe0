"""Figures of the last hours, as the overview tells and draws them. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ingress.pages.filters import count, lasted
from loosh_pipeline.audit.receipt_page import end_of_axis
from loosh_pipeline.store.listing import Hour


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: its part of the picture's height, and a word on it."""

    height: float
    title: str


@dataclass(frozen=True, slots=True)
class Bars:
    """A picture of bars, the oldest first. `ticks`: at its top, its middle and its foot."""

    bars: Sequence[Bar]
    ticks: tuple[str, str, str]
    label: str


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds from acceptance to scores: the median, the 95th percentile, and of how many challenges."""

    median_s: float
    p95_s: float
    of: int


def latency(seconds: Sequence[float]) -> Latency | None:
    """None where nothing got scores."""
    if not seconds:
        return None
    ordered = sorted(seconds)
    return Latency(statistics.median(ordered), ordered[math.ceil(0.95 * len(ordered)) - 1], len(ordered))


def rates(hours: Sequence[Hour]) -> Bars:
    """Challenges that came in each hour."""
    return _bars(hours, "challenges an hour", [float(each.came) for each in hours], lambda value: count(round(value)))


def latencies(hours: Sequence[Hour]) -> Bars:
    """The median of each hour's latencies."""
    medians = [statistics.median(each.latencies_s) if each.latencies_s else None for each in hours]
    return _bars(hours, "median seconds to scores", medians, lasted)


def _bars(hours: Sequence[Hour], label: str, values: Sequence[float | None], said: Callable[[float], str]) -> Bars:
    top = end_of_axis(max((value for value in values if value is not None), default=0.0))
    bars = [
        Bar((value or 0.0) / top, f"{each.since:%H:%M} to {each.until:%H:%M} UTC: {_or_none(value, said)}")
        for each, value in zip(hours, values, strict=True)
    ]
    return Bars(bars, (_tick(top), _tick(top / 2), "0"), label)


def _or_none(value: float | None, said: Callable[[float], str]) -> str:
    return "no scores" if value is None else said(value)


def _tick(value: float) -> str:
    return count(round(value)) if value >= 1000 else f"{value:.3g}"
