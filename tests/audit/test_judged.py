"""What copies cost a miner, against rounds of which it is known what independent answers would be paid."""

from __future__ import annotations

import numpy as np
import pytest

from loosh_pipeline.audit.judged import Judged, payouts_apart_from
from loosh_pipeline.scoring.profile import RobustProfile
from loosh_pipeline.scoring.signals import Batch
from loosh_pipeline.scoring.votes import Standing, judge_rounds

PROFILE = RobustProfile()


def judged(n: int, ring: int) -> Judged:
    """A round of n answers, all as like one another, but for the first `ring`: of one source, in the same words."""

    def among(alone: float) -> np.ndarray:
        found = np.full((1, n, n), alone)
        found[:, :ring, :ring] = 1.0
        found[:, np.arange(n), np.arange(n)] = 1.0
        return found

    def each(value: float) -> np.ndarray:
        return np.full((1, n), value)

    batch = Batch(each(120), each(2000), each(0.6), each(0.2), among(0.55), among(0.6), among(0.3))
    standing = Standing(among(0.0), each(1.0), each(PROFILE.relevance_gate))
    verdicts = judge_rounds(batch, PROFILE, standing)
    places = np.arange(n)[np.newaxis]
    return Judged(places, places, np.array([0]), batch, batch.meaning, standing, verdicts)


@pytest.mark.parametrize(("n", "ring"), [(7, 2), (7, 3), (7, 6), (7, 7), (3, 2), (40, 25)])
def test_an_answer_like_all_others_is_worth_one_without_the_copies_that_it_shares_with(n: int, ring: int) -> None:
    found = judged(n, ring)
    assert found.verdicts.payout[0, 0] == pytest.approx(1 / ring)
    every = payouts_apart_from(found, PROFILE, np.arange(1, ring))
    one = payouts_apart_from(found, PROFILE, np.array([1]))
    assert every[0] == pytest.approx(1.0)
    assert one[0] == pytest.approx(1 / (ring - 1))
    assert judged(n, 1).verdicts.payout[0] == pytest.approx(np.ones(n))


def test_it_costs_nothing_to_share_with_nobody() -> None:
    found = judged(7, 3)
    for others in (np.array([4]), np.zeros(0, dtype=np.int64)):
        assert payouts_apart_from(found, PROFILE, others)[0] == found.verdicts.payout[0, 0]
