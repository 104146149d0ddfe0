"""Which scorers run, and what an operator is told of them."""

from __future__ import annotations

import re
from typing import Any

import pytest

from loosh_pipeline.scorers import NETWORK_MODEL, clipping_warning, model_warning, paying_profile, shadow_profiles
from loosh_pipeline.scoring.network.profile import NetworkProfile
from loosh_pipeline.scoring.profile import RobustProfile
from loosh_pipeline.scoring.profiles import ScoringProfile
from loosh_pipeline.settings import Settings

BOTH = ("robust", "network")


@pytest.mark.parametrize(
    ("given", "pays", "shadows"),
    [
        ({}, RobustProfile(), ()),
        ({"scoring_profiles": BOTH}, RobustProfile(), (NetworkProfile(),)),
        ({"scoring_profiles": BOTH[::-1]}, RobustProfile(), (NetworkProfile(),)),
        ({"scoring_profiles": BOTH, "pay_profile": "network"}, NetworkProfile(), (RobustProfile(),)),
        ({"scoring_profiles": ("network",), "pay_profile": "network"}, NetworkProfile(), ()),
    ],
)
def test_one_profile_pays_and_the_others_look_on(
    given: dict[str, Any], pays: ScoringProfile, shadows: tuple[ScoringProfile, ...]
) -> None:
    settings = Settings(**given)
    assert paying_profile(settings) == pays
    assert shadow_profiles(settings) == shadows


@pytest.mark.parametrize(
    "given",
    [
        {"embedding_model": f"/models/{NETWORK_MODEL}"},
        {"embedding_model": NETWORK_MODEL},
        {"embedding_model": "http://e/v1", "embedding_model_name": f"sentence-transformers/{NETWORK_MODEL}"},
    ],
)
def test_the_networks_own_model_needs_no_warning(given: dict[str, Any]) -> None:
    assert model_warning(Settings(scoring_profiles=BOTH, **given)) is None


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({}, "'builtin'"),
        ({"pay_profile": "network"}, "'builtin'"),
        ({"embedding_model": "/models/other"}, "'/models/other'"),
        ({"embedding_model": "http://e/v1"}, "'http://e/v1'"),
        ({"embedding_model": "http://e/v1", "embedding_model_name": "other"}, "'other'"),
    ],
)
def test_the_networks_profile_on_another_model_is_warned_of(given: dict[str, Any], named: str) -> None:
    warning = model_warning(Settings(scoring_profiles=BOTH, **given))
    assert warning is not None
    assert f"runs on the embedding model {named}" in warning
    assert NETWORK_MODEL in warning
    assert "Set EMBEDDING_MODEL" in warning


def test_without_the_networks_profile_any_model_will_do() -> None:
    assert model_warning(Settings()) is None


@pytest.mark.parametrize(
    ("own", "others", "said"),
    [
        ({"a": 0.75, "b": 0.25}, {"a": 0.25, "b": 0.75}, "50% of the weights paid by robust are clipped: .* 0.50"),
        ({"a": 1.0}, {"a": 0.5, "b": 0.5}, "50% .* 0.50"),
        ({"a": 0.5, "b": 0.5}, {"a": 0.5, "b": 0.5}, "0% .* 1.00"),
        ({"a": 1.0}, {"b": 1.0}, "100% .* 0.00"),
        ({"a": 0.0}, {"a": 0.0}, "0% .* 1.00"),
    ],
)
def test_what_paying_unlike_the_others_costs(own: Any, others: Any, said: str) -> None:
    warning = clipping_warning(own, "robust", others, "network")
    assert warning.startswith("if the other validators pay by network, ")
    assert re.search(said, warning)
