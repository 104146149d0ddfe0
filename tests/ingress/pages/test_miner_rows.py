"""How the table of miners is sorted and filtered."""

from __future__ import annotations

import pytest
from fastapi import HTTPException

from ingress.pages.filters import points
from ingress.pages.miner_rows import COLUMNS, ORDERS, Asked, MinerRow, headings
from ingress.pages.sparks import spark
from loosh_pipeline.audit.miners import MinerLine
from loosh_pipeline.domain import Emission, Hotkey, RuleAct
from loosh_pipeline.policy.sybil import SYBIL


def row(
    hotkey: str, uid: int | None, weight: float, asked: int | None = 10, *, group: str = "", before: float = 0.0
) -> MinerRow:
    earned = None if asked is None else Emission(Hotkey(hotkey), asked, asked // 2, asked // 2, weight, weight, weight)
    return MinerRow(MinerLine(Hotkey(hotkey), uid, weight, earned, (), "", group=group), (before, weight))


ROWS = [
    row("b", 2, 0.1, 4),
    row("a", 11, 0.5, 9, group="A"),
    row("c", None, 0.0, None),
    row("ab", 1, 0.4, 6, before=0.9),
]


def names(**asked: str) -> list[str]:
    given = {"sort": "", "order": "", "show": "", "q": ""} | asked
    return [each.line.hotkey for each in Asked.of(**given).rows(ROWS)]


def test_the_largest_weight_comes_first_unless_something_else_is_asked_for() -> None:
    assert names() == ["a", "ab", "b", "c"]
    assert names(order="asc") == ["c", "b", "ab", "a"]
    assert names(sort="uid") == ["ab", "b", "a", "c"], "who has none is last"
    assert names(sort="uid", order="desc") == ["a", "b", "ab", "c"]
    assert names(sort="hotkey") == ["a", "ab", "b", "c"]
    assert names(sort="trend", order="asc")[0] == "ab"


@pytest.mark.parametrize("sort", COLUMNS)
@pytest.mark.parametrize("order", ORDERS)
def test_every_column_sorts_both_ways(sort: str, order: str) -> None:
    assert sorted(names(sort=sort, order=order)) == ["a", "ab", "b", "c"]


def test_filters() -> None:
    assert names(q="a") == ["a", "ab"]
    assert names(q="11") == ["a"]
    assert names(q="<script>") == []
    assert names(show="weight") == ["a", "ab", "b"]
    assert names(show="flagged") == ["a"]
    assert names(show="not_asked") == ["c"]


def test_who_was_penalised_is_flagged_and_who_was_spared_is_not() -> None:
    for after, flagged in ((0.1, True), (0.5, False)):
        act = RuleAct(SYBIL, Hotkey("a"), 0.5, after, "suspected")
        assert MinerLine(Hotkey("a"), 1, 0.1, None, (act,), "").flagged is flagged


@pytest.mark.parametrize(("name", "value"), [("sort", "colour"), ("order", "up"), ("show", "<script>")])
def test_what_there_is_not_is_told_with_what_there_is(name: str, value: str) -> None:
    with pytest.raises(HTTPException, match=f"there is no {name}=") as told:
        names(**{name: value})
    assert told.value.status_code == 422
    assert "possible are" in told.value.detail


def test_a_heading_turns_the_order_of_its_own_column_and_keeps_what_is_filtered() -> None:
    asked = Asked.of("weight", "desc", "flagged", "5G")
    found = {each.name: each for each in headings(asked, 7)}
    assert found["weight"].query == "epoch=7&show=flagged&q=5G&sort=weight&order=asc"
    assert found["weight"].sorted_ == "descending"
    assert found["uid"].query.endswith("sort=uid&order=asc")
    assert found["uid"].sorted_ == ""


def test_a_line_goes_from_nothing_at_the_bottom_to_the_most_at_the_top() -> None:
    assert spark([0.0, 0.5, 1.0]) == "M0 13 4 7 8 1"
    assert spark([0.0, 0.0]) == "M0 13 4 13"
    assert spark([]) == ""


@pytest.mark.parametrize(("change", "said"), [(0.0125, "+1.25"), (-0.003, "−0.30"), (-1e-9, "0"), (None, "–")])
def test_points(change: float | None, said: str) -> None:
    assert points(change) == said
