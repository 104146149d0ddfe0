from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from loosh_pipeline.domain import Outcome
from loosh_pipeline.scoring.context import ScoringContext
from loosh_pipeline.scoring.profile import RobustProfile, scorer_version
from loosh_pipeline.scoring.result import RoundScores, Score
from loosh_pipeline.scoring.robust import ramp, score_round, weighted_median
from loosh_pipeline.scoring.round import Round, RoundResponse
from tests.scoring.rounds import failure, realistic, reply, round_of

PROFILE = RobustProfile()
YOUNG = ScoringContext.empty(3)
BLUE, RED, GREEN = "air scatters blue light", "short waves spread further", "molecules deflect colour sideways"


def scored(round_: Round, context: ScoringContext | None = None, **parameters: float) -> RoundScores:
    return score_round(
        round_, context or ScoringContext.empty(len(round_.prompt_vector)), RobustProfile.from_mapping(parameters)
    )


def by_hotkey(result: RoundScores) -> dict[str, Score]:
    return {score.hotkey: score for score in result.scores}


def payouts(result: RoundScores) -> dict[str, float]:
    return {score.hotkey: score.payout for score in result.scores}


def test_two_independent_answers_by_hand() -> None:
    result = scored(round_of(reply("a", BLUE, [0.6, 0.8, 0]), reply("b", RED, [0.6, 0.8, 0])))
    one = by_hotkey(result)["a"]
    assert one.relevance == pytest.approx(0.6)
    assert one.relevance_margin == pytest.approx(0.3)
    assert one.meaning == pytest.approx(0.64)  # |x − (x·p) p|² = 0.8²
    assert one.coverage == pytest.approx(1.0)
    assert one.wording == 0.0
    assert one.vote_weight == one.votes == pytest.approx(0.36)
    agreement = (0.36 * (0.64 + 1 + 0) / 3 + 0.5 * 0.25) / (0.36 + 0.5)
    assert one.agreement == pytest.approx(agreement)
    assert one.score == pytest.approx(agreement**4)
    assert payouts(result) == pytest.approx({"a": 1.0, "b": 1.0})
    assert result.consensus_score == pytest.approx(1.0)
    assert result.typical_score == pytest.approx(agreement**4)


def test_three_answers_by_hand_pay_the_one_between_most() -> None:
    result = scored(
        round_of(
            reply("a", BLUE, [0.6, 0.8, 0.0]), reply("b", RED, [0.6, 0.64, 0.48]), reply("c", GREEN, [0.6, 0.0, 0.8])
        )
    )
    rows = by_hotkey(result)
    cosine = np.array([[1, 0.872, 0.36], [0.872, 1, 0.744], [0.36, 0.744, 1]])
    assert result.similarity == pytest.approx(cosine)
    assert result.consensus_score == pytest.approx((0.872 + 0.36 + 0.744) / 3)
    # one sentence each: coverage is the cosine, and meaning the cosine less the 0.36 the question accounts for
    views = {"a": (0.872 + 0.36 - 0.36) / 3, "b": (0.872 + 0.744 - 0.36) / 3, "c": (0.36 + 0.744 - 0.36) / 3}
    scores = {h: ((0.72 * v + 0.125) / 1.22) ** 4 for h, v in views.items()}
    typical = sum(scores.values()) / 3
    assert payouts(result) == pytest.approx({h: s / typical for h, s in scores.items()})
    assert max(rows, key=lambda h: rows[h].payout) == "b"


def test_identical_answers_share_one_vote_hear_nobody_and_split_one_pay() -> None:
    text = " ".join(f"word{i}" for i in range(60))
    result = scored(round_of(*(reply(h, text, [0.6, 0.8, 0]) for h in "abcdefg")))
    for score in result.scores:
        assert score.copy_group_size == pytest.approx(7)
        assert score.vote_weight == pytest.approx(0.36 / 7)
        assert (score.votes, score.meaning, score.agreement) == (0.0, None, PROFILE.prior_agreement)
        assert score.copies == tuple(h for h in "abcdefg" if h != score.hotkey)
        assert score.share == score.payout == pytest.approx(1 / 7)


def test_short_answers_may_agree_word_for_word() -> None:
    result = scored(round_of(reply("a", "Paris.", [0.6, 0.8, 0]), reply("b", "Paris.", [0.6, 0.8, 0])))
    assert result.scores[0].share == pytest.approx(1 / (1 + 1 / 50))
    assert result.scores[0].copies == ("b",)


