"""Hyperparameters of the subnet: where each is stored, at genesis and when it is changed later."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from loosh_pipeline.devnet.chain.runtime import RAO_PER_TAO
from loosh_pipeline.devnet.chain.state import MutableState, State
from loosh_pipeline.errors import DevnetError


@dataclass(frozen=True, slots=True)
class Hyperparameter:
    """A storage item, of the subnet unless it is `chain_wide`, and how its value is read from and put into storage."""

    item: str
    chain_wide: bool = False
    stored: Callable[[Any], Any] = lambda value: value
    shown: Callable[[Any], Any] = lambda value: value

    def params(self, netuid: int) -> list[int]:
        return [] if self.chain_wide else [netuid]


HYPERPARAMETERS: Mapping[str, Hyperparameter] = {
    "tempo_blocks": Hyperparameter("Tempo"),
    "rate_limit_blocks": Hyperparameter("WeightsSetRateLimit"),
    "serving_rate_limit_blocks": Hyperparameter("ServingRateLimit"),
    "commit_reveal": Hyperparameter("CommitRevealWeightsEnabled"),
    "reveal_period_epochs": Hyperparameter("RevealPeriodEpochs"),
    "min_allowed_weights": Hyperparameter("MinAllowedWeights"),
    "max_weights_limit": Hyperparameter("MaxWeightsLimit"),
    "weights_version_key": Hyperparameter("WeightsVersionKey"),
    "stake_threshold_tao": Hyperparameter(
        "StakeThreshold", True, lambda tao: round(tao * RAO_PER_TAO), lambda rao: rao / RAO_PER_TAO
    ),
    "activity_cutoff_factor_milli": Hyperparameter("ActivityCutoffFactorMilli"),
}
"""By the name of the field of `ChainConfig`."""


def check_names(names: Mapping[str, Any]) -> None:
    """Raises `DevnetError` for a name that is no hyperparameter's."""
    unknown = sorted(names.keys() - HYPERPARAMETERS.keys())
    if unknown:
        raise DevnetError(f"there is no hyperparameter {unknown[0]!r}; there are {', '.join(HYPERPARAMETERS)}")


def put_parameters(state: MutableState, netuid: int, values: Mapping[str, Any]) -> None:
    """Store hyperparameters by name."""
    for name, value in values.items():
        parameter = HYPERPARAMETERS[name]
        state.put(parameter.item, *parameter.params(netuid), parameter.stored(value))


def change_parameters(state: MutableState, netuid: int, block: int, values: Mapping[str, Any]) -> None:
    """Change hyperparameters of a running subnet; a new tempo counts from this block, as the pallet does it."""
    put_parameters(state, netuid, values)
    if "tempo_blocks" in values:
        state.put("LastEpochBlock", netuid, block)


def parameters(state: State, netuid: int) -> dict[str, Any]:
    """All hyperparameters by name."""
    return {
        name: parameter.shown(state.get(parameter.item, *parameter.params(netuid)))
        for name, parameter in HYPERPARAMETERS.items()
    }
