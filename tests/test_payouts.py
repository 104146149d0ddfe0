"""What a lookback pays, in columns from the stored rows on."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

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
from loosh_pipeline.store.score_tables import WindowRows
from tests.builders import NOON, measure, neutral_round, round_scores, score, window_rows
from tests.scoring.rounds import DIM, Said, drawn_round

PROFILE = RobustProfile()


def drawn_rounds(count: int = 6) -> list[RoundScores]:
    said = [Said(80, 0.1, 0.0), Said(60, 0.2, 0.0), Said(70, 0.4, 0.0), Said(80, 0.1, 1.0)]
    rounds = [drawn_round(k, said[: 2 + k % 3], f"c-{k}") for k in range(count)]
    return [score_round(each, ScoringContext.empty(DIM), PROFILE) for each in rounds]


def test_rows_are_settled_to_the_bits_of_objects() -> None:
    rounds = drawn_rounds()
    found = payouts_of(window_rows(*rounds), PROFILE)
    settlement = settle(rounds, PROFILE)
    assert found.settled is not None
    rows = (SettledScore(**{**row, "sources": tuple(row["sources"])}) for row in found.settled.iter_rows(named=True))
    assert repr(tuple(rows)) == repr(settlement.scores)
    assert any(each.sources for each in settlement.scores)
    assert found.sources == {pair: each for pair, each in settlement.pairs.items() if each.degree > 0}
    assert found.rounds == {rounds[0].scorer_version: 6}
    paid = {(row["challenge_id"], row["hotkey"]): row["payout"] for row in found.paid.iter_rows(named=True)}
    assert paid == {(each.challenge_id, each.hotkey): each.payout for each in settlement.scores}


def test_the_order_of_stored_rows_changes_no_bit() -> None:
    rows = window_rows(*drawn_rounds())
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
    found = payouts_of(window_rows(first, second), PROFILE)
    later = NOON + timedelta(minutes=1)
    assert found.paid.rows() == [
        ("c-0", "a", later, True, False, pytest.approx(1.0)),
        ("c-1", "a", NOON, True, False, 0.0),
        ("c-1", "b", NOON, True, False, pytest.approx(1.0)),
        ("c-1", "c", NOON, False, False, 0.0),
    ]
    assert found.rounds == {"v1": 1, "v2": 1}
    assert found.unpaid.rows() == [("a", "off_topic", 1), ("c", "timeout", 1)]


def test_the_network_pays_what_each_round_says() -> None:
    scores = (score("a", 0.7, measure=measure()), score("b", 0.0, outcome=Outcome.REFUSED))
    found = payouts_of(window_rows(round_scores(scores, profile="network")), NetworkProfile())
    columns = ["hotkey", "answered", "measured", "payout"]
    assert found.paid.select(columns).rows() == [("a", True, True, 0.7), ("b", False, False, 0.0)]
    assert found.settled is None
    assert found.sources == {}


@pytest.mark.parametrize("profile", [PROFILE, NetworkProfile()])
def test_no_round_pays_nobody(profile: RobustProfile | NetworkProfile) -> None:
    found = payouts_of(window_rows(), profile)
    assert (found.paid.height, found.sources, found.rounds) == (0, {}, {})
    assert found.paid.columns == ["challenge_id", "hotkey", "received_at", "answered", "measured", "payout"]


def test_pairs_of_what_has_no_scores_are_refused() -> None:
    rows = window_rows(neutral_round({"a": True, "b": True}))
    foreign = WindowRows(rows.scores, rows.pairs.with_columns(challenge_id=pl.lit("stranger")))
    with pytest.raises(StoreError, match="pair_evidence names challenge stranger, which has no scores"):
        payouts_of(foreign, PROFILE)


OF_C_5 = pl.col("challenge_id") == "c-5"
FIRST = pl.int_range(pl.len()).over("challenge_id") == 0


@pytest.mark.parametrize(
    "spoil",
    [
        lambda pairs: pairs.filter(~OF_C_5),
        lambda pairs: pairs.filter(~(OF_C_5 & FIRST)),
        lambda pairs: pl.concat([pairs, pairs.filter(OF_C_5)]),
        lambda pairs: pl.concat([pairs.filter(~(OF_C_5 & FIRST)), pairs.filter(OF_C_5 & ~FIRST).head(1)]),
        lambda pairs: pairs.with_columns(first=pl.when(OF_C_5).then(pl.lit("stranger")).otherwise("first")),
        lambda pairs: pairs.with_columns(wording=pl.when(~OF_C_5).then("wording")),
    ],
    ids=["no pairs", "one missing", "all twice", "one twice and one missing", "of a stranger", "without a figure"],
)
def test_a_round_without_exactly_its_pairs_is_left_out_and_named(spoil: Any) -> None:
    """A lost file of pairs would otherwise pay every copy in full, and without a word."""
    rounds = drawn_rounds()
    rows = window_rows(*rounds)
    found, others = payouts_of(WindowRows(rows.scores, spoil(rows.pairs)), PROFILE), payouts_of(rows, PROFILE)
    assert others.left_out == ()
    assert found.left_out == ("c-5",)
    expected = payouts_of(window_rows(*rounds[:5]), PROFILE)
    assert expected.settled is not None
    assert found.settled is not None
    assert found.paid.equals(expected.paid)
    assert found.settled.equals(expected.settled)
    assert repr(found.sources) == repr(expected.sources)
    assert found.rounds == expected.rounds == {rounds[0].scorer_version: 5}


def test_without_any_pairs_nobody_is_paid_and_every_round_is_named() -> None:
    rows = window_rows(*drawn_rounds(), round_scores((score("a"),), challenge_id=ChallengeId("c-alone")))
    found = payouts_of(WindowRows(rows.scores, rows.pairs.clear()), PROFILE)
    assert found.left_out == tuple(f"c-{k}" for k in range(6))
    assert found.paid["challenge_id"].to_list() == ["c-alone"], "an answer by itself has no pairs"


def test_what_the_network_pays_takes_no_pairs() -> None:
    rows = window_rows(*drawn_rounds())
    without = payouts_of(WindowRows(rows.scores, rows.pairs.clear()), NetworkProfile())
    assert without.paid.equals(payouts_of(rows, NetworkProfile()).paid)
    assert without.left_out == ()


def test_why_an_answer_was_paid_nothing_is_as_it_was_settled() -> None:
    """Of the votes where there are any; the network's method says of a round only that it paid nothing."""
    alone = neutral_round({"a": True, "b": False}, challenge_id=ChallengeId("c-1"))
    assert payouts_of(window_rows(alone), PROFILE).unpaid.rows() == [("b", "off_topic", 1)]
    scores = (score("a", 0.7, measure=measure()), score("b", 0.0, measure=measure()))
    found = payouts_of(window_rows(round_scores(scores, profile="network")), NetworkProfile())
    assert found.unpaid.rows() == [("b", "worth_nothing", 1)]