def test_a_lone_answer_earns_one() -> None:
    result = scored(round_of(reply("a", BLUE, [0.6, 0.8, 0]), failure("b", Outcome.TIMEOUT)))
    assert payouts(result) == {"a": pytest.approx(1.0), "b": 0.0}
    assert result.consensus_score is None


@pytest.mark.parametrize("outcome", [o for o in Outcome if o is not Outcome.ANSWERED])
def test_every_failure_is_a_row_with_its_outcome_as_reason(outcome: Outcome) -> None:
    row = by_hotkey(scored(round_of(reply("a", BLUE, [0.6, 0.8, 0]), failure("b", outcome))))["b"]
    assert (row.scored, row.reason, row.payout, row.share, row.vote_weight) == (False, outcome.value, 0.0, 0.0, 0.0)
    assert row.relevance is row.agreement is row.copy_group_size is None


BAD = {
    "empty": reply("x", " …! ", [0.6, 0.8, 0]),
    "off_topic": reply("x", "trains are heavy", [0.2, 0.8, 0.5]),
    "not_embedded": reply("x", GREEN, [0.6, 0.8, 0], chunks=np.zeros((0, 3))),
    "embedding_not_finite": reply("x", GREEN, [0.6, math.nan, 0]),
    "embedding_zero": reply("x", GREEN, [0.0, 0.0, 0.0]),
    "elapsed_not_finite": reply("x", GREEN, [0.6, 0.8, 0], elapsed_ms=math.inf),
    "elapsed_negative": reply("x", GREEN, [0.6, 0.8, 0], elapsed_ms=-1.0),
}


@pytest.mark.parametrize("reason", BAD)
def test_a_response_that_cannot_be_scored_says_why_and_changes_nobody_elses_pay(reason: str) -> None:
    good = (reply("a", BLUE, [0.6, 0.8, 0]), reply("b", RED, [0.6, 0.64, 0.48]))
    result = scored(round_of(*good, BAD[reason]))
    row = by_hotkey(result)["x"]
    assert (row.scored, row.reason, row.payout, row.vote_weight, row.share) == (False, reason, 0.0, 0.0, 0.0)
    without = payouts(scored(round_of(*good)))
    assert {h: payouts(result)[h] for h in without} == pytest.approx(without, rel=1e-12)


def test_sentences_that_are_not_finite_are_refused_too() -> None:
    bad = reply("x", GREEN, [0.6, 0.8, 0], sentences=np.array([[0.0, math.inf, 0.0]]))
    assert scored(round_of(bad)).scores[0].reason == "embedding_not_finite"


def test_an_off_topic_row_shows_what_was_measured() -> None:
    row = scored(round_of(BAD["off_topic"], reply("a", BLUE, [0.6, 0.8, 0]))).scores[0]
    assert row.relevance == pytest.approx(0.2 / math.sqrt(0.93))
    assert row.relevance_margin == pytest.approx(row.relevance - 0.30)
    assert row.meaning is not None


def test_garbage_echo_and_honest_answers_are_told_apart() -> None:
    rng = np.random.default_rng(5)
    base = realistic(5, 5)
    question = base.prompt_vector
    garbage = reply("garbage", "lorem ipsum dolor", 0.05 * question + rng.normal(size=24) * 0.3)
    echo = reply("echo", "why is the sky blue", question)
    pay = payouts(scored(round_of(*base.responses, garbage, echo, prompt=question)))
    honest = np.mean([pay[r.hotkey] for r in base.responses])
    assert pay["garbage"] == 0.0
    assert 0 <= pay["echo"] < 0.3 * honest


def test_an_answer_that_resembles_answers_to_anything_is_paid_less() -> None:
    house_style = ScoringContext.of(20, {}, np.array([0.0, 0.0, 0.5]))
    round_ = round_of(
        reply("a", BLUE, [0.6, 0.8, 0]), reply("b", RED, [0.6, 0.8, 0]), reply("c", GREEN, [0.6, 0.7, 0.39])
    )
    rows = by_hotkey(scored(round_, house_style))
    assert rows["c"].baseline == pytest.approx(0.39 / math.sqrt(0.36 + 0.49 + 0.39**2) * 0.5)
    assert rows["a"].baseline == 0.0
    young = ScoringContext.of(19, {}, np.array([0.0, 0.0, 0.5]))
    assert by_hotkey(scored(round_, young))["c"].baseline == 0.0
    assert rows["c"].payout < by_hotkey(scored(round_, young))["c"].payout


