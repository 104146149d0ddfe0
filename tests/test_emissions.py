"""From payouts to emissions: a mean that newer rounds count more in, a ramp for newcomers, and who was there."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loosh_pipeline.domain import ChallengeId, Emission, Hotkey, Mode, Outcome
from loosh_pipeline.emissions import EmissionRule, aggregate, answered_shares, emissions_from, network_emissions
from loosh_pipeline.paid import Paid
from loosh_pipeline.payouts import PAID, paid_of, payouts_of
from loosh_pipeline.scoring.network.profile import NetworkPay, NetworkProfile
from loosh_pipeline.scoring.profile import RobustProfile
from loosh_pipeline.scoring.profiles import ScoringProfile
from loosh_pipeline.scoring.result import RoundScores
from tests.builders import NOON, measure, neutral_round, round_scores, score, window_rows

UNHURRIED = settings(deadline=None, max_examples=80)

SUM_TOLERANCE = 1e-9


def paid(*asks: tuple[str, float, float | None]) -> Paid:
    """One row for each (hotkey, hours before noon, payout); None where the ask failed. Each is a round of its own."""
    rows = [
        (f"c-{i}", hotkey, NOON - timedelta(hours=ago), payout is not None, payout is not None, payout or 0.0)
        for i, (hotkey, ago, payout) in enumerate(asks)
    ]
    return paid_of(pl.DataFrame(rows, schema=PAID, orient="row"))


def by_hotkey(emissions: tuple[Emission, ...]) -> dict[str, Emission]:
    return {each.hotkey: each for each in emissions}


def test_a_mean_payout_is_that_of_answered_asks_times_how_much_was_answered() -> None:
    rule = EmissionRule(half_life_h=12.0)
    found = paid(("a", 0.0, 2.0), ("a", 12.0, None), ("a", 24.0, 1.0), ("b", 5.0, None))
    assert answered_shares(found, rule) == {"a": 1.25 / 1.75, "b": 0.0}
    mean = by_hotkey(aggregate(found, {}, rule))["a"].mean_payout
    assert mean == pytest.approx(1.25 / 1.75 * ((2.0 + 0.25 * 1.0) / 1.25))


def asks() -> st.SearchStrategy[list[tuple[str, float, float | None]]]:
    payout = st.none() | st.just(0.0) | st.floats(1e-6, 3.0)
    return st.lists(st.tuples(st.sampled_from("abcdef"), st.floats(0.0, 48.0), payout), max_size=40)


@UNHURRIED
@given(asks())
def test_weights_are_shares_of_one_or_all_zero(given_: list[tuple[str, float, float | None]]) -> None:
    result = aggregate(paid(*given_), {})
    assert [each.hotkey for each in result] == sorted({hotkey for hotkey, _, _ in given_})
    total = math.fsum(each.weight for each in result)
    assert abs(total - 1) <= SUM_TOLERANCE if any(each.emission for each in result) else total == 0
    for each in result:
        assert 0 <= each.emission <= each.mean_payout + 1e-12
        assert 0 < each.ramp <= 1
        assert 1 - 1e-9 <= each.evidence <= each.asked + 1e-9


@UNHURRIED
@given(asks(), st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_no_bit(given_: list[tuple[str, float, float | None]], random: Any) -> None:
    rows = paid(*given_)
    order = list(range(len(rows.miner)))
    random.shuffle(order)
    names = ("round", "miner", "at_ms", "answered", "measured", "payout")
    shuffled = replace(rows, **{name: getattr(rows, name)[order] for name in names})
    assert aggregate(shuffled, {}) == aggregate(rows, {})
    assert network_emissions(shuffled, NOON) == network_emissions(rows, NOON)


@UNHURRIED
@given(asks(), st.floats(0.1, 24.0))
def test_w_16_a_failed_ask_costs_the_more_the_later_it_was(
    given_: list[tuple[str, float, float | None]], ago: float
) -> None:
    """Not answering is a 0, not a round that never was: answering easy prompts only does not pay."""
    earned = [each for each in given_ if each[0] == "a" and each[2]]
    if not earned:
        return
    fine = by_hotkey(aggregate(paid(*earned), {}))["a"]
    early, late = (by_hotkey(aggregate(paid(*earned, ("a", at, None)), {}))["a"] for at in (ago, ago / 2))
    assert late.mean_payout <= early.mean_payout + 1e-12
    assert early.mean_payout < fine.mean_payout


def test_worked_example() -> None:
    """Ten rounds at noon; ten of which the half twelve hours old, and paid; one round; ten that failed."""
    found = by_hotkey(
        aggregate(
            paid(
                *[("steady", 0.0, 1.0)] * 10,
                *[("aged", 12.0, 1.0)] * 5,
                *[("aged", 0.0, None)] * 5,
                ("newcomer", 0.0, 1.0),
                *[("absent", 0.0, None)] * 10,
            ),
            {Hotkey("steady"): 0.5},
        )
    )
    steady, aged, newcomer, absent = (found[name] for name in ("steady", "aged", "newcomer", "absent"))
    assert (steady.mean_payout, steady.evidence, steady.ramp, steady.coverage, steady.emission) == (1, 10, 1, 0.5, 0.5)
    # five rounds of weight 1/2 that paid, five of weight 1 that failed: 2.5 / 7.5; 7.5² / (5 · 1/4 + 5) = 9
    assert (aged.mean_payout, aged.evidence, aged.ramp) == pytest.approx((1 / 3, 9.0, 0.9))
    assert aged.emission == pytest.approx(0.3)
    assert (newcomer.evidence, newcomer.ramp, newcomer.emission) == pytest.approx((1.0, 0.1, 0.1))
    assert (absent.asked, absent.answered, absent.emission, absent.weight) == (10, 0, 0.0, 0.0)
    total = 0.5 + 0.3 + 0.1
    assert [each.weight for each in (steady, aged, newcomer)] == pytest.approx([0.5 / total, 0.3 / total, 0.1 / total])
    assert aged.last_answered_at == NOON - timedelta(hours=12)
    assert absent.last_answered_at is None


def test_a_newer_round_counts_more() -> None:
    good_lately, good_once = (
        by_hotkey(aggregate(paid(*[("a", at, 1.0)] * 5, *[("a", 12.0 - at, 0.1)] * 5), {}))["a"] for at in (0.0, 12.0)
    )
    assert good_lately.mean_payout > 0.55 > good_once.mean_payout
    assert good_lately.evidence == pytest.approx(good_once.evidence)


@UNHURRIED
@given(asks(), st.floats(0.0, 48.0), st.floats(0.0, 48.0))
def test_the_best_round_counts_the_more_the_newer_it_is(
    given_: list[tuple[str, float, float | None]], one: float, other: float
) -> None:
    older, newer = (
        by_hotkey(aggregate(paid(*given_, ("a", ago, 3.0)), {}))["a"].mean_payout
        for ago in (max(one, other), min(one, other))
    )
    assert newer >= older - 1e-12


def test_luck_in_the_draw_costs_nobody_who_has_enough_rounds() -> None:
    """Shrinking by n / (n + k) would pay the one of 60 rounds an eighth more than the one of 12, for the same work."""
    found = by_hotkey(aggregate(paid(*[("seldom", 1.0, 0.8)] * 12, *[("often", 1.0, 0.8)] * 60), {}))
    assert found["seldom"].emission == pytest.approx(found["often"].emission)


def test_evidence_and_mean_hang_on_no_clock() -> None:
    """All ages grow alike while nothing happens, however old they get."""
    new = paid(("a", 0.0, 1.0), ("a", 10.0, 0.5))
    old = replace(new, at_ms=new.at_ms - 9000 * 24 * 3_600_000)
    (ages_ago,), (now,) = aggregate(old, {}), aggregate(new, {})
    assert replace(ages_ago, last_answered_at=None) == replace(now, last_answered_at=None)


def test_a_rule_without_a_half_life_is_none() -> None:
    with pytest.raises(ValueError, match="must be above 0"):
        EmissionRule(half_life_h=0.0)


@pytest.mark.parametrize("payout", [math.nan, math.inf])
def test_a_broken_payout_is_not_hidden(payout: float) -> None:
    broken, fine = aggregate(paid(("a", 0.0, payout), ("b", 0.0, 1.0)), {})
    assert not math.isfinite(broken.emission)
    assert fine.emission == 1.0


def paid_for(profile: ScoringProfile, *rounds: RoundScores, hours_apart: float = 1.0) -> Paid:
    """Payouts of rounds whose challenges came one after the other, the last as long before noon as they are apart."""
    came = [NOON - timedelta(hours=hours_apart * (len(rounds) - i)) for i in range(len(rounds))]
    return paid_of(payouts_of(window_rows(*rounds, came=came), profile).paid)


def network_round(name: str, emissions: Mapping[str, float | None]) -> RoundScores:
    """A round as the network's profile pays it; None for a miner that timed out."""
    scores = tuple(
        score(hotkey, 0.0, outcome=Outcome.TIMEOUT)
        if paid is None
        else score(hotkey, paid, measure=measure(emission=paid))
        for hotkey, paid in emissions.items()
    )
    return round_scores(scores, challenge_id=ChallengeId(name), profile="network")


