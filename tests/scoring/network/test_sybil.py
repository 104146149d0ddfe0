from __future__ import annotations

import dataclasses
import math
import time
from typing import Any

import numpy as np
import pytest

from loosh_pipeline.scoring.network.profile import NetworkProfile
from loosh_pipeline.scoring.network.similarity import pair_values
from loosh_pipeline.scoring.network.sybil import (
    detect_sybils,
    fusion_pairs,
    lexical_similarity,
    merge_pairs,
    prune_group,
    semantic_pairs,
    structural_similarity,
    sybil_groups,
    thresholds,
    trajectory_pairs,
)
from tests.scoring.network.rounds import planted_round, prose, round_from

PROFILE = NetworkProfile()
SEVERAL = ("C20", "C20e", "C20f", "C20g", "C20h", "C20i", "C20j", "C20k")
SECONDS_FOR_FIFTY = 1.5


@pytest.mark.parametrize("name", ["trio_with_spread", "honest_four", "all_identical", "two_honest"])
def test_thresholds_pairs_and_groups(name: str, cases: dict[str, Any]) -> None:
    matrix = np.array(cases["C14"]["input"][name], dtype=np.float64)
    expected = cases["C14"]["output"][name]
    high, _ = thresholds(pair_values(matrix), PROFILE)
    assert high == pytest.approx(expected["high"], abs=1e-8)
    found = [[f"m{i}", f"m{j}", s] for (i, j), s in semantic_pairs(matrix, high).items()]
    assert found == expected["pairs"]
    groups = [[f"m{i}" for i in members] for members in sybil_groups(matrix, high, PROFILE)]
    assert groups == expected["groups"]


def test_the_very_high_threshold_is_a_step_above(cases: dict[str, Any]) -> None:
    matrix = np.array(cases["C14"]["input"]["trio_with_spread"])
    assert thresholds(pair_values(matrix), PROFILE)[1] == pytest.approx(
        cases["C14"]["output"]["thresholds_trio"]["very_high"], abs=1e-8
    )
    assert thresholds(np.ones(3), PROFILE) == (1.0, 1.01)
    assert thresholds(np.ones(2), PROFILE) == (0.80, 0.88)


def test_whoever_is_least_alike_is_pruned_the_first_of_equals(cases: dict[str, Any]) -> None:
    case = cases["C14b"]
    assert prune_group(case["input"]["component"], np.array(case["input"]["matrix"]), PROFILE) == tuple(case["output"])


def test_a_group_can_be_pruned_away() -> None:
    matrix = np.array([[1.0, 0.85], [0.85, 1.0]])
    assert sybil_groups(matrix, 0.8, PROFILE) == []


def test_structure(cases: dict[str, Any]) -> None:
    case = cases["C15"]
    assert structural_similarity(case["input"]) == pytest.approx(np.array(case["output"]), abs=1e-8)


def test_fusion(cases: dict[str, Any]) -> None:
    texts = cases["C15b"]["input"]["texts"]
    matrix = np.full((len(texts), len(texts)), 0.92)
    found = [[f"m{i}", f"m{j}", s] for (i, j), s in fusion_pairs(texts, matrix, PROFILE).items()]
    assert [pair[:2] for pair in found] == [pair[:2] for pair in cases["C15b"]["output"]]
    assert [pair[2] for pair in found] == pytest.approx([pair[2] for pair in cases["C15b"]["output"]], abs=1e-8)


def test_fusion_needs_words() -> None:
    texts = ["the of and to", "a an it is"]
    assert lexical_similarity(texts) is None
    assert fusion_pairs(texts, np.ones((2, 2)), PROFILE) == {}


def test_the_same_wording_in_another_order_is_a_pair() -> None:
    first = "Vaccines present antigens to cells. Memory lymphocytes persist for years. Boosters refresh the response."
    second = "Boosters refresh the response. Vaccines present antigens to cells. Memory lymphocytes persist for years."
    lexical = lexical_similarity([first, second])
    assert lexical is not None
    assert lexical[0, 1] == pytest.approx(0.92, abs=0.08)
    assert list(fusion_pairs([first, second], np.eye(2), PROFILE)) == [(0, 1)]


