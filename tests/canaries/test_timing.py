"""Canaries come as others do, and not at all where that cannot be."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from heapq import heapify, heappop, heappush
from itertools import accumulate, pairwise
from random import Random

import pytest

from loosh_pipeline.canaries.timing import MIN_GAPS, REGULAR, TOO_FEW, Timing


def at_random(timing: Timing, count: int, mean_s: float = 10.0) -> tuple[list[float], list[float]]:
    """When challenges came at random, and when canaries fell due."""
    draw, now_s = Random(1), 0.0
    pushed, due = [], []
    for _ in range(count):
        now_s += draw.expovariate(1 / mean_s)
        pushed.append(now_s)
        if (after_s := timing.pushed(now_s)) is not None:
            due.append(now_s + after_s)
    return pushed, due


def test_as_many_come_as_the_rate_says() -> None:
    _, due = at_random(Timing(0.1, Random(2)), 5000)
    assert 400 < len(due) < 600


def test_none_before_it_is_known_how_others_come() -> None:
    timing = Timing(1.0, Random(2))
    pushed, due = at_random(timing, MIN_GAPS)
    assert (len(pushed), due, timing.why_none()) == (MIN_GAPS, [], TOO_FEW)
    timing.pushed(pushed[-1] + 1)
    assert timing.why_none() is None


@pytest.mark.parametrize("gap_s", [0.0, 3.6, 60.0])
def test_none_where_others_come_by_a_clock(gap_s: float) -> None:
    timing, draw = Timing(1.0, Random(2)), Random(3)
    due = [timing.pushed(n * gap_s + draw.uniform(0, gap_s / 100)) for n in range(200)]
    assert set(due) == {None}
    assert timing.why_none() == REGULAR


def test_a_canary_keeps_away_from_the_one_before() -> None:
    timing = Timing(1.0, Random(2))
    pushed, _ = at_random(timing, 300)
    shortest = sorted(b - a for a, b in pairwise(pushed))[15]
    assert timing.to_wait_s(pushed[-1] + shortest / 10) > 0
    assert timing.to_wait_s(pushed[-1] + 10) == 0
    timing.put_in(pushed[-1] + 10)
    assert timing.to_wait_s(pushed[-1] + 10 + shortest / 10) > 0


def test_canaries_are_no_nearer_to_others_than_others_are() -> None:
    """Of pushes at random, the part with another within a second; of canaries it is not more."""
    timing, draw = Timing(0.1, Random(2)), Random(1)
    pushed = list(accumulate(draw.expovariate(0.1) for _ in range(20_000)))
    waiting, came = [(at, 0, True) for at in pushed], list[float]()
    heapify(waiting)
    while waiting:
        now_s, _, is_push = heappop(waiting)
        if is_push:
            after_s = timing.pushed(now_s)
        elif (after_s := timing.to_wait_s(now_s) or None) is None:
            timing.put_in(now_s)
            came.append(now_s)
        if after_s is not None:
            heappush(waiting, (now_s + after_s, 1, False))
    near = [any_within(pushed, at, own=0) for at in came]
    others = [any_within(pushed, at, own=1) for at in pushed]
    assert len(came) > 1800
    assert sum(near) / len(near) < sum(others) / len(others)


def any_within(pushed: list[float], at: float, *, own: int) -> bool:
    return bisect_right(pushed, at + 1.0) - bisect_left(pushed, at - 1.0) > own