def network_of(*rounds: RoundScores, mode: Mode = Mode.NORMAL, **how: float) -> dict[str, Emission]:
    return by_hotkey(emissions_from(paid_for(NetworkProfile(), *rounds, **how), NetworkProfile(), NOON, mode=mode))


def test_the_robust_profile_pays_by_the_settled_window_and_by_who_was_there() -> None:
    rounds = [neutral_round({"a": True, "b": True, "c": False}, challenge_id=ChallengeId(f"c-{i}")) for i in range(4)]
    paid, coverage = paid_for(RobustProfile(), *rounds), {Hotkey("b"): 0.5}
    made = emissions_from(paid, RobustProfile(), NOON, coverage=coverage)
    assert made == aggregate(paid, coverage)
    assert {each.hotkey: each.weight for each in made} == pytest.approx({"a": 2 / 3, "b": 1 / 3, "c": 0.0})


def test_payouts_stored_with_a_round_are_not_what_the_robust_profile_pays() -> None:
    """They are of the round alone; its window may say otherwise."""
    honest = neutral_round({"a": True, "b": True})
    boasting = replace(honest, scores=tuple(replace(each, payout=each.payout * 9) for each in honest.scores))
    one, two = (emissions_from(paid_for(RobustProfile(), each), RobustProfile(), NOON) for each in (honest, boasting))
    assert one == two