def test_the_order_of_sentences_is_no_part_of_a_trajectory() -> None:
    rng = np.random.default_rng(0)
    topics = rng.normal(size=(5, 32))
    lengths = np.array([1.0, 0.95, 0.9, 0.85, 0.8])[:, np.newaxis]
    first = np.repeat(topics / np.linalg.norm(topics, axis=1, keepdims=True) * lengths, 2, axis=0)
    other = rng.normal(size=(6, 32))
    found = trajectory_pairs({0: first, 3: first[::-1].copy(), 4: other}, PROFILE)
    assert found == {(0, 3): pytest.approx(1.0)}


def test_repeated_sentences_raise_no_warning() -> None:
    rows = np.tile(np.eye(4, dtype=np.float32)[0], (6, 1))
    assert trajectory_pairs({0: rows, 1: rows}, PROFILE) == {(0, 1): pytest.approx(1.0)}


def test_a_pair_keeps_its_largest_similarity_and_the_first_of_equals() -> None:
    views = {"semantic": {(0, 1): 0.9, (0, 2): 0.95}, "fusion": {(1, 2): 0.8, (0, 1): 0.97, (0, 2): 0.95}}
    assert list(merge_pairs(views).items()) == [
        ((0, 1), (0.97, "fusion")),
        ((0, 2), (0.95, "semantic")),
        ((1, 2), (0.8, "fusion")),
    ]


@pytest.mark.parametrize("name", SEVERAL)
def test_worked_rounds(name: str, cases: dict[str, Any]) -> None:
    rows = cases[name]["output"]["sybil_rows"]
    found = detect_sybils(round_from(cases[name]["input"]))
    assert bool(found.pairs or found.groups) == bool(rows)
    for row in rows:
        pairs = [[*pair.hotkeys, pytest.approx(pair.similarity, abs=1e-6), pair.method] for pair in found.pairs]
        assert row["pairs"] == pairs
        assert [list(group.hotkeys) for group in found.groups] == row["groups"]
        assert found.high == pytest.approx(row["high"], abs=1e-6)


@pytest.mark.parametrize("length", [49, 50])
def test_short_copies_are_not_seen(length: int) -> None:
    text = "an answer of few words that says nothing much at all"[:length]
    assert len(detect_sybils(planted_round([text, text])).pairs) == (length >= 50)


def test_only_the_long_ones_set_the_thresholds() -> None:
    texts = [*prose(2), "short one", "short two"]
    assert (detect_sybils(planted_round(texts)).high, detect_sybils(planted_round(texts)).very_high) == (0.80, 0.88)


@pytest.mark.parametrize("count", [3, 7, 20])
def test_every_copy_is_found(count: int) -> None:
    report = detect_sybils(planted_round(prose(1) * count))
    assert len(report.pairs) == count * (count - 1) / 2
    assert all(pair.similarity == pytest.approx(1.0, abs=1e-5) for pair in report.pairs)


def test_a_lone_reply_is_no_sybil() -> None:
    report = detect_sybils(planted_round(prose(1)))
    assert (report.pairs, report.groups, report.method) == ((), (), "")


def test_groups_report_their_similarities(cases: dict[str, Any]) -> None:
    group = detect_sybils(round_from(cases["C20j"]["input"])).groups[0]
    assert (group.mean, group.least, group.largest) == pytest.approx((1.0, 1.0, 1.0))


def test_a_vector_that_is_not_finite_is_named() -> None:
    round_ = planted_round(prose(3))
    text = round_.replies[2].text
    with pytest.raises(ValueError, match="the reply of uid 2, hotkey hk2, is not finite"):
        detect_sybils(dataclasses.replace(round_, vectors={**round_.vectors, text: np.full(384, math.nan)}))


def test_fifty_replies_are_quick() -> None:
    round_ = planted_round(prose(50, sentence_count=12))
    detect_sybils(round_)
    took = []
    for _ in range(2):
        start = time.thread_time()
        detect_sybils(round_)
        took.append(time.thread_time() - start)
    assert min(took) < SECONDS_FOR_FIFTY
