"""What a lookback pays, in columns from the stored rows on."""

from __future__ import annotations

from datetime import timedelta

import polars as pl
import pytest

from loosh_pipeline.domain import ChallengeId, Outcome
from loosh_pipeline.errors import StoreError
from loosh_pipeline.payouts import payouts_of
from loosh_pipeline.scoring.context import ScoringContext
from loosh_pipeline.scoring.network.profile import NetworkProfile
from loosh_pipeline.scoring.profile import RobustProfile
from loosh_pipeline.scoring.result import RoundScores
from loosh_pipeline.scoring.robust import score_round
from loosh_pipeline.scoring.window import SettledScore, settle
from loosh_pipeline.store.score_tables import Window, WindowRows
from tests.builders import NOON, measure, neutral_round, round_scores, score
from tests.scoring.rounds import DIM, Said, drawn_round

PROFILE = RobustProfile()


def window_of(*rounds: RoundScores) -> Window:
    return Window(rounds, {each.challenge_id: NOON + timedelta(minutes=i) for i, each in enumerate(rounds)})


def drawn_window(count: int = 6) -> Window:
    said = [Said(80, 0.1, 0.0), Said(60, 0.2, 0.0), Said(70, 0.4, 0.0), Said(80, 0.1, 1.0)]
    rounds = [drawn_round(k, said[: 2 + k % 3], f"c-{k}") for k in range(count)]
    return window_of(*(score_round(each, ScoringContext.empty(DIM), PROFILE) for each in rounds))


def test_rows_are_settled_to_the_bits_of_objects() -> None:
    window = drawn_window()
    found = payouts_of(WindowRows.of(window), PROFILE)
    settlement = settle(window.rounds, PROFILE)
    assert found.settled is not None
    rows = (SettledScore(**{**row, "sources": tuple(row["sources"])}) for row in found.settled.iter_rows(named=True))
    assert repr(tuple(rows)) == repr(settlement.scores)
    assert any(each.sources for each in settlement.scores)
    assert found.sources == {pair: each for pair, each in settlement.pairs.items() if each.degree > 0}
    assert found.rounds == {window.rounds[0].scorer_version: 6}
    paid = {(row["challenge_id"], row["hotkey"]): row["payout"] for row in found.paid.iter_rows(named=True)}
    assert paid == {(each.challenge_id, each.hotkey): each.payout for each in settlement.scores}


def test_the_order_of_stored_rows_changes_no_bit() -> None:
    rows = WindowRows.of(drawn_window())
    shuffled = WindowRows(
        rows.scores.sample(fraction=1, shuffle=True, seed=1), rows.pairs.sample(fraction=1, shuffle=True, seed=2)
    )
    one, two = payouts_of(rows, PROFILE), payouts_of(shuffled, PROFILE)
    assert one.settled is not None
    assert two.settled is not None
    assert one.paid.equals(two.paid)
    assert one.settled.equals(two.settled)
    assert repr(one.sources) == repr(two.sources)


def test_w_16_whoever_was_asked_is_paid_or_has_zero() -> None:
    first = neutral_round({"b": True, "a": False, "c": Outcome.TIMEOUT}, challenge_id=ChallengeId("c-1"))
    second = neutral_round({"a": True}, challenge_id=ChallengeId("c-0"), scorer_version="v2")
    found = payouts_of(WindowRows.of(window_of(first, second)), PROFILE)
    later = NOON + timedelta(minutes=1)
    assert found.paid.rows() == [
        ("c-0", "a", later, True, False, pytest.approx(1.0)),
        ("c-1", "a", NOON, True, False, 0.0),
        ("c-1", "b", NOON, True, False, pytest.approx(1.0)),
        ("c-1", "c", NOON, False, False, 0.0),
    ]
    assert found.rounds == {"v1": 1, "v2": 1}


def test_the_network_pays_what_each_round_says() -> None:
    scores = (score("a", 0.7, measure=measure()), score("b", 0.0, outcome=Outcome.REFUSED))
    found = payouts_of(WindowRows.of(window_of(round_scores(scores, profile="network"))), NetworkProfile())
    columns = ["hotkey", "answered", "measured", "payout"]
    assert found.paid.select(columns).rows() == [("a", True, True, 0.7), ("b", False, False, 0.0)]
    assert found.settled is None
    assert found.sources == {}


@pytest.mark.parametrize("profile", [PROFILE, NetworkProfile()])
def test_no_round_pays_nobody(profile: RobustProfile | NetworkProfile) -> None:
    found = payouts_of(WindowRows.of(Window((), {})), profile)
    assert (found.paid.height, found.sources, found.rounds) == (0, {}, {})
    assert found.paid.columns == ["challenge_id", "hotkey", "received_at", "answered", "measured", "payout"]


@pytest.mark.parametrize("column", ["challenge_id", "second"])
def test_pairs_of_what_has_no_scores_are_refused(column: str) -> None:
    rows = WindowRows.of(window_of(neutral_round({"a": True, "b": True})))
    foreign = WindowRows(rows.scores, rows.pairs.with_columns(pl.lit("stranger").alias(column)))
    with pytest.raises(StoreError, match="pair_evidence names stranger in a round without scores of it"):
        payouts_of(foreign, PROFILE)
