"""What rules did to one miner: who gained by it, and why one has no weight."""

from __future__ import annotations

import math

import pytest

from loosh_pipeline.audit.receipt import RuleSaid
from loosh_pipeline.audit.rules_said import rules_said, why_not_asked
from loosh_pipeline.domain import Hotkey
from loosh_pipeline.policy.inputs import Inputs
from loosh_pipeline.policy.propose import traced
from tests.policy.cases import inputs

EARNED = {"a": 30.0, "b": 25.0, "c": 20.0, "d": 10.0, "e": 8.0, "f": 7.0}


def said(given: Inputs, rule: str) -> dict[Hotkey, RuleSaid]:
    """What a rule did, by whom it moved."""
    found = traced(given)
    every = {Hotkey(miner): rules_said(found, given, Hotkey(miner)) for miner in EARNED}
    return {miner: each for miner, rules in every.items() for each in rules if each.rule == rule}


def test_what_several_lost_is_put_down_to_each_by_what_it_lost() -> None:
    capped = said(inputs(EARNED, rules={"max_share": 0.22}), "max_share")
    struck = {miner: each for miner, each in capped.items() if each.change < 0}
    assert len(struck) == 2
    for each in capped.values():
        assert math.fsum(other.part for other in each.others) == pytest.approx(-each.change)
        assert each.moved == pytest.approx(math.fsum(-one.change for one in struck.values()))
    for gained in (other.hotkey for other in struck[Hotkey("a")].others):
        parts = [other.part for each in struck.values() for other in each.others if other.hotkey == gained]
        assert math.fsum(parts) == pytest.approx(capped[gained].change)
        assert {other.hotkey for other in capped[gained].others} == struck.keys()
    assert struck[Hotkey("a")].change < struck[Hotkey("b")].change


@pytest.mark.parametrize(
    ("there", "why"),
    [
        ((0, 3), "it was not there in any of 3 looks"),
        ((0, 1), "it was not there in the one look there was"),
        ((2, 3), "though there in 2 of 3 looks: it was not drawn"),
        (None, "it was not drawn, or was not there"),
    ],
)
def test_who_was_never_asked_is_told_whether_it_was_there(there: tuple[int, int] | None, why: str) -> None:
    assert why in why_not_asked(Hotkey("a"), Hotkey("own"), None, None, there)
