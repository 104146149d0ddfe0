from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from loosh_pipeline.domain import Hotkey
from loosh_pipeline.scoring.network.evaluate import NetworkEvaluation, evaluate
from loosh_pipeline.scoring.network.profile import NetworkProfile
from loosh_pipeline.scoring.network.removals import IRRELEVANT
from loosh_pipeline.scoring.network.round import NetworkRound, Node, Reply
from loosh_pipeline.scoring.network.sybil import detect_sybils
from loosh_pipeline.scoring.text import TEST_MODE
from loosh_pipeline.scoring.vectors import Vectors
from tests.scoring.network.rounds import planted_round, prose, recorded_round, round_from

RECORDED = ("pair_good", "three_one_outlier", "ten_with_test_mode")
SEVERAL = ("C20", "C20e", "C20f", "C20g", "C20h", "C20i", "C20j", "C20k")
SECONDS_FOR_FIFTY = 0.1


def paid(evaluation: NetworkEvaluation) -> dict[str, float]:
    return {str(reply.hotkey): reply.emission for reply in evaluation.replies}


def inside(evaluation: NetworkEvaluation) -> list[str]:
    return [str(reply.uid) for reply in evaluation.replies if reply.in_consensus]


def with_changed(round_: NetworkRound, index: int, **fields: Any) -> NetworkRound:
    replies = list(round_.replies)
    replies[index] = dataclasses.replace(replies[index], **fields)
    return dataclasses.replace(round_, replies=tuple(replies))


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_rounds(name: str, recorded: dict[str, Any], vectors: Mapping[str, Vectors]) -> None:
    case = recorded[name]
    expected = case["output"]
    round_ = recorded_round(case, vectors)
    found = evaluate(round_)
    assert found.consensus_score == pytest.approx(expected["consensus_score"], abs=1e-5)
    assert found.weighted_score == pytest.approx(expected["weighted_score"], abs=1e-5)
    assert found.reached is expected["consensus_achieved"]
    assert paid(found) == pytest.approx(expected["emissions"], abs=1e-5)
    assert [reply.uid for reply in found.replies if reply.in_consensus] == expected["in_consensus_uids"]
    composites = {str(reply.uid): reply.composite for reply in found.replies if not reply.test_mode}
    assert composites == pytest.approx(expected["individual_scores_by_uid"], abs=1e-5)
    quality = [reply.quality.value for reply in found.replies if reply.quality]
    assert quality == pytest.approx(expected["quality_after_gate"], abs=1e-5)
    sybils = detect_sybils(round_)
    assert [pair.hotkeys for pair in sybils.pairs] == [tuple(pair[:2]) for pair in expected["sybil"]["pairs"]]
    assert len(sybils.groups) == len(expected["sybil"]["groups"])
    assert sybils.high == pytest.approx(expected["sybil"]["high_threshold"], abs=1e-5)
    assert sybils.very_high == pytest.approx(expected["sybil"]["very_high_threshold"], abs=1e-5)
    assert sybils.method == expected["sybil"]["method"]


@pytest.mark.parametrize("name", SEVERAL)
def test_worked_rounds(name: str, cases: dict[str, Any]) -> None:
    expected = cases[name]["output"]
    found = evaluate(round_from(cases[name]["input"]))
    assert found.consensus_score == pytest.approx(expected["consensus_score"], abs=1e-6)
    assert paid(found) == pytest.approx(expected["emissions"], abs=1e-6)
    consensus = expected["consensus"]
    assert inside(found) == consensus["in_consensus"]
    assert found.weighted_score == pytest.approx(consensus["weighted_score"], abs=1e-6)
    assert found.reached is consensus["consensus_achieved"]
    survivors = [reply.quality.value for reply in found.replies if reply.in_consensus and reply.quality]
    assert survivors == pytest.approx(consensus["quality_of_survivors"], abs=1e-6)


def test_three_answers_in_every_figure(cases: dict[str, Any]) -> None:
    case = {**cases["C07"]["input"], "response_time_ms": [1000, 2000, 3000]}
    expected = cases["C08"]["output"]
    found = evaluate(round_from(case))
    assert found.consensus_score == pytest.approx(expected["theta"], abs=1e-6)
    assert inside(found) == expected["in_consensus"]
    composites = {str(reply.uid): reply.composite for reply in found.replies}
    assert composites == pytest.approx(expected["individual_scores"], abs=1e-6)
    assert found.consensus_score == pytest.approx(found.mean + found.spread)
    assert [reply.time_share for reply in found.replies] == pytest.approx([5 / 6, 4 / 6, 3 / 6])


def test_no_reply(cases: dict[str, Any]) -> None:
    found = evaluate(round_from(cases["C20b"]["input"]))
    assert (found.consensus_score, found.replies, found.best) == (0.0, (), None)


@pytest.mark.parametrize("name", ["C20c", "C20d"])
def test_one_reply(name: str, cases: dict[str, Any]) -> None:
    expected = cases[name]["output"]
    found = evaluate(round_from(cases[name]["input"]))
    assert found.consensus_score == expected["consensus_score"]
    assert paid(found) == expected["emissions"]
    only = found.replies[0]
    assert (only.quality, only.in_consensus, only.composite) == (None, False, None)
    assert only.removed_by == ("" if expected["consensus_score"] else IRRELEVANT)
    assert found.best == (only.hotkey if expected["consensus_score"] else None)


def test_one_reply_needs_no_time_and_no_sentence(cases: dict[str, Any]) -> None:
    round_ = with_changed(round_from(cases["C20c"]["input"]), 0, response_time_ms=0)
    bare = {text: round_.vectors[text] for text in (round_.prompt, round_.replies[0].text)}
    assert evaluate(dataclasses.replace(round_, vectors=bare)).consensus_score == 1.0


