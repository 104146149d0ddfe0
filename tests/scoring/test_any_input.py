"""Whatever comes in is scored or refused by name, and the round goes on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from loosh_pipeline.domain import Hotkey, Outcome
from loosh_pipeline.scoring.context import ScoringContext
from loosh_pipeline.scoring.network.round import texts_to_embed
from loosh_pipeline.scoring.profile import RobustProfile
from loosh_pipeline.scoring.result import RoundScores
from loosh_pipeline.scoring.robust import score_round
from loosh_pipeline.scoring.round import Round, RoundResponse
from loosh_pipeline.scoring.vectors import unit_rows
from loosh_pipeline.scoring.window import settle
from tests.scoring.rounds import examples, round_of

PROFILE = RobustProfile()

any_float = st.floats(width=64)
any_rows = arrays.arrays(float, st.tuples(st.integers(0, 3), st.just(3)), elements=any_float)
some_rows = arrays.arrays(float, (1, 3), elements=st.floats(-1, 1))
some_text = st.sampled_from(
    ["", " ", "The air scatters blue light.", "One. Two three four! Five six seven.", "\ud800 \x00 の"]
)
any_text = st.one_of(some_text, st.text(st.characters(), max_size=40))
any_time = st.one_of(st.none(), any_float, st.floats(0, 1e4))
any_response = st.builds(
    RoundResponse,
    hotkey=st.integers(0, 10**9).map(lambda number: Hotkey(f"hk-{number}")),
    outcome=st.sampled_from([Outcome.ANSWERED] * 5 + list(Outcome)),
    text=any_text,
    elapsed_ms=any_time,
    chunks=st.one_of(any_rows, some_rows),
    sentences=st.one_of(any_rows, some_rows),
    uid=st.integers(0, 255),
    total_ms=any_time,
    ip=st.sampled_from(["", "1.1.1.1", "1.1.1.2"]),
    coldkey=st.sampled_from(["", "cold"]),
)
any_responses = st.lists(any_response, max_size=7, unique_by=lambda response: response.hotkey)
any_context = st.sampled_from([ScoringContext.empty(3), ScoringContext.of(25, {"air": 12}, np.array([0.1, 0.5, -0.3]))])
direction = arrays.arrays(float, 3, elements=any_float).filter(lambda v: bool(np.isfinite(v).all() and v.any()))
REASONS = {"empty", "not_embedded", "embedding_not_finite", "embedding_zero", "elapsed_not_finite", "elapsed_negative"}
REASONS |= {"off_topic", "no_agreement", *(outcome.value for outcome in Outcome if outcome is not Outcome.ANSWERED)}


def assert_sound(result: RoundScores) -> None:
    for row in result.scores:
        assert math.isfinite(row.payout)
        assert row.payout >= 0
        assert row.scored == (row.reason == "")
        assert row.scored or (row.payout == row.share == row.vote_weight == 0 and row.reason in REASONS)
    for pair in result.pairs:
        values = pair.similarity, pair.meaning, pair.coverage, pair.coverage_back, pair.wording, pair.evidence
        assert np.isfinite(values).all()
    for final in settle([result], PROFILE).scores:
        assert all(map(math.isfinite, (final.payout, final.score, final.agreement, final.trust, final.share)))
        assert final.payout >= 0


@examples(120)
@given(any_responses, any_context, st.one_of(st.just(np.eye(3)[0]), direction))
def test_payouts_are_finite_and_refusals_named_whatever_comes_in(
    responses: list[RoundResponse], context: ScoringContext, prompt: Any
) -> None:
    assert_sound(score_round(round_of(*responses, prompt=prompt), context, PROFILE))


@examples(60)
@given(any_responses, st.data())
def test_vectors_that_the_measure_cannot_use_leave_its_replies_out_and_pay_alone(
    responses: list[RoundResponse], data: st.DataObject
) -> None:
    """Unit rows, or rows that are not finite, for every text that is read; whatever the texts and times are."""
    responses = [replace(each, total_ms=None, elapsed_ms=_bounded(each.elapsed_ms)) for each in responses]
    prompt, broken = "Why is the sky blue?", st.sampled_from([math.nan, math.inf, -math.inf])
    vectors = {}
    for text in texts_to_embed(prompt, [response.text for response in responses]):
        row = unit_rows(np.array([[1.0, len(text) % 3, 0.5]]))[0]
        spoilt = text and text != prompt and data.draw(st.sampled_from([False, False, True]))
        vectors[text] = np.full(3, data.draw(broken)) if spoilt else row
    plain = round_of(*responses)
    result = scored_in_three(replace(plain, prompt=prompt, text_vectors=vectors))
    assert_sound(result)
    without = scored_in_three(plain)
    assert [replace(score, measure=None) for score in result.scores] == list(without.scores)


def _bounded(elapsed_ms: float | None) -> float | None:
    return elapsed_ms if elapsed_ms is None or not math.isfinite(elapsed_ms) else min(elapsed_ms, 1e300)


def scored_in_three(round_: Round) -> RoundScores:
    return score_round(round_, ScoringContext.empty(3), PROFILE)


@examples(20)
@given(st.lists(any_responses, min_size=2, max_size=5))
def test_a_window_of_whatever_came_in_settles_to_finite_payouts(window: list[list[RoundResponse]]) -> None:
    asked = [round_of(*responses, challenge_id=f"c-{k}") for k, responses in enumerate(window)]
    few = [replace(each, responses=tuple(_renamed(each.responses))) for each in asked]
    for final in settle([scored_in_three(each) for each in few], PROFILE).scores:
        assert all(map(math.isfinite, (final.payout, final.score, final.agreement, final.trust, final.share)))
        assert final.payout >= 0


def _renamed(responses: Sequence[RoundResponse]) -> list[RoundResponse]:
    """The same identities in every round, so that they have a history."""
    return [replace(response, hotkey=Hotkey(f"hk-{i}")) for i, response in enumerate(responses)]
