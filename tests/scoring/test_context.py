from __future__ import annotations

import numpy as np
import pytest

from loosh_pipeline.scoring.context import ScoringContext, build_context


def test_an_empty_context_has_a_zero_background_of_its_width() -> None:
    context = ScoringContext.empty(3)
    assert (context.rounds, dict(context.document_frequency)) == (0, {})
    assert context.background is not None
    assert context.background.tolist() == [0, 0, 0]


def test_the_digest_is_of_the_content() -> None:
    assert ScoringContext.empty(3).digest == ScoringContext.empty(3).digest
    variants = [
        ScoringContext.of(20, {"a": 2, "b": 3}, np.zeros(2)),
        ScoringContext.of(21, {"a": 2, "b": 3}, np.zeros(2)),
        ScoringContext.of(20, {"a": 2}, np.zeros(2)),
        ScoringContext.of(20, {"a": 2, "b": 3}, np.array([0, 0.1])),
        ScoringContext.of(20, {"a": 2, "b": 3}, None),
    ]
    assert len({context.digest for context in variants}) == len(variants)
    assert variants[0].digest == ScoringContext.of(20, {"b": 3, "a": 2}, np.zeros(2)).digest


def test_words_and_vectors_count_once_a_round_however_many_answered() -> None:
    ring = (["blue sky", "blue sky", "blue sky"], np.array([[1.0, 0.0]] * 3))
    other = (["blue sea"], np.array([[0.0, 1.0]]))
    silent = ([], np.zeros((0, 2)))
    context = build_context([ring, other, silent], dim=2)
    assert context.rounds == 3
    assert context.document_frequency == {"blue": 2}  # words of one round are as good as unseen
    assert context.background is not None
    assert context.background.tolist() == [0.5, 0.5]


@pytest.mark.parametrize("background", [np.array([np.nan, 0.0]), np.array([np.inf, 0.0]), np.array([3.0, 0.0])])
def test_a_background_that_is_no_mean_of_unit_vectors_is_refused(background: np.ndarray) -> None:
    with pytest.raises(ValueError, match="background"):
        ScoringContext.of(20, {}, background)


def test_a_negative_count_is_refused() -> None:
    with pytest.raises(ValueError, match="rounds is -1"):
        ScoringContext.of(-1, {}, None)
