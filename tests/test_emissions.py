"""From payouts to emissions: shares of one whole, earned by answers."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loosh_pipeline.domain import Emission
from loosh_pipeline.emissions import CHECKS, PSEUDO_ROUNDS, SUM_TOLERANCE, Earnings, aggregate
from tests.builders import NOON, emission


def earnings(hotkey: str, asked: int, payout_sum: float, **fields: Any) -> Earnings:
    answered = fields.pop("answered", asked)
    paid = fields.pop("paid", answered if payout_sum else 0)
    return Earnings(hotkey, asked, answered, paid, payout_sum, fields.pop("last_answered_at", None))


@st.composite
def lookbacks(draw: st.DrawFn) -> list[Earnings]:
    count = draw(st.integers(0, 12))
    miners = []
    for number in range(count):
        asked = draw(st.integers(1, 500))
        paid = draw(st.integers(0, asked))
        payout_sum = draw(st.floats(1e-9, 3.0)) * paid
        miners.append(earnings(f"hotkey-{number}", asked, payout_sum, answered=asked, paid=paid))
    return draw(st.permutations(miners))


@given(lookbacks())
def test_weights_are_shares_of_one_or_all_zero(miners: list[Earnings]) -> None:
    result = aggregate(miners)
    assert [each.hotkey for each in result] == sorted(each.hotkey for each in miners)
    total = math.fsum(each.weight for each in result)
    if any(each.payout_sum for each in miners):
        assert abs(total - 1) <= SUM_TOLERANCE
        assert all(check(result).passed for check in CHECKS.values())
    else:
        assert total == 0
        assert not CHECKS["not_all_zero"](result).passed
    for earned, miner in zip(result, sorted(miners, key=lambda each: each.hotkey), strict=True):
        assert (earned.weight > 0) == (miner.payout_sum > 0)


@given(lookbacks(), st.integers(1, 50))
def test_a_failed_ask_costs_and_helps_the_others(miners: list[Earnings], failures: int) -> None:
    if sum(each.payout_sum > 0 for each in miners) < 2:
        return
    unlucky = next(each for each in miners if each.payout_sum > 0)
    failed = Earnings(
        unlucky.hotkey, unlucky.asked + failures, unlucky.answered, unlucky.paid, unlucky.payout_sum, None
    )
    before = {each.hotkey: each.weight for each in aggregate(miners)}
    after = {each.hotkey: each.weight for each in aggregate([failed if m is unlucky else m for m in miners])}
    assert after[unlucky.hotkey] < before[unlucky.hotkey]
    assert all(after[m.hotkey] >= before[m.hotkey] for m in miners if m is not unlucky)


def test_worked_example() -> None:
    steady, half, newcomer, absent = aggregate(
        [
            earnings("d-absent", 10, 0.0, answered=0),
            earnings("a-steady", 98, 98.0, last_answered_at=NOON),
            earnings("b-half", 98, 49.0, answered=49),
            earnings("c-newcomer", 1, 1.0),
        ]
    )
    assert PSEUDO_ROUNDS == 2
    assert (steady.emission, half.emission, newcomer.emission) == (0.98, 0.49, pytest.approx(1 / 3))
    assert (steady.mean_payout, half.mean_payout, newcomer.mean_payout) == (1.0, 0.5, 1.0)
    total = 0.98 + 0.49 + 1 / 3
    assert steady.weight == pytest.approx(0.98 / total)
    assert newcomer.weight == pytest.approx(1 / 3 / total)
    assert (absent.emission, absent.weight, absent.mean_payout) == (0.0, 0.0, 0.0)
    assert (steady.last_answered_at, half.last_answered_at) == (NOON, None)


def test_never_asked_is_no_division_by_zero() -> None:
    assert aggregate([earnings("a", 0, 0.0)]) == (
        Emission("a", 0, 0, 0, mean_payout=0.0, emission=0.0, weight=0.0, last_answered_at=None),
    )
    assert aggregate([]) == ()


def halves(**second: Any) -> list[Emission]:
    return [emission("a"), emission("b", **second)]


@pytest.mark.parametrize(
    ("check", "bad", "reason"),
    [
        ("finite", halves(weight=math.nan), "not finite: b"),
        ("finite", halves(emission=math.inf), "not finite: b"),
        ("no_negative", halves(weight=-0.1), "negative: b -0.1"),
        ("no_negative", halves(emission=-1e-9), "negative: b -1e-09"),
        ("not_all_zero", [emission("a", weight=0.0)], "none of 1 miners earned anything"),
        ("not_all_zero", [], "none of 0 miners"),
        ("sums_to_one", halves(weight=0.4), "weights sum to 0.9"),
        ("sums_to_one", halves(weight=math.nan), "nan"),
        ("sums_to_one", [], "weights sum to 0.0"),
        ("evidence_behind_each", halves(paid=0), "weight without a paid round: b"),
    ],
)
def test_each_check_fails_on_its_own_case(check: str, bad: list[Emission], reason: str) -> None:
    assert all(each(halves(last_answered_at=NOON - timedelta(hours=1))).passed for each in CHECKS.values())
    verdict = CHECKS[check](bad)
    assert not verdict.passed
    assert reason in verdict.reason


@pytest.mark.parametrize("payout", [math.nan, math.inf])
def test_a_broken_payout_is_stopped_by_a_check(payout: float) -> None:
    result = aggregate([earnings("a", 3, payout), earnings("b", 3, 1.0)])
    assert not CHECKS["finite"](result).passed


def test_every_check_has_a_case() -> None:
    (mark,) = (m for m in test_each_check_fails_on_its_own_case.pytestmark if m.name == "parametrize")
    assert {case[0] for case in mark.args[1]} == set(CHECKS)
