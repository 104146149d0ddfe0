"""The benchmark of intake on real processes, for a moment: that it counts, not how fast it is."""

from __future__ import annotations

import pytest

from benchmarks.ingress import Round, measure

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def test_every_accepted_post_is_found_in_the_table() -> None:
    figures = measure(rounds=1, seconds=0.3)
    assert list(figures) == ["posts_per_s", "bare_posts_per_s", "p50_ms", "p99_ms", "accepted", "stored"]
    assert figures["accepted"] == figures["stored"] > 0
    assert figures["bare_posts_per_s"] > 0
    assert 0 < figures["p50_ms"] <= figures["p99_ms"]


def test_percentiles_are_of_what_was_measured() -> None:
    result = Round(2.0, ids=["a", "b"], latencies_s=[0.004, 0.001, 0.003, 0.002])
    assert (result.per_s, result.percentile_ms(0.5), result.percentile_ms(0.99)) == (1.0, 3.0, 4.0)