def test_no_round_is_no_emission_under_either_profile() -> None:
    for profile in (RobustProfile(), NetworkProfile()):
        assert emissions_from(paid_for(profile), profile, NOON) == ()


def test_the_networks_emissions_are_a_moving_average_of_payouts() -> None:
    rounds = [
        network_round("c-1", {"a": 0.8, "b": 0.4, "c": 0.0}),
        network_round("c-2", {"a": 0.2, "b": None, "c": 0.0}),
        network_round("c-3", {"a": 0.6, "b": None, "d": 0.5}),
    ]
    alpha = NetworkPay().ema_alpha
    a = 0.8
    for payout in (0.2, 0.6):
        a = alpha * payout + (1 - alpha) * a
    found = network_of(*rounds)
    expected = {"a": a, "b": 0.4, "c": 0.0, "d": 0.5}
    assert {h: each.emission for h, each in found.items()} == pytest.approx(expected), "b failed, and keeps its own"
    total = a + 0.4 + 0.5
    assert {h: each.weight for h, each in found.items()} == pytest.approx(
        {hotkey: value / total for hotkey, value in expected.items()}
    )
    assert (found["b"].asked, found["b"].answered, found["b"].paid) == (3, 1, 1)


def test_w_15_who_has_not_answered_a_challenge_lately_gets_nothing_by_the_networks_rule() -> None:
    """The existing validator takes a health probe for a success: there, b would stay fresh for ever."""
    hours = NetworkPay().fresh_hours
    rounds = [network_round("c-1", {"a": 0.8, "b": 0.8}), network_round("c-2", {"a": 0.8, "b": None})]
    late, early = (network_of(*rounds, hours_apart=apart) for apart in (hours * 0.75, hours / 4))
    assert [each.weight for each in late.values()] == [1.0, 0.0]
    assert [each.weight for each in early.values()] == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize(("mode", "weight"), [(Mode.NORMAL, 0.0), (Mode.DEGRADED, 0.5), (Mode.EMERGENCY, 0.5)])
def test_how_lately_hangs_on_the_mode(mode: Mode, weight: float) -> None:
    rounds = [network_round("c-1", {"a": 0.8, "b": 0.8}), network_round("c-2", {"a": 0.8, "b": None})]
    assert network_of(*rounds, hours_apart=2.0, mode=mode)["b"].weight == pytest.approx(weight)
