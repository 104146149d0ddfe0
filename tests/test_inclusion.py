"""Chances of being drawn, beside an enumeration of every draw."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loosh_pipeline.inclusion import inclusion_probabilities


def enumerated(weights: list[float], sample: int) -> list[float]:
    """By following every sequence of picks."""
    chances = [0.0] * len(weights)

    def pick(left: list[int], picks: int, probability: float) -> None:
        total = sum(weights[index] for index in left)
        for index in left if picks else []:
            taken = probability * weights[index] / total
            chances[index] += taken
            pick([other for other in left if other != index], picks - 1, taken)

    pick(list(range(len(weights))), sample, 1.0)
    return chances


@pytest.mark.parametrize("sample", [1, 2, 3])
@pytest.mark.parametrize(
    "weights", [[1.0, 2.0, 3.0, 4.0], [1e-6, 1.0, 1.0, 5.0, 1e6], [1.0] * 6, [0.3, 0.9, 10.0, 1.0, 2e-3, 7.0]]
)
def test_as_by_enumeration(weights: list[float], sample: int) -> None:
    assert inclusion_probabilities(weights, sample) == pytest.approx(enumerated(weights, sample), abs=1e-12)


def test_equal_weights_have_equal_chances() -> None:
    assert inclusion_probabilities([3.0] * 256, 7) == pytest.approx([7 / 256] * 256, abs=1e-12)


def test_who_has_no_weight_shares_the_places_left() -> None:
    assert inclusion_probabilities([0.0, 2.0, 0.0, 1.0, 0.0], 3) == [1 / 3, 1.0, 1 / 3, 1.0, 1 / 3]
    assert inclusion_probabilities([0.0, 2.0, 1.0], 2) == [0.0, 1.0, 1.0]
    assert inclusion_probabilities([0.0, 0.0], 7) == [1.0, 1.0]
    assert inclusion_probabilities([], 7) == []


@given(st.lists(st.just(0.0) | st.floats(1e-300, 1e300), min_size=1, max_size=30), st.integers(1, 12))
def test_chances_add_up_to_the_places(weights: list[float], sample: int) -> None:
    chances = inclusion_probabilities(weights, sample)
    assert sum(chances) == pytest.approx(min(sample, len(weights)), abs=1e-9)
    assert all(0 <= chance <= 1 for chance in chances)
    by_weight = sorted(zip(weights, chances, strict=True))
    assert all(low[1] <= high[1] + 1e-9 for low, high in pairwise(by_weight))


def test_many_drawn_of_a_full_subnet() -> None:
    weights = [1.1**number for number in range(256)]
    assert sum(inclusion_probabilities(weights, 64)) == pytest.approx(64, abs=1e-9)
