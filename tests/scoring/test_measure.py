"""The network's method as a measure beside the pay: what it is taken of, and what it never stops."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from loosh_pipeline.domain import Outcome
from loosh_pipeline.scoring.context import ScoringContext
from loosh_pipeline.scoring.measure import network_measure, network_round
from loosh_pipeline.scoring.network.round import texts_to_embed
from loosh_pipeline.scoring.result import Measure
from loosh_pipeline.scoring.robust import score_round
from loosh_pipeline.scoring.round import Round, RoundResponse
from loosh_pipeline.scoring.vectors import unit_rows
from tests.scoring.rounds import PLAIN, failure, reply, round_of

PROMPT = "Why is the sky blue?"
SKY = "Air scatters blue light far more than red light. The sky is blue because of the light that air scatters."
WAVES = "Short waves are scattered most by the air. Blue light has short waves, so the sky looks blue."
EYES = "The sky is blue since our eyes see blue light better than violet light. Air scatters both of them."


def embedded(*responses: RoundResponse, prompt: str = PROMPT) -> Round:
    """The round with a vector near the question for every text that is read, the same in every run."""
    texts = texts_to_embed(prompt, [r.text for r in responses if r.outcome in (Outcome.ANSWERED, Outcome.EMPTY)])
    vectors = {text: unit_rows(np.array([[1.0, 0.3, 0.01 * len(text) % 0.3]]))[0] for text in texts}
    return replace(round_of(*responses), prompt=prompt, text_vectors=vectors)


def three() -> tuple[RoundResponse, ...]:
    texts = {"a": SKY, "b": WAVES, "c": EYES}
    return tuple(
        reply(h, text, [0.6, 0.8, 0], uid=i, elapsed_ms=1000.0 * (i + 1)) for i, (h, text) in enumerate(texts.items())
    )


def with_vector(round_: Round, text: str, vector: Any) -> Round:
    return replace(round_, text_vectors={**round_.text_vectors, text: vector})


def test_every_reply_is_measured_and_the_round_too() -> None:
    measure, rows = network_measure(embedded(*three()))
    assert measure is not None
    assert measure.consensus_score == pytest.approx(measure.consensus_mean + measure.consensus_spread)
    assert set(rows) == {"a", "b", "c"}
    for row in rows.values():
        assert row.quality is not None
        assert row.quality_margin == pytest.approx(row.quality - row.quality_threshold)
        assert row.in_consensus == (row.removed_by == "")
    assert rows["a"].emission > rows["b"].emission > rows["c"].emission > 0  # by speed, all else being near equal


def test_the_measure_stands_in_the_rows_whatever_they_are_paid() -> None:
    off_topic = reply("x", "Trains run on rails of steel.", [0.1, 0.9, 0.2], elapsed_ms=1.0)
    round_ = embedded(*three(), off_topic, failure("t", Outcome.TIMEOUT))
    result, (measure, rows) = score_round(round_, ScoringContext.empty(3), PLAIN), network_measure(round_)
    assert result.measure == measure
    assert {score.hotkey: score.measure for score in result.scores} == {**rows, "t": None}
    assert next(s for s in result.scores if s.hotkey == "x").payout == 0.0
    assert isinstance(rows["x"], Measure)


@pytest.mark.parametrize("lacking", [{"text_vectors": {}}, {"prompt": ""}, {"prompt": " \n"}])
def test_without_what_the_method_reads_no_measure_is_taken_and_the_round_is_scored(lacking: dict[str, Any]) -> None:
    round_ = replace(embedded(*three()), **lacking)
    assert network_measure(round_) == (None, {})
    result = score_round(round_, ScoringContext.empty(3), PLAIN)
    assert result.measure is None
    assert all(score.scored and score.measure is None for score in result.scores)


LEFT_OUT: dict[str, Callable[[], RoundResponse]] = {
    "timed out": lambda: failure("x", Outcome.TIMEOUT),
    "no time": lambda: reply("x", "Blue is a colour.", [0.6, 0.8, 0], elapsed_ms=None),
    "time not finite": lambda: reply("x", "Blue is a colour.", [0.6, 0.8, 0], elapsed_ms=math.nan),
    "endless": lambda: reply("x", "Blue is a colour.", [0.6, 0.8, 0], elapsed_ms=math.inf),
    "negative time": lambda: reply("x", "Blue is a colour.", [0.6, 0.8, 0], elapsed_ms=-1.0),
    "whole time not finite": lambda: reply("x", "Blue is a colour.", [0.6, 0.8, 0], total_ms=math.nan),
}


@pytest.mark.parametrize("why", LEFT_OUT)
def test_a_reply_without_a_usable_time_is_left_out_as_if_it_had_not_come(why: str) -> None:
    measure, rows = network_measure(embedded(*three(), LEFT_OUT[why]()))
    assert (measure, rows) == network_measure(embedded(*three()))


@pytest.mark.parametrize("vector", [[math.nan, 0, 0], [0, math.inf, 0], None])
@pytest.mark.parametrize("part", ["whole", "sentence"])
def test_a_reply_of_which_a_vector_cannot_be_used_is_left_out(part: str, vector: list[float] | None) -> None:
    first, second = "Blue light is everywhere.", "Nobody knows why that is."
    extra = reply("x", f"{first} {second}", [0.6, 0.8, 0])
    round_ = embedded(*three(), extra)
    text = extra.text if part == "whole" else second
    assert text in round_.text_vectors
    kept = {key: row for key, row in round_.text_vectors.items() if key != text or vector is not None}
    broken = replace(round_, text_vectors=kept if vector is None else {**kept, text: np.array(vector)})
    assert network_measure(broken) == network_measure(embedded(*three()))
    result = score_round(broken, ScoringContext.empty(3), PLAIN)
    assert {s.hotkey for s in result.scores if s.measure is None} == {"x"}
    assert all(score.payout > 0 for score in result.scores)


def test_times_that_are_all_zero_leave_the_round_without_a_measure_but_not_without_scores() -> None:
    round_ = embedded(*(replace(each, elapsed_ms=0.0) for each in three()))
    assert network_measure(round_) == (None, {})
    result = score_round(round_, ScoringContext.empty(3), PLAIN)
    assert (result.measure, [score.scored for score in result.scores]) == (None, [True] * 3)


def test_a_lone_reply_needs_no_time() -> None:
    measure, rows = network_measure(embedded(replace(three()[0], elapsed_ms=0.0)))
    assert measure is not None
    assert (measure.consensus_score, rows["a"].emission, rows["a"].quality) == (1.0, 1.0, None)


def test_nobody_replied() -> None:
    measure, rows = network_measure(embedded(failure("a", Outcome.TIMEOUT)))
    assert measure is not None
    assert (measure.consensus_score, measure.consensus_reached, rows) == (0.0, False, {})


def test_replies_are_in_order_of_arrival_then_uid_then_hotkey() -> None:
    def at(hotkey: str, uid: int, total_ms: float | None, elapsed_ms: float) -> RoundResponse:
        return reply(hotkey, SKY, [0.6, 0.8, 0], uid=uid, total_ms=total_ms, elapsed_ms=elapsed_ms)

    came = [at("d", 4, 50, 10), at("c", 3, None, 20), at("b", 2, 20, 19), at("e", 1, 90, 5), at("a", 2, 20, 20)]
    for responses in (came, came[::-1]):
        seen = network_round(embedded(*responses))
        assert [one.hotkey for one in seen.replies] == ["a", "b", "c", "d", "e"]
        assert [one.response_time_ms for one in seen.replies] == [20, 20, 20, 50, 90]


def test_owners_are_known_of_who_gives_an_address_or_a_coldkey() -> None:
    a, b, c = three()
    places = replace(a, ip="1.1.1.1", coldkey="k"), replace(b, ip="1.1.1.1"), c
    round_ = embedded(*places)
    assert set(network_round(round_).nodes) == {"a", "b"}
    _, rows = network_measure(round_)
    assert [rows[h].entity_weight for h in "abc"] == [0.5, 0.5, 1.0]
    assert {row.entity_weight for row in network_measure(embedded(a, b, c))[1].values()} == {None}


def test_an_empty_reply_is_one_to_the_method_and_unpaid_by_the_robust_scorer() -> None:
    empty = replace(failure("x", Outcome.EMPTY), elapsed_ms=100.0)
    round_ = embedded(*three(), empty)
    result = score_round(round_, ScoringContext.empty(3), PLAIN)
    row = next(score for score in result.scores if score.hotkey == "x")
    assert (row.reason, row.payout) == ("empty", 0.0)
    assert row.measure is not None
    assert row.measure.emission > 0  # the method pays for time, whatever was said in it


def broken_rounds() -> dict[str, Round]:
    whole = embedded(*three())
    empty = embedded(*three(), replace(failure("x", Outcome.EMPTY), elapsed_ms=100.0))
    return {
        "prompt not embedded": replace(
            whole, text_vectors={t: v for t, v in whole.text_vectors.items() if t != PROMPT}
        ),
        "prompt not finite": with_vector(whole, PROMPT, np.full(3, math.nan)),
        "empty text not embedded": replace(empty, text_vectors={t: v for t, v in empty.text_vectors.items() if t}),
        "empty text not finite": with_vector(empty, "", np.full(3, math.nan)),
        "times beyond any sum": embedded(*(replace(each, elapsed_ms=1e308) for each in three())),
    }


@pytest.mark.parametrize("what", broken_rounds())
def test_nothing_the_method_cannot_read_stops_a_round(what: str) -> None:
    result = score_round(broken_rounds()[what], ScoringContext.empty(3), PLAIN)
    assert {score.hotkey: score.payout > 0 for score in result.scores} | {"x": False} == {
        "a": True, "b": True, "c": True, "x": False
    }  # fmt: skip
