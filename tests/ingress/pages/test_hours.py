"""Figures of the last hours as they are told and drawn."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ingress.pages.hours import Latency, latencies, latency, rates
from loosh_pipeline.store.listing import Hour

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def hour(came: int, *seconds: float) -> Hour:
    return Hour(NOON - timedelta(hours=1), NOON, came, seconds)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        ((), None),
        ((3.0,), Latency(3.0, 3.0, 1)),
        ((4.0, 1.0), Latency(2.5, 4.0, 2)),
        (tuple(float(n) for n in range(1, 101)), Latency(50.5, 95.0, 100)),
    ],
)
def test_the_median_and_the_95th_percentile(seconds: tuple[float, ...], said: Latency | None) -> None:
    assert latency(seconds) == said


def test_bars_are_parts_of_a_short_number_above_the_highest() -> None:
    drawn = rates([hour(0), hour(1500), hour(3000)])
    assert [bar.height for bar in drawn.bars] == [0.0, 0.5, 1.0]
    assert drawn.ticks == ("3,000", "1,500", "0")
    assert drawn.bars[1].title == "11:00 to 12:00 UTC: 1,500"


def test_an_hour_without_scores_has_no_bar_and_says_so() -> None:
    drawn = latencies([hour(3), hour(3, 1.0, 2.0, 9.0)])
    assert [bar.height for bar in drawn.bars] == [0.0, 1.0]
    assert [bar.title.partition(": ")[2] for bar in drawn.bars] == ["no scores", "2.0 s"]
    assert rates([hour(0)]).ticks == ("1", "0.5", "0")
