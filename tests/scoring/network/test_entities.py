from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from loosh_pipeline.domain import Hotkey
from loosh_pipeline.scoring.network.entities import entity_weights
from loosh_pipeline.scoring.network.profile import NetworkProfile
from loosh_pipeline.scoring.network.round import Node

PROFILE = NetworkProfile()


def votes(
    hotkeys: Sequence[str], node_map: Mapping[str, Sequence[str]], profile: NetworkProfile = PROFILE
) -> dict[str, float]:
    nodes = {Hotkey(hotkey): Node(*node) for hotkey, node in node_map.items()}
    weights = entity_weights([Hotkey(hotkey) for hotkey in hotkeys], nodes, profile)
    return dict(zip(hotkeys, weights.tolist(), strict=True))


def test_addresses_first_then_coldkeys(cases: dict[str, Any]) -> None:
    case = cases["C13"]
    assert votes(case["input"]["hotkeys"], case["input"]["node_map"]) == pytest.approx(case["output"]["weights"])


def test_an_owner_of_two_addresses_has_two_votes(cases: dict[str, Any]) -> None:
    case = cases["C13"]
    found = votes(case["input"]["split_entity_hotkeys"], case["input"]["split_node_map"])
    assert found == case["output"]["split_entity_weights"]
    assert sum(found.values()) == case["output"]["split_total_votes"]


def test_only_those_who_take_part_share() -> None:
    node_map = {"a": ("1.1.1.1", "x"), "b": ("1.1.1.1", "y"), "c": ("1.1.1.1", "z")}
    assert votes(["a", "b"], node_map) == {"a": 0.5, "b": 0.5}
    assert votes(["a"], node_map) == {"a": 1.0}


def test_a_vote_never_weighs_more_than_one() -> None:
    node_map = {"a": ("1.1.1.1", "x"), "b": ("1.1.1.1", "y")}
    assert votes(["a", "b"], node_map, NetworkProfile(entity_votes=5.0)) == {"a": 1.0, "b": 1.0}
