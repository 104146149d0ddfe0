"""Figures by hand: who was right how often, and how sure that is."""

from __future__ import annotations

import pytest

from loosh_pipeline.canaries.accuracy import Accuracy, accuracies, judged, wilson
from loosh_pipeline.canaries.questions import rules_of
from loosh_pipeline.domain import Hotkey, Outcome
from tests.builders import response


@pytest.mark.parametrize(
    ("right", "asked", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (5, 10, 0.2366, 0.7634), (81, 263, 0.2553, 0.3662), (0, 0, 0.0, 1.0)],
)
def test_wilsons_interval(right: int, asked: int, low: float, high: float) -> None:
    """The fourth is Newcombe's worked example (1998)."""
    assert wilson(right, asked) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


def test_who_does_not_answer_is_not_right() -> None:
    rules = rules_of([42])
    first = (
        response("a", text="It is 42."),
        response("b", text="41"),
        response("c", outcome=Outcome.TIMEOUT, text="42"),
    )
    second = (response("a", text=""), response("b", text="I cannot help with that."))
    found = accuracies([judged(rules, each) for each in (first, second)])
    assert found == (
        Accuracy(Hotkey("a"), 2, 2, 1),
        Accuracy(Hotkey("b"), 2, 2, 0),
        Accuracy(Hotkey("c"), 1, 0, 0),
    )
    assert [each.share for each in found] == [0.5, 0.0, 0.0]
    assert accuracies([]) == ()


def test_a_round_in_which_nobody_answered_says_nothing() -> None:
    """A network that was down, or a question that cannot be answered."""
    silent = (response("a", outcome=Outcome.TIMEOUT, text=""), response("b", outcome=Outcome.TIMEOUT, text=""))
    assert accuracies([judged(rules_of([42]), silent)]) == ()
