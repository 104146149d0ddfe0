"""From payouts to emissions: shares of one whole, earned by answers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loosh_pipeline.domain import ChallengeId, Emission, Hotkey, Outcome
from loosh_pipeline.emissions import (
    CHECKS,
    PSEUDO_ROUNDS,
    SUM_TOLERANCE,
    Earnings,
    aggregate,
    earnings_of,
    network_emissions,
    payroll,
)
from loosh_pipeline.scoring.network.profile import NetworkPay, NetworkProfile
from loosh_pipeline.scoring.profile import RobustProfile
from loosh_pipeline.scoring.result import RoundScores
from loosh_pipeline.scoring.window import settle
from loosh_pipeline.store.score_tables import Window
from tests.builders import NOON, emission, measure, neutral_round, round_scores, score


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


def window_of(*rounds: RoundScores, hours_apart: float = 1.0) -> Window:
    """Rounds whose challenges came one after the other, the last as long before noon as they are apart."""
    came = [NOON - timedelta(hours=hours_apart * (len(rounds) - i)) for i in range(len(rounds))]
    return Window(rounds, {each.challenge_id: at for each, at in zip(rounds, came, strict=True)})


def network_round(name: str, emissions: Mapping[str, float | None]) -> RoundScores:
    """A round as the network's profile pays it; None for a miner that timed out."""
    scores = tuple(
        score(hotkey, 0.0, outcome=Outcome.TIMEOUT)
        if paid is None
        else score(hotkey, paid, measure=measure(emission=paid))
        for hotkey, paid in emissions.items()
    )
    return round_scores(scores, challenge_id=ChallengeId(name), profile="network")


def test_earnings_are_counted_from_settled_payouts_and_whoever_has_none_earned_nothing() -> None:
    window = window_of(
        neutral_round({"a": True, "b": Outcome.TIMEOUT}, challenge_id=ChallengeId("c-1")),
        neutral_round({"a": True, "b": False}, challenge_id=ChallengeId("c-2")),
    )
    payouts = {ChallengeId("c-1"): {Hotkey("a"): 1.5}, ChallengeId("c-2"): {Hotkey("b"): 0.0}}
    last = NOON - timedelta(hours=1)
    assert earnings_of(window, payouts) == [
        Earnings(Hotkey("a"), asked=2, answered=2, paid=1, payout_sum=1.5, last_answered_at=last),
        Earnings(Hotkey("b"), asked=2, answered=1, paid=0, payout_sum=0.0, last_answered_at=last),
    ]


def test_the_robust_profile_settles_the_window_and_pays_by_that() -> None:
    profile = RobustProfile()
    window = window_of(
        *(neutral_round({"a": True, "b": True, "c": False}, challenge_id=ChallengeId(f"c-{i}")) for i in range(4))
    )
    paid = payroll(window, profile, NOON)
    assert paid.settlement == settle(window.rounds, profile)
    assert paid.settlement is not None
    assert paid.emissions == aggregate(earnings_of(window, paid.settlement.payouts()))
    assert {each.hotkey: each.weight for each in paid.emissions} == pytest.approx({"a": 0.5, "b": 0.5, "c": 0.0})


def test_payouts_stored_with_a_round_are_not_what_the_robust_profile_pays() -> None:
    """They are of the round alone; its window may say otherwise."""
    honest = neutral_round({"a": True, "b": True})
    boasting = replace(honest, scores=tuple(replace(each, payout=each.payout * 9) for each in honest.scores))
    assert payroll(window_of(boasting), RobustProfile(), NOON) == payroll(window_of(honest), RobustProfile(), NOON)


def test_no_round_is_no_emission_under_either_profile() -> None:
    for profile in (RobustProfile(), NetworkProfile()):
        assert payroll(Window((), {}), profile, NOON).emissions == ()


def test_the_networks_emissions_are_a_moving_average_of_payouts() -> None:
    rounds = [
        network_round("c-1", {"a": 0.8, "b": 0.4, "c": 0.0}),
        network_round("c-2", {"a": 0.2, "b": None, "c": 0.0}),
        network_round("c-3", {"a": 0.6, "b": None, "d": 0.5}),
    ]
    window = window_of(*rounds)
    paid = payroll(window, NetworkProfile(), NOON)
    assert paid.settlement is None
    alpha = NetworkPay().ema_alpha
    a = 0.8
    for payout in (0.2, 0.6):
        a = alpha * payout + (1 - alpha) * a
    by_hotkey = {each.hotkey: each for each in paid.emissions}
    expected = {"a": a, "b": 0.4, "c": 0.0, "d": 0.5}
    assert {h: each.emission for h, each in by_hotkey.items()} == pytest.approx(expected), "b failed, and keeps its own"
    total = a + 0.4 + 0.5
    assert {h: each.weight for h, each in by_hotkey.items()} == pytest.approx(
        {hotkey: value / total for hotkey, value in expected.items()}
    )
    assert (by_hotkey["b"].asked, by_hotkey["b"].answered, by_hotkey["b"].paid) == (3, 1, 1)
    assert all(check(paid.emissions).passed for check in CHECKS.values())


def test_whoever_has_not_answered_lately_gets_nothing_by_the_networks_rule() -> None:
    hours = NetworkPay().fresh_hours
    rounds = [network_round("c-1", {"a": 0.8, "b": 0.8}), network_round("c-2", {"a": 0.8, "b": None})]
    late, early = (
        network_emissions(window_of(*rounds, hours_apart=apart), NOON) for apart in (hours * 0.75, hours / 4)
    )
    assert [each.weight for each in late] == [1.0, 0.0]
    assert [each.weight for each in early] == pytest.approx([0.5, 0.5])


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