def test_speed_adds_or_takes_at_most_its_share_around_the_median() -> None:
    def factors(*times: float | None) -> list[float]:
        texts = (BLUE, RED, GREEN)
        replies = (reply(h, x, [0.6, 0.8, 0], elapsed_ms=t) for h, x, t in zip("abc", texts, times, strict=True))
        return [score.speed_factor for score in scored(round_of(*replies)).scores]

    assert factors(500, 1000, 9000) == pytest.approx([1.025, 1.0, 0.95])
    assert factors(0, 1000, None) == pytest.approx([1 + 0.05 * (1 - 1e-6 / 500), 0.95, 1.0])
    assert factors(0, 0, 0) == [1.0, 1.0, 1.0]
    assert factors(None, None, None) == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("values", "weights", "median"),
    [
        ([3.0, 1.0, 2.0], [1.0, 1.0, 1.0], 2.0),
        ([4.0, 1.0, 2.0, 3.0], [1.0, 1.0, 1.0, 1.0], 2.5),
        ([1.0, 2.0, 2.0, 2.0], [1.0, 1 / 3, 1 / 3, 1 / 3], 1.5),
        ([1.0, 5.0], [1.0, 3.0], 5.0),
        ([7.0], [0.1], 7.0),
    ],
)
def test_weighted_median(values: list[float], weights: list[float], median: float) -> None:
    assert weighted_median(np.array(values), np.array(weights)) == pytest.approx(median)


def test_a_bystander_partly_like_a_copied_answer_pays_for_one_of_it_not_for_each() -> None:
    source = [f"s{i}" for i in range(60)]
    partly = " ".join(source[:45] + [f"p{i}" for i in range(15)])
    own = " ".join(f"o{i}" for i in range(60))
    bystanders = (reply("p", partly, [0.6, 0.64, 0.48]), reply("o", own, [0.6, 0.7, 0.39]))
    alone = scored(round_of(*bystanders, reply("s0", " ".join(source), [0.6, 0.8, 0])))
    ring = scored(round_of(*bystanders, *(reply(f"s{i}", " ".join(source), [0.6, 0.8, 0]) for i in range(9))))
    before, after = by_hotkey(alone), by_hotkey(ring)
    assert 1 < before["p"].copy_group_size < 2
    assert after["p"].copy_group_size == pytest.approx(before["p"].copy_group_size)
    assert after["s0"].copy_group_size == pytest.approx(9 + (before["s0"].copy_group_size - 1) * 9)
    for hotkey in ("p", "o"):
        assert after[hotkey].payout == pytest.approx(before[hotkey].payout)
    assert sum(after[f"s{i}"].payout for i in range(9)) == pytest.approx(before["s0"].payout)


def test_a_row_alone_explains_its_payout() -> None:
    base = realistic(3, 6)
    background = np.zeros(24)
    background[1:5] = 0.2
    result = scored(base, ScoringContext.of(40, {"w1": 9}, background))
    for row in result.scores:
        views = (row.meaning + row.coverage + row.wording) / 3 - row.baseline * 2 / 3
        agreement = (row.votes * views + 0.5 * 0.25) / (row.votes + 0.5)
        assert row.agreement == pytest.approx(agreement)
        assert row.score == pytest.approx(max(0, agreement) ** 4 * row.speed_factor)
        assert row.payout == pytest.approx(row.share * row.score / result.typical_score)
        assert row.vote_weight == pytest.approx(row.relevance**2 / row.copy_group_size)


def test_the_result_names_what_made_it_and_keeps_the_order_asked() -> None:
    round_ = round_of(reply("b", RED, [0.6, 0.8, 0]), failure("c", Outcome.TIMEOUT), reply("a", BLUE, [0.6, 0.8, 0]))
    result = score_round(round_, YOUNG, PROFILE)
    assert [score.hotkey for score in result.scores] == ["b", "c", "a"]
    assert result.similarity_hotkeys == ("a", "b")
    assert (result.scorer_version, result.context_digest) == (scorer_version(PROFILE), YOUNG.digest)


def test_a_round_nobody_answered_pays_nobody() -> None:
    result = scored(round_of(failure("a", Outcome.TIMEOUT)))
    assert (payouts(result), result.similarity.shape, result.typical_score) == ({"a": 0.0}, (0, 0), 0.0)
    assert scored(round_of()).scores == ()


