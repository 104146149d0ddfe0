from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from loosh_pipeline.scoring.network.consensus import (
    LOW_QUALITY,
    MINOR_CLUSTER,
    OUTDONE,
    OUTLIER,
    agreement,
    cluster_labels,
    composites,
    diversity_bonus,
    dominant_cluster,
    find_consensus,
    length_kept,
    local_outliers,
)
from loosh_pipeline.scoring.network.profile import NetworkProfile
from loosh_pipeline.scoring.network.similarity import cosines
from tests.scoring.network.rounds import candidates, rows_with

PROFILE = NetworkProfile()
TOGETHER = [[1, 0.9, 0.85], [0.9, 1, 0.8], [0.85, 0.8, 1]]


def survivors(matrix: Any, votes: Any) -> list[int]:
    labels = cluster_labels(np.array(matrix), PROFILE)
    return np.flatnonzero(labels == dominant_cluster(labels, np.array(votes, dtype=float))).tolist()


def test_the_dominant_cluster_is_that_with_most_votes(cases: dict[str, Any]) -> None:
    case = cases["C09"]
    matrix = case["input"]["cosine_matrix"]
    labels = case["input"]["labels"]
    assert [labels[i] for i in survivors(matrix, np.ones(5))] == case["output"]["unweighted_keeps"]
    assert [labels[i] for i in survivors(matrix, case["input"]["entity_weights"])] == case["output"]["weighted_keeps"]


def test_equal_clusters_are_told_apart_by_arrival(cases: dict[str, Any]) -> None:
    case = cases["C28"]
    matrix = np.array(case["input"]["cosine"])
    for order, kept in zip(case["input"]["orders"], case["output"], strict=True):
        shuffled = matrix[np.ix_(order, order)]
        assert sorted(str(order[i] + 1) for i in survivors(shuffled, np.ones(4))) == kept


def test_clusters_merge_only_below_the_cut() -> None:
    assert len(set(cluster_labels(np.array([[1, 0.5], [0.5, 1]]), PROFILE))) == 2
    assert len(set(cluster_labels(np.array([[1, 0.51], [0.51, 1]]), PROFILE))) == 1


@pytest.mark.parametrize("name", ["three_clones_two_honest", "four_honest", "tight_trio_plus_one"])
def test_local_outliers(name: str, cases: dict[str, Any]) -> None:
    case = cases["C10"]
    flagged = local_outliers(rows_with(case["input"][name]), PROFILE)
    assert np.where(flagged, -1, 1).tolist() == case["output"][name]["pred"]


def test_better_outliers_stay_and_earn_nothing_for_it(cases: dict[str, Any]) -> None:
    case = cases["C22"]
    found = find_consensus(candidates(case["input"]["cosine"], quality=case["input"]["quality"]), PROFILE)
    kept = [str(i + 1) for i, reason in enumerate(found.removed_by) if not reason]
    assert kept == case["output"]["kept_labels"]
    assert (found.mean, found.spread) == tuple(case["output"]["mean_and_std"])
    assert found.score == case["output"]["theta"]
    assert found.outlier == (False, False, False, True)
    assert found.removed_by == (OUTDONE, OUTDONE, OUTDONE, "")
    assert found.weighted_score == 0.0


def test_worse_outliers_go(cases: dict[str, Any]) -> None:
    matrix = cases["C22"]["input"]["cosine"]
    found = find_consensus(candidates(matrix, quality=[0.7, 0.7, 0.7, 0.84]), PROFILE)
    assert found.removed_by == ("", "", "", OUTLIER)
    assert found.outlier == (False, False, False, True)


def test_outliers_are_only_looked_for_among_three() -> None:
    found = find_consensus(candidates(TOGETHER, quality=[0.9, 0.9, 0.1]), PROFILE)
    assert found.removed_by == ("", "", LOW_QUALITY)
    assert found.outlier == (False, False, False)
    assert found.cluster == (0, 0, None)


def test_disagreement_raises_the_score(cases: dict[str, Any]) -> None:
    case = cases["C21"]
    for name, expected in case["output"].items():
        first, second, third = case["input"][f"pair_sims_{name}"]
        matrix = np.array([[1, first, second], [first, 1, third], [second, third, 1]])
        mean, spread = agreement(matrix, np.ones(3), np.ones(3))
        assert mean + spread == pytest.approx(expected, abs=1e-8)


def test_a_pair_weighs_the_product_of_qualities_and_votes() -> None:
    matrix = np.array([[1, 0.9, 0.6], [0.9, 1, 0.5], [0.6, 0.5, 1]])
    mean, spread = agreement(matrix, np.array([1.0, 0.5, 0.8]), np.array([1.0, 1.0, 0.5]))
    weights = [0.5, 0.4, 0.2]
    assert mean == pytest.approx((0.5 * 0.9 + 0.4 * 0.6 + 0.2 * 0.5) / sum(weights))
    variance = sum(w * (s - mean) ** 2 for w, s in zip(weights, (0.9, 0.6, 0.5), strict=True)) / sum(weights)
    assert spread == pytest.approx(variance**0.5)


