from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from benchmarks.parity_adapter import evaluate
from loosh_pipeline.scoring.vectors import Vectors


@pytest.mark.parametrize("name", ["pair_good", "three_one_outlier", "ten_with_test_mode"])
def test_recorded_rounds(name: str, recorded: dict[str, Any], vectors: Mapping[str, Vectors]) -> None:
    case = recorded[name]
    found = evaluate(
        case["prompt"], case["miners"], case["node_map"], lambda texts: np.array([vectors[text] for text in texts])
    )
    expected = case["output"]
    assert found["consensus_score"] == pytest.approx(expected["consensus_score"], abs=1e-5)
    assert found["emissions"] == pytest.approx(expected["emissions"], abs=1e-5)
    assert found["in_consensus_uids"] == expected["in_consensus_uids"]
    assert found["sybil_pairs"] == len(expected["sybil"]["pairs"])


def test_entities_are_read_from_the_node_map(recorded: dict[str, Any], vectors: Mapping[str, Vectors]) -> None:
    case = recorded["three_one_outlier"]
    shared = {miner["hotkey"]: ["1.1.1.1", "owner"] for miner in case["miners"][:2]}

    def composite_gap(node_map: dict[str, list[str]]) -> float:
        found = evaluate(case["prompt"], case["miners"], node_map, lambda texts: np.array([vectors[t] for t in texts]))
        return float(found["emissions"][case["miners"][0]["hotkey"]])

    assert composite_gap(shared) < composite_gap({})


@pytest.mark.parametrize(
    ("pair", "named"),
    [
        (["1.1.1.1", "owner"], {"ip": "1.1.1.1", "coldkey": "owner"}),
        (["", "owner"], {"ip": None, "coldkey": "owner"}),
        ([None, None], {}),
    ],
)
def test_a_node_is_a_pair_or_has_names(
    pair: list[str | None],
    named: dict[str, str | None],
    recorded: dict[str, Any],
    vectors: Mapping[str, Vectors],
) -> None:
    case = recorded["ten_with_test_mode"]
    hotkeys = [miner["hotkey"] for miner in case["miners"]]
    others = {hotkey: [f"2.2.2.{i}", f"owner{i}"] for i, hotkey in enumerate(hotkeys[2:])}

    def found(entry: Any) -> dict[str, Any]:
        node_map = {**dict.fromkeys(hotkeys[:2], entry), **others}
        return evaluate(case["prompt"], case["miners"], node_map, lambda texts: np.array([vectors[t] for t in texts]))

    assert found(pair) == found(named)
    capped = any(pair)
    assert (found(named)["consensus_score"] != found({})["consensus_score"]) == capped


def test_no_replies_are_worth_nothing() -> None:
    found = evaluate("What is this?", [], {}, lambda texts: np.zeros((len(texts), 4), dtype=np.float32))
    assert found == {"consensus_score": 0.0, "emissions": {}, "in_consensus_uids": [], "sybil_pairs": 0}
