"""One round scored, on numbers that can be checked by hand; what may vary is given here, not left to the defaults."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from loosh_pipeline.domain import Outcome
from loosh_pipeline.scoring.context import ScoringContext
from loosh_pipeline.scoring.pairs import PairEvidence
from loosh_pipeline.scoring.profile import RobustProfile, scorer_version
from loosh_pipeline.scoring.result import RoundScores, Score
from loosh_pipeline.scoring.robust import score_round
from loosh_pipeline.scoring.round import Round
from tests.scoring.rounds import ASKED, DIM, PLAIN, failure, joined, numbered, realistic, reply, round_of

YOUNG = ScoringContext.empty(3)
BLUE, RED, GREEN = "air scatters blue light", "short waves spread further", "molecules deflect colour sideways"


def scored(round_: Round, context: ScoringContext | None = None, profile: RobustProfile = PLAIN) -> RoundScores:
    return score_round(round_, context or ScoringContext.empty(len(round_.prompt_vector)), profile)


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
    assert result.typical_score == pytest.approx(agreement**4)


def test_three_answers_by_hand_pay_the_one_between_most() -> None:
    result = scored(
        round_of(
            reply("a", BLUE, [0.6, 0.8, 0.0]), reply("b", RED, [0.6, 0.64, 0.48]), reply("c", GREEN, [0.6, 0.0, 0.8])
        )
    )
    cosines = {(pair.first, pair.second): pair.similarity for pair in result.pairs}
    assert cosines == pytest.approx({("a", "b"): 0.872, ("a", "c"): 0.36, ("b", "c"): 0.744})
    # one sentence each: coverage is the cosine, and meaning the cosine less the 0.36 the question accounts for
    views = {"a": (0.872 + 0.36 - 0.36) / 3, "b": (0.872 + 0.744 - 0.36) / 3, "c": (0.36 + 0.744 - 0.36) / 3}
    scores = {h: ((0.72 * v + 0.125) / 1.22) ** 4 for h, v in views.items()}
    typical = sum(scores.values()) / 3
    assert payouts(result) == pytest.approx({h: s / typical for h, s in scores.items()})
    assert max(result.scores, key=lambda row: row.payout).hotkey == "b"


def test_identical_answers_share_one_vote_hear_nobody_and_split_one_pay() -> None:
    text = " ".join(numbered("word", 60))
    result = scored(round_of(*(reply(h, text, [0.6, 0.8, 0]) for h in "abcdefg")))
    for score in result.scores:
        assert score.copy_group_size == pytest.approx(7)
        assert score.vote_weight == pytest.approx(0.36 / 7)
        assert (score.votes, score.meaning, score.agreement) == (0.0, None, PLAIN.prior_agreement)
        assert score.copies == tuple(h for h in "abcdefg" if h != score.hotkey)
        assert score.share == score.payout == pytest.approx(1 / 7)


def test_short_answers_may_agree_word_for_word() -> None:
    result = scored(round_of(reply("a", "Paris.", [0.6, 0.8, 0]), reply("b", "Paris.", [0.6, 0.8, 0])))
    assert result.scores[0].share == pytest.approx(1 / (1 + 1 / 50))
    assert result.scores[0].copies == ("b",)


def test_a_lone_answer_earns_one() -> None:
    result = scored(round_of(reply("a", BLUE, [0.6, 0.8, 0]), failure("b", Outcome.TIMEOUT)))
    assert payouts(result) == {"a": pytest.approx(1.0), "b": 0.0}
    assert result.pairs == ()


@pytest.mark.parametrize("outcome", [o for o in Outcome if o is not Outcome.ANSWERED])
def test_every_failure_is_a_row_with_its_outcome_as_reason(outcome: Outcome) -> None:
    row = by_hotkey(scored(round_of(reply("a", BLUE, [0.6, 0.8, 0]), failure("b", outcome))))["b"]
    assert (row.scored, row.reason, row.payout, row.share, row.vote_weight) == (False, outcome.value, 0.0, 0.0, 0.0)
    assert row.relevance is row.agreement is row.copy_group_size is None


BAD = {
    "empty": reply("x", " …! ", [0.6, 0.8, 0]),
    "test_mode": reply("x", " [TEST MODE] " + BLUE, [0.6, 0.8, 0]),
    "off_topic": reply("x", "trains are heavy", [0.2, 0.8, 0.5]),
    "no_agreement": reply("x", "on the contrary", [0.6, -0.8, 0]),
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


@pytest.mark.parametrize("reason", ["off_topic", "no_agreement"])
def test_an_unpaid_answer_shows_what_was_measured(reason: str) -> None:
    row = scored(round_of(BAD[reason], reply("a", BLUE, [0.6, 0.8, 0]))).scores[0]
    x = BAD[reason].chunks[0]
    relevance, meaning = x[0] / np.linalg.norm(x), 0.8 * x[1] / np.linalg.norm(x)
    assert (row.relevance, row.meaning) == pytest.approx((relevance, meaning))
    assert row.relevance_margin == pytest.approx(relevance - PLAIN.relevance_gate)
    assert row.votes == pytest.approx(0.36)


def test_garbage_echo_and_honest_answers_are_told_apart() -> None:
    rng = np.random.default_rng(5)
    base = realistic(5, 5)
    garbage = reply("garbage", "lorem ipsum dolor", 0.05 * ASKED + rng.normal(size=DIM) * 0.3)
    echo = reply("echo", "why is the sky blue", ASKED)
    pay = payouts(scored(joined(base, garbage, echo), profile=RobustProfile()))
    honest = np.mean([pay[r.hotkey] for r in base.responses])
    assert pay["garbage"] == 0.0
    assert 0 <= pay["echo"] < 0.3 * honest


def test_an_answer_that_resembles_answers_to_anything_is_paid_less() -> None:
    house_style = ScoringContext.of(20, {}, np.array([0.0, 0.0, 0.5]))
    young = ScoringContext.of(19, {}, np.array([0.0, 0.0, 0.5]))
    round_ = round_of(
        reply("a", BLUE, [0.6, 0.8, 0]), reply("b", RED, [0.6, 0.8, 0]), reply("c", GREEN, [0.6, 0.7, 0.39])
    )
    rows, before = by_hotkey(scored(round_, house_style)), by_hotkey(scored(round_, young))
    baseline = 0.39 / math.sqrt(0.36 + 0.49 + 0.39**2) * 0.5
    assert (rows["a"].baseline, rows["c"].baseline) == (0.0, pytest.approx(baseline))
    assert before["c"].baseline == 0.0
    taken = before["c"].agreement - rows["c"].agreement
    # meaning and coverage have two of three weights, the baseline a weight of one, the peers all votes but the prior's
    assert taken == pytest.approx(baseline * 2 / 3 * rows["c"].votes / (rows["c"].votes + 0.5))
    assert rows["c"].payout < before["c"].payout


def test_speed_adds_or_takes_at_most_its_share_around_the_median() -> None:
    def factors(*times: float | None) -> list[float]:
        texts = (BLUE, RED, GREEN)
        replies = (reply(h, x, [0.6, 0.8, 0], elapsed_ms=t) for h, x, t in zip("abc", texts, times, strict=True))
        return [score.speed_factor for score in scored(round_of(*replies)).scores]

    assert factors(500, 1000, 9000) == pytest.approx([1.025, 1.0, 0.95])
    assert factors(0, 1000, None) == pytest.approx([1 + 0.05 * (1 - 1e-6 / 500), 0.95, 1.0])
    assert factors(0, 0, 0) == [1.0, 1.0, 1.0]
    assert factors(None, None, None) == [1.0, 1.0, 1.0]


def test_a_row_alone_explains_its_payout() -> None:
    profile = RobustProfile()
    background = np.zeros(DIM)
    background[1:5] = 0.2
    result = scored(realistic(3, 6), ScoringContext.of(40, {"topic1": 9}, background), profile)
    w_meaning, w_coverage, w_wording = profile.meaning_weight, profile.coverage_weight, profile.wording_weight
    for row in result.scores:
        said = w_meaning * row.meaning + w_coverage * row.coverage + w_wording * row.wording
        view = (said - profile.baseline_weight * row.baseline * (w_meaning + w_coverage)) / profile.view_weight
        prior = profile.prior_votes
        agreement = (row.votes * view + prior * profile.prior_agreement) / (row.votes + prior)
        assert row.agreement == pytest.approx(agreement)
        assert row.score == pytest.approx(max(0, agreement) ** profile.power * row.speed_factor)
        assert row.payout == pytest.approx(row.share * row.score / result.typical_score)


def test_the_result_names_what_made_it_and_keeps_the_order_asked() -> None:
    replies = reply("b", RED, [0.6, 0.8, 0]), failure("c", Outcome.TIMEOUT), reply("a", BLUE, [0.6, 0.8, 0])
    result = score_round(round_of(*replies), YOUNG, PLAIN, "digest")
    assert [score.hotkey for score in result.scores] == ["b", "c", "a"]
    assert [(pair.first, pair.second) for pair in result.pairs] == [("a", "b")]
    assert result.scorer_version == scorer_version(PLAIN, "digest") != scorer_version(PLAIN)
    assert (result.challenge_id, result.profile, result.context_digest) == ("c-1", "robust", YOUNG.digest)


def test_a_pair_says_whether_both_are_of_one_address_or_owner() -> None:
    at = ("a", "1.1.1.1", ""), ("b", "1.1.1.1", "cold"), ("c", "", "cold"), ("d", "", "")
    result = scored(round_of(*(reply(h, BLUE, [0.6, 0.8, 0], ip=ip, coldkey=cold) for h, ip, cold in at)))

    def those(same: Callable[[PairEvidence], bool]) -> list[str]:
        return [pair.first + pair.second for pair in result.pairs if same(pair)]

    assert those(lambda pair: pair.same_address) == ["ab"]
    assert those(lambda pair: pair.same_coldkey) == ["bc"]


def test_a_round_nobody_answered_pays_nobody() -> None:
    result = scored(round_of(failure("a", Outcome.TIMEOUT)))
    assert (payouts(result), result.pairs, result.measure, result.typical_score) == ({"a": 0.0}, (), None, 0.0)
    assert scored(round_of()).scores == ()


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: round_of(reply("a", BLUE, [1, 0, 0]), reply("a", RED, [1, 0, 0])), "a asked more than once"),
        (lambda: round_of(reply("a", BLUE, [1.0, 0.0])), r"chunks of a have shape \(1, 2\)"),
        (lambda: round_of(prompt=[0.0, 0.0, 0.0]), "prompt vector"),
        (lambda: round_of(prompt=[math.nan, 0.0, 0.0]), "prompt vector"),
    ],
)
def test_a_round_that_makes_no_sense_is_refused(build: Callable[[], Round], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        build()


def test_a_context_of_another_model_is_refused() -> None:
    context = ScoringContext.of(20, {}, np.zeros(5))
    with pytest.raises(ValueError, match=r"background has shape \(5,\)"):
        score_round(round_of(reply("a", BLUE, [0.6, 0.8, 0])), context, PLAIN)
