"""From signals to payouts, on hand-made matrices."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from loosh_pipeline.scoring.votes import Standing, judge, ramp, weighted_median
from tests.scoring.rounds import PLAIN, signals

ONLY_MEANING = replace(PLAIN, coverage_weight=0.0, wording_weight=0.0, prior_votes=0.0)


def symmetric(n: int, **pairs: float) -> np.ndarray:
    """(n, n) with these values for pairs of letters, such as `ab`; 1 on the diagonal, 0 elsewhere."""
    matrix = np.eye(n)
    for pair, value in pairs.items():
        i, j = (ord(letter) - ord("a") for letter in pair)
        matrix[i, j] = matrix[j, i] = value
    return matrix


def standing(sources: np.ndarray | None = None, trust: list[float] | None = None, n: int = 3) -> Standing:
    unknown = Standing.unknown(n if sources is None else len(sources), PLAIN)
    return replace(
        unknown,
        sources=unknown.sources if sources is None else sources,
        trust=unknown.trust if trust is None else np.array(trust),
    )


def test_ramp() -> None:
    assert ramp(np.array([0.0, 0.65, 0.75, 0.85, 1.0]), 0.65, 0.85) == pytest.approx([0, 0, 0.5, 1, 1])


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


def test_the_gate_lets_in_what_reaches_it() -> None:
    verdict = judge(signals(3, relevance=[0.3 - 1e-12, 0.3, 0.3 + 1e-12]), PLAIN)
    assert verdict.passed.tolist() == verdict.vote.voters.tolist() == [False, True, True]
    assert verdict.payout[0] == verdict.share[0] == verdict.vote.weight[0] == 0.0
    assert verdict.payout[1:] == pytest.approx([1.0, 1.0])


def test_each_identity_has_a_gate_of_its_own() -> None:
    lowered = replace(Standing.unknown(3, PLAIN), gate=np.array([0.1, 0.3, 0.3]))
    verdict = judge(signals(3, relevance=[0.1, 0.1, 0.6]), PLAIN, lowered)
    assert verdict.passed.tolist() == [True, False, True]
    assert (verdict.payout > 0).tolist() == [True, False, True]


def test_a_vote_weighs_relevance_to_its_power_times_trust() -> None:
    verdict = judge(signals(3, relevance=[0.4, 0.6, 0.8]), PLAIN, standing(trust=[1.0, 2.0, 0.5]))
    assert verdict.vote.weight == pytest.approx([0.16, 0.72, 0.32])
    assert verdict.vote.heard == pytest.approx([1.04, 0.48, 0.88])


def test_who_only_repeats_the_question_says_nothing_of_the_others() -> None:
    between = (PLAIN.restated_low + PLAIN.restated_high) / 2
    verdict = judge(signals(3, relevance=[PLAIN.restated_high, between, 0.6]), PLAIN)
    assert verdict.vote.voters.all()
    assert verdict.vote.weight == pytest.approx([0.0, between**2 / 2, 0.36])


def test_what_is_said_of_an_answer_is_the_mean_of_its_peers_by_weight() -> None:
    relevance = np.sqrt([0.1, 0.3, 0.6])
    meaning = symmetric(3, ab=0.2, ac=0.4, bc=0.6)
    verdict = judge(signals(3, relevance=relevance, meaning=meaning, baseline=[0.3, 0, 0]), PLAIN)
    assert verdict.vote.meaning == pytest.approx([(0.06 + 0.24) / 0.9, (0.02 + 0.36) / 0.7, (0.04 + 0.18) / 0.4])
    # likeness .5 in coverage, none in wording; of the baseline, the two of three views it shows in
    view = (0.3 / 0.9 + 0.5 + 0.0 - 0.3 * 2) / 3
    assert verdict.vote.agreement[0] == pytest.approx((0.9 * view + 0.5 * 0.25) / 1.4)


def test_coverage_is_taken_at_equal_length_up_to_a_limit() -> None:
    # ln(1 + words) is ln 10 for the median, and ln 10 more or less for the others
    long_and_short = signals(3, words=[99.0, 9.0, 0.0])
    sloped = replace(PLAIN, coverage_length_slope=0.1, coverage_length_limit=5.0)
    off = 0.1 * np.log(10)
    assert judge(long_and_short, sloped).vote.coverage == pytest.approx([0.5 - off, 0.5, 0.5 + off])
    limited = replace(sloped, coverage_length_limit=1.0)
    assert judge(long_and_short, limited).vote.coverage == pytest.approx([0.4, 0.5, 0.6])


def test_who_agrees_with_nobody_loses_its_vote_the_farthest_off_first() -> None:
    # with c there, the mean view of all three is below 0; without it, a and b agree
    verdict = judge(signals(3, meaning=symmetric(3, ab=0.3, ac=-0.5, bc=-0.6)), ONLY_MEANING)
    assert verdict.passed.all()
    assert verdict.vote.voters.tolist() == [True, True, False]
    assert verdict.vote.agreement == pytest.approx([0.3, 0.3, -0.55])
    assert verdict.payout == pytest.approx([1.0, 1.0, 0.0])
    assert verdict.share[2] == verdict.vote.weight[2] == 0.0


def test_where_nobody_agrees_with_anybody_nobody_is_paid() -> None:
    verdict = judge(signals(2, meaning=-0.5), ONLY_MEANING)
    assert (verdict.payout.tolist(), verdict.typical) == ([0.0, 0.0], 0.0)
    assert not verdict.vote.voters.any()


def test_an_average_independent_answer_earns_one_and_copies_count_once() -> None:
    # c and d are one text that all the others find half as good
    meaning = symmetric(4, ab=0.8, ac=0.4, ad=0.4, bc=0.4, bd=0.4, cd=1.0)
    verdict = judge(signals(4, meaning=meaning, wording=symmetric(4, cd=1.0)), ONLY_MEANING)
    scores = np.array([0.6, 0.6, 0.4, 0.4]) ** 4
    typical = (scores[0] + scores[1] + scores[2]) / 3
    assert verdict.typical == pytest.approx(typical)
    assert verdict.payout == pytest.approx(scores * [1, 1, 0.5, 0.5] / typical)


def test_one_source_by_history_has_one_vote_and_one_pay_whatever_it_says_today() -> None:
    known = symmetric(3, ab=1.0)
    verdict = judge(signals(3), PLAIN, standing(known))
    assert verdict.vote.group_size == pytest.approx([2, 2, 1])
    assert verdict.vote.heard == pytest.approx([0.36, 0.36, 0.36])
    assert verdict.share == pytest.approx([0.5, 0.5, 1])
    half = judge(signals(3), PLAIN, standing(symmetric(3, ab=0.5)))
    assert half.share == pytest.approx([1 / 1.5, 1 / 1.5, 1])
    assert half.vote.heard[0] == pytest.approx(0.36 + 0.36 / 1.5 * 0.5)


def test_copies_share_less_of_their_pay_the_shorter_they_are() -> None:
    wording = symmetric(2, ab=1.0)
    for words, shared in ((1, 0.02), (25, 0.5), (50, 1.0), (500, 1.0)):
        verdict = judge(signals(2, words=[words, 900], wording=wording), PLAIN)
        assert verdict.share == pytest.approx([1 / (1 + shared)] * 2)
        assert verdict.vote.group_size == pytest.approx([2, 2])


HALF_COPY = (PLAIN.blatant_low + PLAIN.blatant_high) / 2


@pytest.mark.parametrize("words", [1, 30, 60])
@pytest.mark.parametrize("clones", [1, 2, 8])
def test_a_bystander_partly_like_a_copied_answer_is_charged_for_one_of_it_not_for_each(words: int, clones: int) -> None:
    """a is the bystander, b the victim, c … its clones."""
    n, evidence = 2 + clones, min(1.0, words / 50)
    wording = np.eye(n)
    wording[1:, 1:] = 1.0
    wording[0, 1:] = wording[1:, 0] = HALF_COPY
    verdict = judge(signals(n, words=words, wording=wording), PLAIN)
    part = 0.5 * evidence
    assert verdict.vote.group_size == pytest.approx([1.5] + [1.5 * (n - 1)] * (n - 1))
    assert verdict.share[0] == pytest.approx(1 / (1 + part))
    assert verdict.share[1:] == pytest.approx(1 / ((1 + clones * evidence) * (1 + part)))


def test_a_near_clone_moves_evenly_from_half_of_one_pay_to_a_third_of_it() -> None:
    """a and b are one text; c is worded ever more like them."""
    shares = []
    for alike in np.linspace(PLAIN.identical_low, PLAIN.identical_high, 9):
        wording = symmetric(3, ab=1.0, ac=float(alike), bc=float(alike))
        shares.append(judge(signals(3, wording=wording), replace(PLAIN, blatant_high=0.95)).share)
    of_c = np.array(shares)[:, 2]
    assert (of_c[0], of_c[-1]) == pytest.approx((1 / 2, 1 / 3))
    assert (np.diff(of_c) < 0).all()
    assert np.sum(shares, axis=1).max() == pytest.approx(1.0)
    assert np.sum(shares, axis=1).min() > 0.95


def test_a_copier_known_by_history_does_not_gain_where_others_honestly_say_the_same_as_its_victim() -> None:
    """a, b and c say the same word; d is known for copying a, and says another."""
    wording = symmetric(4, ab=1.0, ac=1.0, bc=1.0)
    verdict = judge(signals(4, words=1, wording=wording), PLAIN, standing(symmetric(4, ad=1.0)))
    own = 1 + 2 * 0.02
    assert verdict.share == pytest.approx([1 / (2 * own), 1 / own, 1 / own, 1 / 2])


def test_a_source_in_any_mix_of_texts_is_never_paid_more_than_once() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        n = int(rng.integers(2, 9))
        apart = np.triu(rng.uniform(0.0, 0.08, (n, n)), 1)
        verdict = judge(signals(n, wording=1 - apart - apart.T), PLAIN, standing(np.ones((n, n))))
        assert 0.94 < verdict.share.sum() <= 1 + 1e-12


def test_speed_is_that_of_independent_answers() -> None:
    """The median of one slow text given four times and two quick ones is a quick one's."""
    wording = np.eye(6)
    wording[:4, :4] = 1.0
    verdict = judge(signals(6, elapsed_ms=[4000] * 4 + [1000, 800], wording=wording), PLAIN)
    assert verdict.speed_factor == pytest.approx([0.95] * 4 + [1.0, 1.01])
