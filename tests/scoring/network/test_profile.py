from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from loosh_pipeline.scoring.network.profile import NetworkPay, NetworkProfile


def test_the_recorded_configuration_is_the_default() -> None:
    profile = NetworkProfile()
    six = [getattr(profile, f"{s}_weight") for s in ("relevance", "coherence", "coverage", "complexity", "density")]
    assert six == [0.4, 0.2, 0.2, 0.2, 0.2]
    assert profile.specificity_weight == 0.2
    assert profile.spread_weight == 1.0
    assert (profile.fusion_semantic, profile.fusion_lexical, profile.fusion_structural) == (0.92, 0.85, 0.80)
    assert NetworkPay().penalty_retention == 0.2


@pytest.mark.parametrize("kind", [NetworkProfile, NetworkPay])
def test_parameters_can_be_changed_by_name(kind: Any) -> None:
    for field in dataclasses.fields(kind):
        changed = kind.from_mapping({field.name: getattr(kind(), field.name)})
        assert changed == kind()


def test_an_unknown_parameter_is_named() -> None:
    with pytest.raises(ValueError, match=r"'network' has no parameter qualty_threshold; it has .*quality_threshold"):
        NetworkProfile.from_mapping({"qualty_threshold": 0.3})
    with pytest.raises(ValueError, match=r"'network pay' has no parameter alpha; it has .*ema_alpha"):
        NetworkPay.from_mapping({"alpha": 0.3})


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"quality_threshold": float("nan")}, "quality_threshold is nan; give a finite number"),
        ({"quality_threshold": True}, "quality_threshold is True; give a finite number"),
        ({"spread_weight": -1.0}, "spread_weight is -1.0; it cannot be negative"),
        ({"trajectory_clusters": 2.5}, "trajectory_clusters is 2.5; it counts something"),
        ({"trajectory_clusters": 0}, "trajectory_clusters is 0; it must be above 0"),
        ({"outlier_min_replies": 2}, "outlier_min_replies is 2; it must be at least 3"),
        ({"sybil_high_percentile": 100.5}, "sybil_high_percentile is 100.5; a percentile is at most 100"),
    ],
)
def test_a_value_out_of_range_is_named(parameters: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        NetworkProfile.from_mapping(parameters)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"ema_alpha": 1.5}, "ema_alpha is 1.5; it must be between 0 and 1"),
        ({"degraded_at": 0.95}, r"degraded_at \(0.95\) must not be above emergency_at \(0.9\)"),
        ({"emergency_at": 1.5}, "must be between 0 and 1"),
    ],
)
def test_a_pay_parameter_out_of_range_is_named(parameters: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        NetworkPay.from_mapping(parameters)
