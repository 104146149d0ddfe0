"""What the times of challenges come to."""

from __future__ import annotations

import pytest

from benchmarks.latency import Way, burst_figures, paced_figures


def way(posted_s: float, *after_s: float) -> Way:
    return Way(posted_s, *(posted_s + each for each in after_s))


def test_times_run_from_the_post_of_each_challenge() -> None:
    ways = [way(2.0 * n, 0.01, 0.1 + 0.01 * n, 1.0, 1.5 + 0.01 * n) for n in range(20)]
    figures = paced_figures(ways)
    assert figures["dispatch_p50_s"] == pytest.approx(0.195)
    assert figures["dispatch_p95_s"] == pytest.approx(0.28)
    assert (figures["scored_p50_s"], figures["scored_p95_s"]) == pytest.approx((1.0, 1.0))
    assert (figures["delivered_p50_s"], figures["delivered_p95_s"]) == pytest.approx((1.595, 1.68))
    assert figures["accepted_p50_s"] == pytest.approx(0.01)


def test_a_burst_is_as_late_as_its_last() -> None:
    ways = [way(10.0, 0.1, 2.0, 3.0, 4.0), way(10.2, 0.1, 3.0, 3.0, 3.5), way(10.1, 0.1, 1.0, 2.0, 3.0)]
    assert burst_figures(ways) == pytest.approx({"burst20_last_dispatch_s": 3.2, "burst20_delivered_s": 4.0})
