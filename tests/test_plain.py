"""Records in plain JSON: the same value comes back, and what is of another kind is named."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loosh_pipeline.domain import Block, Hotkey, Mode, Uid, WeightPlan
from loosh_pipeline.emissions import EmissionRule, Terms
from loosh_pipeline.plain import at_said, plain, said_at, typed
from loosh_pipeline.policy.inputs import Inputs, LastVector, Presence
from tests.builders import NOON
from tests.policy.cases import earned, inputs

WHOLE = replace(
    inputs({"a": 0.75, "b": 0.25}),
    last=LastVector(NOON, {Hotkey("a"): 1.0}, rounds=7, basis="lookback"),
    known=frozenset(map(Hotkey, "ab")),
    answered_at={Hotkey("a"): "1.2.3.4"},
    presence={Hotkey("a"): Presence(0.1 + 0.2, 3)},
    earned=earned({}, at=NOON, rounds=3),
)
TERMS = Terms("robust", {"power": 6.0}, NOON, NOON, 24.0, Mode.NORMAL, EmissionRule(), 3)


PLAN = WeightPlan(78, Block(100), {Uid(10): 0.75, Uid(2): 0.25}, {Uid(10): Hotkey("a"), Uid(2): Hotkey("b")}, 0)


@dataclass(frozen=True)
class One:
    number: float
    at: datetime | None = None


@pytest.mark.parametrize("value", [WHOLE, TERMS, PLAN, One(1.0), One(-0.0, NOON)], ids=lambda each: type(each).__name__)
def test_a_value_comes_back_as_it_was(value: Any) -> None:
    said = json.dumps(plain(value), allow_nan=False)
    assert typed(type(value), json.loads(said)) == value


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_comes_back_bit_for_bit(number: float) -> None:
    found = typed(One, json.loads(json.dumps(plain(One(number))))).number
    assert (found, math.copysign(1, found)) == (number, math.copysign(1, number))


@given(st.datetimes(timezones=st.timezones()))
def test_a_time_comes_back_to_the_microsecond(at: datetime) -> None:
    try:
        said = said_at(at)
    except OverflowError:  # within a day of the first or the last of all
        return
    assert at_said(said) == at.astimezone(UTC)


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        ({}, "One lacks number"),
        ({"number": "1"}, "One.number is '1'; expected float"),
        ({"number": True}, "One.number is 'True'; expected float"),
        ({"number": 1.0, "more": 2}, "One has no more"),
        ({"number": 1.0, "at": "2026-01-01T00:00:00"}, "One.at: .* does not say its time zone"),
        ([], r"One is '\[\]'; expected dict"),
    ],
)
def test_what_is_of_another_kind_is_named(given_: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        typed(One, given_)


def test_what_is_no_number_is_not_put_on_record() -> None:
    with pytest.raises(ValueError, match="nan is no number"):
        plain(One(math.nan))


def test_inputs_of_a_proposal_are_nothing_but_types_that_come_back() -> None:
    assert typed(Inputs, plain(inputs({}))) == inputs({})


@pytest.mark.parametrize("key", ["01", "1.0", "-1", "", "١", "x", "9" * 5000])
def test_a_key_that_is_no_whole_number_is_refused(key: str) -> None:
    said = plain(PLAN)
    with pytest.raises(ValueError, match=r"whole number|digits"):
        typed(WeightPlan, said | {"weights": {key: 1.0}})
