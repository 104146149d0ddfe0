"""What told most in a payout comes first, and neither the challenge nor a miner is named by its id."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ingress.pages.round_why import decisive
from loosh_pipeline.domain import ChallengeId, Hotkey
from loosh_pipeline.scoring.explanation import Copy, Explanation, View
from tests.builders import score

MEANING = View("meaning", 0.42, 0.52, 0.5)
COVERAGE = View("coverage", 0.60, 0.55, 0.3)


@pytest.fixture
def found() -> Explanation:
    return Explanation(
        ChallengeId("c"), Hotkey("h-1"), "robust", score("h-1"), None, None, 1.0, 1, 3, gates=(), reason="", share=1.0
    )


@pytest.mark.parametrize(
    ("payout", "said"),
    [
        (0.5, "What told most is meaning: 0.42, 0.10 below the others' average"),
        (1.5, "What told most is coverage: 0.60, 0.05 above the others' average"),
    ],
)
def test_the_view_that_sets_it_apart(found: Explanation, payout: float, said: str) -> None:
    assert decisive(replace(found, payout=payout, views=(MEANING, COVERAGE))).startswith(said)
    assert "much like the average" in decisive(replace(found, payout=payout, views=()))


def test_what_it_is_not_paid_for_and_whom_it_shares_with_go_before(found: Explanation) -> None:
    copy = Copy(Hotkey("other"), 1.0, 0.99, None, same_address=False, same_coldkey=False)
    shares = replace(found, copies=(copy,), share=0.5, views=(MEANING,))
    assert decisive(shares) == "It shares one pay with one copy: 50% of that is its own."
    assert decisive(replace(shares, reason="timeout")) == "It was paid nothing because no answer came in time."