def test_test_mode_is_paid_nothing_and_seen_by_nobody(cases: dict[str, Any]) -> None:
    round_ = round_from(cases["C20"]["input"])
    test = Reply(99, Hotkey("test"), 1.0, "  [TEST MODE] hello ")
    between = dataclasses.replace(round_, replies=(round_.replies[0], test, *round_.replies[1:]))
    found = evaluate(between)
    assert paid(found) == pytest.approx({**paid(evaluate(round_)), "test": 0.0})
    assert found.replies[1].test_mode
    assert found.replies[1].removed_by == TEST_MODE
    assert found.replies[1].time_share is None


def test_a_round_of_test_mode_only_is_worth_nothing() -> None:
    replies = tuple(Reply(i, Hotkey(f"hk{i}"), 1.0, "[TEST MODE]") for i in range(2))
    found = evaluate(NetworkRound("", replies, {}, {}))
    assert (found.consensus_score, found.reached, found.best) == (0.0, False, None)
    assert paid(found) == {"hk0": 0.0, "hk1": 0.0}


def test_beside_test_mode_one_reply_is_alone(cases: dict[str, Any]) -> None:
    round_ = round_from(cases["C20c"]["input"])
    test = Reply(99, Hotkey("test"), 1.0, "[TEST MODE]")
    found = evaluate(dataclasses.replace(round_, replies=(test, *round_.replies)))
    assert paid(found) == {"test": 0.0, "hk1": 1.0}


def test_instant_junk_is_paid_best(cases: dict[str, Any]) -> None:
    found = evaluate(round_from(cases["C20g"]["input"]))
    assert found.best == "hk1"
    assert found.replies[0].removed_by == "quality"


def test_copies_at_one_address_drive_honest_answers_out(cases: dict[str, Any]) -> None:
    found = evaluate(round_from(cases["C20k"]["input"]))
    assert [reply.removed_by for reply in found.replies] == ["", "", "", "outlier", "outlier"]
    assert [reply.entity_weight for reply in found.replies] == pytest.approx([1 / 3, 1 / 3, 1 / 3, 1.0, 1.0])


def test_without_nodes_no_vote_is_weighed(cases: dict[str, Any]) -> None:
    found = evaluate(round_from(cases["C20"]["input"]))
    assert {reply.entity_weight for reply in found.replies} == {None}


def test_equal_votes_change_nothing(cases: dict[str, Any]) -> None:
    round_ = round_from(cases["C20"]["input"])
    nodes = {reply.hotkey: Node(f"1.1.1.{i}", f"ck{i}") for i, reply in enumerate(round_.replies)}
    assert paid(evaluate(dataclasses.replace(round_, nodes=nodes))) == paid(evaluate(round_))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_vector_that_is_not_finite_is_named(bad: float, cases: dict[str, Any]) -> None:
    assert cases["C29"]["output"]["emissions"] == {}
    round_ = round_from(cases["C20"]["input"])
    text = round_.replies[1].text
    broken = dataclasses.replace(round_, vectors={**round_.vectors, text: np.full(10, bad)})
    with pytest.raises(ValueError, match="part of the reply of uid 20, hotkey hk2, is not finite"):
        evaluate(broken)
    left = dataclasses.replace(broken, replies=(broken.replies[0], broken.replies[2]))
    assert evaluate(left).consensus_score > 0.7


def test_a_missing_vector_is_named(cases: dict[str, Any]) -> None:
    round_ = round_from(cases["C20"]["input"])
    sentence = "Antibodies appear within 14 days: titres climb."
    left = {text: row for text, row in round_.vectors.items() if text != sentence}
    with pytest.raises(ValueError, match=r"no vector of 'Antibodies appear .*', part of the reply of uid 20"):
        evaluate(dataclasses.replace(round_, vectors=left))


@pytest.mark.parametrize("count", [1, 2])
def test_a_blank_prompt_is_refused(count: int, cases: dict[str, Any]) -> None:
    round_ = round_from(cases["C20"]["input"])
    with pytest.raises(ValueError, match="the prompt is blank"):
        evaluate(dataclasses.replace(round_, prompt=" \n", replies=round_.replies[:count]))


def test_times_of_zero_are_refused(cases: dict[str, Any]) -> None:
    round_ = round_from({**cases["C20"]["input"], "response_time_ms": [0, 0, 0]})
    with pytest.raises(ValueError, match="all 3 response times are 0 ms"):
        evaluate(round_)


def test_a_time_that_is_not_finite_is_refused(cases: dict[str, Any]) -> None:
    round_ = round_from({**cases["C20"]["input"], "response_time_ms": [1000, math.nan, 3000]})
    with pytest.raises(ValueError, match="a response time is nan ms"):
        evaluate(round_)


def test_parameters_count(cases: dict[str, Any]) -> None:
    round_ = round_from(cases["C20"]["input"])
    found = evaluate(round_, NetworkProfile(spread_weight=0.0, consensus_bonus=1.0))
    assert found.consensus_score == found.mean
    assert sum(paid(found).values()) < sum(paid(evaluate(round_)).values())


def test_fifty_replies_are_quick() -> None:
    round_ = planted_round(prose(50, sentence_count=12))
    evaluate(round_)
    took = []
    for _ in range(5):
        start = time.thread_time()
        evaluate(round_)
        took.append(time.thread_time() - start)
    assert min(took) < SECONDS_FOR_FIFTY