def test_ramp() -> None:
    assert ramp(np.array([0.0, 0.65, 0.75, 0.85, 1.0]), 0.65, 0.85) == pytest.approx([0, 0, 0.5, 1, 1])


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: round_of(reply("a", BLUE, [1, 0, 0]), reply("a", RED, [1, 0, 0])), "a asked more than once"),
        (lambda: round_of(reply("a", BLUE, [1.0, 0.0])), r"chunks of a have shape \(1, 2\)"),
        (lambda: round_of(prompt=[0.0, 0.0, 0.0]), "prompt vector"),
        (lambda: round_of(prompt=[math.nan, 0.0, 0.0]), "prompt vector"),
    ],
)
def test_a_round_that_makes_no_sense_is_refused(build, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        build()


def test_a_context_of_another_model_is_refused() -> None:
    context = ScoringContext.of(20, {}, np.zeros(5))
    with pytest.raises(ValueError, match=r"background has shape \(5,\)"):
        score_round(round_of(reply("a", BLUE, [0.6, 0.8, 0])), context, PROFILE)


any_float = st.floats(width=64)
numbers = arrays.arrays(float, st.tuples(st.integers(0, 3), st.just(3)), elements=any_float)
some_text = st.one_of(st.sampled_from(["", " ", BLUE, RED, BLUE + " " + RED]), st.text(max_size=30))
any_response = st.builds(
    RoundResponse,
    hotkey=st.uuids().map(str),
    outcome=st.sampled_from([Outcome.ANSWERED] * 4 + list(Outcome)),
    text=some_text,
    elapsed_ms=st.one_of(st.none(), any_float, st.floats(0, 1e4)),
    chunks=st.one_of(numbers, arrays.arrays(float, (1, 3), elements=st.floats(-1, 1))),
    sentences=st.one_of(numbers, arrays.arrays(float, (1, 3), elements=st.floats(-1, 1))),
)
any_context = st.sampled_from([YOUNG, ScoringContext.of(25, {"air": 12}, np.array([0.1, 0.5, -0.3]))])


@settings(max_examples=150, deadline=None)
@given(st.lists(any_response, max_size=7), any_context, st.randoms(use_true_random=False))
def test_any_input_yields_finite_payouts_the_same_in_any_order(
    responses: list[RoundResponse], context: ScoringContext, rng
) -> None:
    result = score_round(round_of(*responses), context, PROFILE)
    for row in result.scores:
        assert math.isfinite(row.payout)
        assert row.payout >= 0
        assert row.scored or (row.payout == 0 and row.reason)
    assert np.isfinite(result.similarity).all()
    shuffled = list(responses)
    rng.shuffle(shuffled)
    again = score_round(round_of(*shuffled), context, PROFILE)
    assert {r.hotkey: repr(dataclasses.astuple(r)) for r in again.scores} == {
        r.hotkey: repr(dataclasses.astuple(r)) for r in result.scores
    }
    assert (again.consensus_score, again.typical_score) == (result.consensus_score, result.typical_score)
    assert again.similarity.tobytes() == result.similarity.tobytes()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(3, 9), st.integers(1, 8))
def test_exact_clones_and_zero_paid_identities_move_nobody_else(seed: int, size: int, copies: int) -> None:
    honest = realistic(seed, size)
    before = payouts(scored(honest))
    source = honest.responses[0]
    clones = [dataclasses.replace(source, hotkey=f"clone-{i}") for i in range(copies)]
    idle = [reply(f"idle-{i}", "lorem ipsum", np.eye(24)[9]) for i in range(2)] + [failure("t", Outcome.TIMEOUT, 24)]
    after = payouts(scored(round_of(*honest.responses, *clones, *idle, prompt=honest.prompt_vector)))
    for response in honest.responses[1:]:
        assert after[response.hotkey] == pytest.approx(before[response.hotkey], rel=0.01)
    gain = sum(after[r.hotkey] for r in [source, *clones])
    assert gain == pytest.approx(before[source.hotkey], rel=0.01)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 9))
def test_the_average_independent_answer_earns_one(seed: int, size: int) -> None:
    result = scored(realistic(seed, size))
    paid = [score for score in result.scores if score.payout > 0]
    weights = [1 / score.copy_group_size for score in paid]
    full = [score.score / result.typical_score for score in paid]
    assert np.average(full, weights=weights) == pytest.approx(1.0)
