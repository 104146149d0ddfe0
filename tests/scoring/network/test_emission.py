from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loosh_pipeline.scoring.network.emission import emissions, time_shares, top_factors, top_multiplier
from loosh_pipeline.scoring.network.profile import NetworkProfile

PROFILE = NetworkProfile()
INSTANT_JUNK_WINS_UP_TO = 6


@pytest.mark.parametrize("which", range(4))
def test_worked_rounds(which: int, cases: dict[str, Any]) -> None:
    given_, expected = cases["C11"]["input"][which], cases["C11"]["output"][which]
    labels = list(given_["scores"])
    paid = emissions(
        given_["times"],
        given_["theta"],
        [label in given_["in_consensus"] for label in labels],
        list(given_["scores"].values()),
        PROFILE,
    )
    assert paid == pytest.approx(list(expected.values()), abs=1e-8)


def test_the_multiplier_of_the_best(cases: dict[str, Any]) -> None:
    for gap, expected in cases["C12"]["output"].items():
        assert top_multiplier(float(gap), PROFILE) == pytest.approx(expected, abs=1e-8)


def test_the_best_need_not_be_in_consensus() -> None:
    factors = top_factors([0.9, 0.5, 0.7], [False, True, True], PROFILE)
    assert factors.tolist() == [1 + 0.5 * math.tanh(0.1 * (0.9 - 0.7)), 1.0, 1.0]


@pytest.mark.parametrize("composites", [[], [0.5], [None, 0.5], [0.5, 0.5], [None, None]])
def test_nobody_is_best_without_a_gap(composites: list[float | None]) -> None:
    assert top_factors(composites, [True] * len(composites), PROFILE).tolist() == [1.0] * len(composites)


def test_instant_junk_against_slow_answers(cases: dict[str, Any]) -> None:
    case = cases["C34"]
    for n, expected in case["output"].items():
        times = [case["input"]["garbage_ms"], *[case["input"]["honest_ms"]] * (int(n) - 1)]
        paid = emissions(times, 1.0, [False, *[True] * (int(n) - 1)], [None] * int(n), PROFILE)
        assert paid[0] == pytest.approx(expected["garbage_units_of_theta"], abs=1e-8)
        assert paid[1] == pytest.approx(expected["honest_units_of_theta"], abs=1e-8)
        assert (paid[0] > paid[1]) == expected["garbage_wins"] == (int(n) <= INSTANT_JUNK_WINS_UP_TO)


def test_times_of_zero_are_refused(cases: dict[str, Any]) -> None:
    assert cases["C11b"]["output"] == "ZeroDivisionError"
    with pytest.raises(ValueError, match="all 2 response times are 0 ms"):
        time_shares(cases["C11b"]["input"]["times"])


@pytest.mark.parametrize("time", [math.nan, math.inf, -1.0])
def test_a_time_that_is_none_is_named(time: float) -> None:
    with pytest.raises(ValueError, match=f"a response time is {time} ms"):
        time_shares([1000.0, time])


@given(st.lists(st.floats(0, 1e6), min_size=2, max_size=20).filter(any))
def test_shares_sum_to_one_less_than_their_number(times: list[float]) -> None:
    assert np.sum(time_shares(times)) == pytest.approx(len(times) - 1)