@pytest.mark.parametrize("n", [0, 1, 2])
def test_without_a_weighted_pair_nothing_agrees(n: int) -> None:
    assert agreement(np.ones((n, n)), np.zeros(n), np.ones(n)) == (0.0, 0.0)


def test_composites_in_consensus(cases: dict[str, Any]) -> None:
    case = cases["C23"]
    matrix, quality = np.array(case["input"]["cosine"]), case["input"]["quality"]
    bonus = diversity_bonus(matrix, np.array(quality), PROFILE)
    assert bonus == pytest.approx(list(case["output"]["diversity"].values()), abs=1e-8)
    given_ = candidates(matrix, quality=quality)
    assert composites(given_, matrix, [0, 1, 2], PROFILE) == pytest.approx(
        list(case["output"]["scores"].values()), abs=1e-8
    )
    shared = candidates(matrix, quality=quality, votes=[1, 0.5, 0.5])
    assert composites(shared, matrix, [0, 1, 2], PROFILE) == pytest.approx(
        list(case["output"]["scores_entity_weights_1_0.5_0.5"].values()), abs=1e-8
    )


def test_composites_out_of_consensus_count_words(cases: dict[str, Any]) -> None:
    case = cases["C24"]
    matrix = np.array(case["input"]["cosine"])
    # both survivors were recorded with a quality of 0.7
    given_ = candidates(matrix, quality=[0.2, 0.7, 0.7], words=[len(text.split()) for text in case["input"]["texts"]])
    found = composites(given_, matrix, [1, 2], PROFILE)
    assert found == pytest.approx([case["output"][label] for label in ("1", "2", "3")], abs=1e-8)


def test_the_composite_of_a_single_survivor_has_no_agreement_and_no_bonus() -> None:
    found = composites(candidates(np.eye(2)), np.eye(2), [0], PROFILE)
    assert found[0] == pytest.approx(0.25 + 0.15 + 0.10)


def test_when_all_fall_short_nobody_has_a_composite() -> None:
    found = find_consensus(candidates(TOGETHER, quality=[0.1, 0.2, 0.3]), PROFILE)
    assert found.score == 0.0
    assert found.composite == (None, None, None)
    assert found.weighted_score is None
    assert found.reached is False
    assert found.garbage_alert is False
    assert found.length_kept == (None, None, None)


def test_quality_at_the_threshold_survives() -> None:
    found = find_consensus(candidates([[1, 0.9], [0.9, 1]], quality=[0.35, 0.349999]), PROFILE)
    assert found.removed_by == ("", LOW_QUALITY)


def test_copies_of_one_reply_agree_entirely() -> None:
    row = np.random.default_rng(0).normal(size=384).astype(np.float32)
    for n in (3, 7, 50):
        rows = np.tile(row / np.linalg.norm(row), (n, 1))
        given_ = candidates(np.eye(n))
        found = find_consensus(type(given_)(rows, given_.quality, given_.votes, given_.words), PROFILE)
        assert set(found.removed_by) == {""}
        assert found.score == pytest.approx(1.0, abs=1e-6)


def test_three_copies_beside_different_answers_raise_no_warning(cases: dict[str, Any]) -> None:
    matrix = np.array(cases["C10"]["input"]["three_clones_two_honest"])
    matrix[:3, :3] = 1.0
    rows = rows_with(matrix)
    rows[1:3] = rows[0]
    assert local_outliers(rows, PROFILE).tolist() == [False, False, False, True, True]


def test_a_minor_cluster_is_named() -> None:
    matrix = np.array([[1, 0.2], [0.2, 1]])
    found = find_consensus(candidates(matrix), PROFILE)
    assert sorted(found.removed_by) == ["", MINOR_CLUSTER]
    assert sorted(label for label in found.cluster if label is not None) == [0, 1]
    assert found.score == 0.0


def test_the_garbage_alert_changes_nothing_else() -> None:
    low = find_consensus(candidates(TOGETHER, quality=[0.36, 0.38, 0.37]), PROFILE)
    high = find_consensus(candidates(TOGETHER, quality=[0.72, 0.76, 0.74]), PROFILE)
    assert (low.garbage_alert, high.garbage_alert) == (True, False)
    assert low.score == pytest.approx(high.score)
    assert low.removed_by == high.removed_by


def test_the_length_filter_only_gives_a_verdict() -> None:
    assert length_kept(np.array([10, 10, 5]), 0.7).tolist() == [True, True, False]
    assert length_kept(np.array([10, 10, 5]), 0.6).tolist() == [True, True, True]
    found = find_consensus(candidates(TOGETHER, words=[10, 10, 5]), PROFILE)
    assert found.length_kept == (True, True, False)
    assert found.removed_by == ("", "", "")


def test_cosines_keep_their_precision() -> None:
    rows = np.array([[3.0, 4.0], [0.0, 0.0], [4.0, 3.0]], dtype=np.float32)
    matrix = cosines(rows)
    assert matrix.dtype == np.float32
    assert matrix[0].tolist() == pytest.approx([1.0, 0.0, 0.96])
