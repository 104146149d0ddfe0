"""Why one miner has less than another, in factors that multiply to the ratio of their weights."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loosh_pipeline.audit.comparison import Comparison, Part, RuleTaken, Side, compared
from loosh_pipeline.domain import Emission, Hotkey

PARTS = st.floats(0.01, 1.0)


def side(
    hotkey: str,
    *,
    asked: int = 10,
    answered: int = 10,
    worth: float = 1.0,
    kept: float = 1.0,
    ramp: float = 1.0,
    coverage: float = 1.0,
    rules: tuple[float, ...] = (),
    average: float = 1.0,
) -> Side:
    """One of a window in which all emissions sum to 10; rules leave these parts of its share."""
    mean = answered / asked * worth * kept
    emission = mean * ramp * coverage * average
    earned = Emission(
        Hotkey(hotkey), asked, answered, answered, mean, emission, emission / 10, None, 9.0, ramp, coverage
    )
    share, taken = earned.weight, []
    for number, left in enumerate(rules):
        taken.append(RuleTaken(f"rule_{number}", share, share * left, "too much" if left < 1 else ""))
        share *= left
    return Side(Hotkey(hotkey), share, earned, kept, None, tuple(taken), share, answered / asked)


def part(found: Comparison, name: str) -> Part:
    return next(each for each in found.parts if each.factor.name == name)


def test_one_factor_that_differs_is_the_whole_gap() -> None:
    found = compared(side("a", answered=6), side("b", answered=8))
    assert found.ratio == pytest.approx(0.75)
    assert found.exact
    assert [each.factor.name for each in found.parts] == ["answers"]
    assert part(found, "answers").of_gap == pytest.approx(1.0)
    assert "it answered 6 of 10 asks, the other 8 of 10 asks" in part(found, "answers").factor.said


def test_what_works_the_other_way_has_a_part_below_nothing() -> None:
    found = compared(side("a", worth=2.0, kept=0.25), side("b"))
    assert found.ratio == pytest.approx(0.5)
    assert part(found, "sharing").of_gap == pytest.approx(2.0)
    assert part(found, "worth").of_gap == pytest.approx(-1.0)


def test_rules_are_told_one_by_one_with_their_reasons() -> None:
    found = compared(side("a", rules=(0.5, 1.0)), side("b", rules=(1.0, 1.0)))
    assert [each.factor.name for each in found.parts] == ["rule_0"]
    assert found.parts[0].factor.said.endswith("it: too much")
    assert found.exact


@given(a=st.tuples(*[PARTS] * 5), b=st.tuples(*[PARTS] * 5), asks=st.tuples(*[st.integers(1, 20)] * 2))
def test_factors_multiply_to_the_ratio_and_parts_sum_to_the_gap(
    a: tuple[float, ...], b: tuple[float, ...], asks: tuple[int, int]
) -> None:
    sides = [
        side(name, asked=20, answered=count, worth=v[0], kept=v[1], ramp=v[2], coverage=v[3], rules=(v[4], 1.0))
        for name, v, count in (("a", a, asks[0]), ("b", b, asks[1]))
    ]
    found = compared(*sides)
    assert found.exact
    assert found.ratio is not None
    ratios = [each.ratio for each in found.factors]
    assert math.prod(each for each in ratios if each is not None) == pytest.approx(found.ratio, rel=1e-9)
    if abs(found.ratio - 1) > 0.05:
        assert math.fsum(each.of_gap or 0.0 for each in found.parts) == pytest.approx(1.0, abs=0.1)


def test_swapped_sides_turn_the_ratio_and_keep_the_parts() -> None:
    a, b = side("a", answered=3, ramp=0.4, rules=(0.9,)), side("b", coverage=0.5, rules=(1.0,))
    one, other = compared(a, b), compared(b, a)
    assert one.ratio is not None
    assert other.ratio == pytest.approx(1 / one.ratio)
    assert [each.of_gap for each in one.parts] == pytest.approx([each.of_gap for each in other.parts])


def test_where_one_has_nothing_the_first_nothing_decides() -> None:
    silent = replace(side("a", answered=0), proposed=0.0)
    found = compared(silent, side("b"))
    assert (found.ratio, found.exact) == (None, False)
    assert found.decisive is not None
    assert found.decisive.name == "answers"
    struck = side("a", rules=(0.0,))
    decisive = compared(struck, side("b", rules=(1.0,))).decisive
    assert decisive is not None
    assert decisive.name == "rule_0"


def test_who_was_given_something_for_nothing_has_no_ratio_there() -> None:
    given_ = replace(side("a", answered=0, rules=(1.0,)), weight=0.001, proposed=0.001)
    given_ = replace(given_, rules=(RuleTaken("minimum_weights", 0.0, 0.001, "the chain asks for 2 weights"),))
    found = compared(given_, side("b", rules=(1.0,)))
    assert found.ratio is not None
    assert not found.exact


def test_an_answer_is_worth_what_it_was_paid_though_most_failed_asks_are_old() -> None:
    """Two of ten answered, the newest, which count for nine tenths; each was worth 0.5."""
    newest = side("a", answered=2)
    assert newest.emission is not None
    earned = replace(newest.emission, mean_payout=0.9 * 0.5, emission=0.9 * 0.5, weight=0.045)
    newest = replace(newest, emission=earned, answered=0.9, weight=0.045, proposed=0.045)
    found = compared(newest, side("b", worth=0.5))
    assert found.exact
    assert [each.factor.name for each in found.parts] == ["answers"]
    assert "it answered 2 of 10 asks, the other 10 of 10 asks; newer ones count more" in found.parts[0].factor.said
    worth = next(each for each in found.factors if each.name == "worth")
    assert (worth.mine, worth.theirs) == (pytest.approx(0.5), pytest.approx(0.5))


def test_where_it_is_not_kept_how_much_counts_as_answered_an_ask_is_told_as_a_whole() -> None:
    found = compared(replace(side("a", answered=6), answered=None), side("b", answered=8))
    assert found.exact
    assert [each.factor.name for each in found.parts] == ["worth"]
    assert found.parts[0].factor.said.startswith("an ask of it was worth 0.600 on average, one of the other 0.800")
    assert "it answered 6 of 10 asks" in found.parts[0].factor.said


def ruled(hotkey: str, *rules: tuple[str, float, float]) -> Side:
    """Of nothing but rules: name, share before, share after."""
    after = rules[-1][2]
    return Side(Hotkey(hotkey), after, rules=tuple(RuleTaken(*each) for each in rules), start=1.0, proposed=after)


def test_a_rule_that_begins_from_nothing_for_both_decides_by_what_it_leaves() -> None:
    poor = ruled("a", ("new", 0.1, 0.0), ("idle", 0.0, 0.0), ("minimum_weights", 0.0, 0.0))
    helped = ruled("b", ("new", 0.1, 0.0), ("idle", 0.0, 0.0), ("minimum_weights", 0.0, 0.01))
    for found in (compared(poor, helped), compared(helped, poor)):
        assert found.decisive is not None
        assert found.decisive.name == "minimum_weights"


def test_what_decides_is_where_the_one_without_a_weight_lost_it() -> None:
    silent = replace(side("b", answered=0, rules=(1.0, 1.0)), weight=0.01, proposed=0.01)
    silent = replace(silent, rules=(RuleTaken("rule_0", 0.0, 0.01), RuleTaken("rule_1", 0.01, 0.01)))
    decisive = compared(side("a", rules=(1.0, 0.0)), silent).decisive
    assert decisive is not None
    assert decisive.name == "rule_1"


def test_the_networks_moving_average_is_a_factor_of_its_own() -> None:
    found = compared(side("a", average=0.5), side("b", average=1.0))
    assert [each.factor.name for each in found.parts] == ["average"]
    assert found.exact


def test_weights_that_no_round_made_begin_with_their_share() -> None:
    a, b = (Side(Hotkey(name), weight, start=weight, proposed=weight) for name, weight in (("a", 0.2), ("b", 0.4)))
    found = compared(a, b)
    assert [each.factor.name for each in found.parts] == ["start"]
    assert found.exact
