"""The measures that a score is made of, on matrices small enough to check by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from loosh_pipeline.scoring.context import ScoringContext
from loosh_pipeline.scoring.coverage import coverage
from loosh_pipeline.scoring.profile import RobustProfile
from loosh_pipeline.scoring.text import words
from loosh_pipeline.scoring.vectors import mean_direction, unit_rows
from loosh_pipeline.scoring.wording import word_weight, wording_similarity

PROFILE = RobustProfile()


def flat(_: str) -> float:
    return 1.0


def test_unit_rows_of_any_finite_size() -> None:
    rows = unit_rows(np.array([[3.0, 4.0], [0.0, 0.0], [1e300, 1e300], [5e-324, 0.0]]))
    half = math.sqrt(0.5)
    assert rows == pytest.approx(np.array([[0.6, 0.8], [0, 0], [half, half], [1, 0]]))


def test_mean_direction_weighs_rows_alike_and_is_zero_when_they_cancel() -> None:
    assert mean_direction(np.array([[10.0, 0.0], [0.0, 0.1]])) == pytest.approx([math.sqrt(0.5)] * 2)
    assert mean_direction(np.array([[1.0, 0.0], [-2.0, 0.0]])).tolist() == [0.0, 0.0]


def test_wording_is_the_cosine_of_log_term_frequencies() -> None:
    # (1 + ln 2, 1, 0) and (1, 0, 1) over a, b, c
    tf = 1 + math.log(2)
    similarity = wording_similarity([["a", "a", "b"], ["a", "c"]], flat)
    expected = tf / (math.sqrt(tf**2 + 1) * math.sqrt(2))
    assert similarity == pytest.approx(np.array([[1, expected], [expected, 1]]))
    assert np.array_equal(similarity, similarity.T)


def test_words_of_no_weight_make_nothing_alike() -> None:
    assert wording_similarity([["the"], ["the"]], lambda _: 0.0).tolist() == [[1, 0], [0, 1]]


def test_no_answers_make_empty_matrices() -> None:
    assert wording_similarity([], flat).shape == (0, 0)
    assert coverage([]).shape == (0, 0)


def test_a_grown_context_weighs_by_rarity_and_an_unseen_word_like_one_of_a_single_round() -> None:
    weight = word_weight(ScoringContext.of(30, {"the": 30, "sky": 5}, None), PROFILE)
    assert weight("the") == pytest.approx(1.0)
    assert weight("sky") == pytest.approx(math.log(31 / 6) + 1)
    assert weight("xyzzy") == pytest.approx(math.log(31 / 2) + 1)


def test_a_young_context_discounts_function_words_only() -> None:
    weight = word_weight(ScoringContext.of(19, {"sky": 19}, None), PROFILE)
    assert (weight("the"), weight("sky"), weight("xyzzy")) == (0.25, 1.0, 1.0)


def test_without_frequencies_function_words_do_not_make_independent_answers_copies() -> None:
    one = words("The reason for this is that the light of the sun is scattered by the air, and so it is blue to us")
    two = words("It is because of the way in which the gas that is in the sky spreads to us the short waves and so on")
    plain = wording_similarity([one, two], flat)[0, 1]
    discounted = wording_similarity([one, two], word_weight(ScoringContext.empty(3), PROFILE))[0, 1]
    assert plain > 0.5
    assert discounted < 0.3


def test_coverage_is_how_much_of_the_other_is_said() -> None:
    e = np.eye(3)
    brief, full = e[:1], np.array([e[0], e[1], [0.6, 0.8, 0.0]])
    table = coverage([brief, full, np.zeros((0, 3))])
    # row: who covers; column: who is covered. Brief says the first and 0.6 of the third of full's sentences
    assert table == pytest.approx(np.array([[1, 1.6 / 3, 0], [1, 1, 0], [0, 0, 1]]))
