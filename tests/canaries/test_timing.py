"""When canaries come: like others, at their rate."""

from __future__ import annotations

from random import Random

import pytest

from loosh_pipeline.canaries.timing import LONGEST_GAP_S, Timing


def delays(timing: Timing, gaps_s: list[float]) -> list[float]:
    now_s, found = 0.0, []
    for gap_s in gaps_s:
        now_s += gap_s
        if (after_s := timing.pushed(now_s)) is not None:
            found.append(after_s)
    return found


def test_nothing_is_known_before_two_came() -> None:
    assert Timing(1.0, Random(1)).pushed(5.0) is None


@pytest.mark.parametrize("rate", [0.0, 0.02, 0.5])
def test_as_many_come_as_the_rate_says(rate: float) -> None:
    found = delays(Timing(rate, Random(1)), [1.0] * 20_000)
    assert len(found) == pytest.approx(rate * 20_000, rel=0.1)


def test_where_challenges_come_every_minute_they_do_too() -> None:
    assert set(delays(Timing(0.5, Random(1)), [60.0] * 300)) == {60.0}


def test_where_challenges_come_at_random_they_do_too() -> None:
    draw = Random(2)
    gaps_s = [draw.expovariate(0.1) for _ in range(5000)]
    found = delays(Timing(0.5, Random(1)), gaps_s)
    assert sum(found) / len(found) == pytest.approx(10.0, rel=0.1)


def test_a_night_without_challenges_is_not_waited_for() -> None:
    assert set(delays(Timing(1.0, Random(1)), [1.0, 1e6])) == {LONGEST_GAP_S}
