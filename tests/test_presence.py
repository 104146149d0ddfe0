"""How much of the time a miner was there."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loosh_pipeline.presence import PRIOR_LOOKS, Looks, attendance_of, coverage_of, there_of
from loosh_pipeline.store.looks import LOOKS, looks_of
from tests.builders import NOON

UNHURRIED = settings(deadline=None, max_examples=80)

FOR_EVER_H = 1e9


def looks(*found: dict[str, bool], every_min: float = 2.0) -> Looks:
    """Looks one after the other, the last at noon; who is missing from one had no address then."""
    rows = [
        (NOON - timedelta(minutes=every_min * (len(found) - 1 - i)), hotkey, there)
        for i, look in enumerate(found)
        for hotkey, there in look.items()
    ]
    return looks_of(pl.DataFrame(rows, schema=LOOKS, orient="row"))


def test_being_there_one_minute_in_ten_is_a_tenth() -> None:
    day = [{"always": True, "seldom": i % 10 == 0} for i in range(720)]
    found = coverage_of(looks(*day), 12.0)
    assert found["always"] == 1.0
    assert found["seldom"] == pytest.approx(0.1, abs=0.005)


def test_a_newcomer_is_measured_from_its_first_look_and_who_vanished_was_not_there() -> None:
    found = coverage_of(
        looks({"old": True, "gone": True}, {"old": True}, {"old": True, "new": True}, {"old": True, "new": True}),
        FOR_EVER_H,
    )
    assert found == pytest.approx({"old": 1.0, "new": 1.0, "gone": (PRIOR_LOOKS + 1) / (PRIOR_LOOKS + 4)})


def test_a_look_that_found_nobody_says_nothing_about_miners() -> None:
    cut_off = [{"a": True, "b": True}, {"a": False, "b": False}, {"a": False, "b": False}, {"a": True, "b": True}]
    assert coverage_of(looks(*cut_off), 12.0) == {"a": 1.0, "b": 1.0}


def test_a_partial_outage_of_our_own_fines_nobody() -> None:
    """Only a neighbour, on the same network as this validator, was in reach for a third of the time."""
    reach = [{name: i % 3 != 0 or name == "neighbour" for name in ("a", "b", "neighbour")} for i in range(30)]
    assert coverage_of(looks(*reach), 12.0) == {"a": 1.0, "b": 1.0, "neighbour": 1.0}


def test_half_of_the_usual_number_is_a_look_like_others() -> None:
    found = coverage_of(looks(*[{"a": True, "b": True}] * 3, {"a": True, "b": False}), FOR_EVER_H)
    assert found == pytest.approx({"a": 1.0, "b": (PRIOR_LOOKS + 3) / (PRIOR_LOOKS + 4)})


def test_one_lost_packet_right_after_the_start_costs_half_and_not_all() -> None:
    assert coverage_of(looks({"a": True, "b": False}), 12.0) == {"a": 1.0, "b": 0.5}


def test_all_at_once_are_counted_as_each_alone() -> None:
    taken = looks({"a": True, "b": True}, {"a": False, "b": True, "c": True}, {"b": True, "c": False}, {"a": False})
    alone = {hotkey: attendance_of(taken, hotkey) for hotkey in taken.hotkeys}
    assert there_of(taken) == {h: (each.there, each.looks) for h, each in alone.items() if each is not None}
    assert there_of(taken)["c"] == (1, 2)
    assert there_of(looks()) == {}


def test_without_looks_nobody_is_judged() -> None:
    assert coverage_of(looks(), 12.0) == {}
    assert coverage_of(looks({"a": False}), 12.0) == {}


def test_lately_counts_more() -> None:
    first, last = ([{"a": True, "b": i < 50} for i in range(100)], [{"a": True, "b": i >= 50} for i in range(100)])
    before, after = (coverage_of(looks(*found, every_min=10.0), 4.0)["b"] for found in (first, last))
    assert before < 0.3 < 0.7 < after


@UNHURRIED
@given(
    st.lists(st.dictionaries(st.sampled_from("abcd"), st.booleans()), max_size=12),
    st.randoms(use_true_random=False),
)
def test_the_order_of_rows_changes_no_bit(found: list[dict[str, bool]], random: Any) -> None:
    rows = looks(*found)
    order = list(range(len(rows.miner)))
    random.shuffle(order)
    coverage = coverage_of(rows, 12.0)
    shuffled = {name: getattr(rows, name)[order] for name in ("miner", "at_ms", "available")}
    assert coverage_of(replace(rows, **shuffled), 12.0) == coverage
    assert all(0 < share <= 1 for share in coverage.values())
