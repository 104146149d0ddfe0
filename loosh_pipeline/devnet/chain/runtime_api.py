"""The runtime APIs a client asks for: metagraph, neurons, fees, computed from the state of one block.

Economy and incentives are constants of a subnet that has run no Yuma epoch: the stand-in is for access to the
chain, not for its consensus.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from loosh_pipeline.devnet.chain.epochs import activity_cutoff
from loosh_pipeline.devnet.chain.runtime import RAO_PER_TAO
from loosh_pipeline.devnet.chain.state import State

NAME = "loosh devnet"
_NO_AXON = dict.fromkeys(("block", "version", "ip", "port", "ip_type", "protocol", "placeholder1", "placeholder2"), 0)
_NO_PROMETHEUS = dict.fromkeys(("block", "version", "ip", "port", "ip_type"), 0)
_NO_SCORE = dict.fromkeys(
    ("rank", "emission", "incentive", "consensus", "trust", "validator_trust", "dividends", "pruning_score"),
    0,
)


class NotModelled(Exception):
    """The stand-in has no such runtime API."""


def call_runtime_api(state: State, name: str, data: bytes) -> bytes:
    """SCALE answer to `state_call`. Raises `NotModelled`, or `ValueError` on malformed parameters."""
    answer = _ANSWERS.get(name)
    if answer is None:
        raise NotModelled(name)
    api, method = name.split("_", 1)
    return state.runtime.encode_api_result(api, method, answer(state, data))


def _netuid(data: bytes) -> int:
    if len(data) != 2:
        raise ValueError(f"a netuid is 2 bytes, got {len(data)}")
    return int.from_bytes(data, "little")


def _registered(state: State, netuid: int) -> list[str]:
    return [state.get("Keys", netuid, uid) for uid in range(state.get("SubnetworkN", netuid))]


def _neurons_lite(state: State, data: bytes) -> list[dict[str, Any]]:
    netuid = _netuid(data)
    if not state.get("NetworksAdded", netuid):
        return []
    active, permits, last_update = (state.get(name, netuid) for name in ("Active", "ValidatorPermit", "LastUpdate"))
    return [
        {
            **_NO_SCORE,
            "hotkey": hotkey,
            "coldkey": state.get("Owner", hotkey),
            "uid": uid,
            "netuid": netuid,
            "active": active[uid],
            "axon_info": state.get("Axons", netuid, hotkey) or _NO_AXON,
            "prometheus_info": _NO_PROMETHEUS,
            "stake": [[state.get("Owner", hotkey), state.get("TotalHotkeyAlpha", hotkey, netuid)]],
            "last_update": last_update[uid],
            "validator_permit": permits[uid],
        }
        for uid, hotkey in enumerate(_registered(state, netuid))
    ]


def _metagraph(state: State, data: bytes) -> dict[str, Any] | None:
    netuid = _netuid(data)
    if not state.get("NetworksAdded", netuid):
        return None
    return {
        "netuid": netuid,
        "name": list(NAME.encode()),
        "symbol": list("λ".encode()),
        "identity": None,
        "network_registered_at": 0,
        "owner_hotkey": state.get("Keys", netuid, 0),
        "owner_coldkey": state.get("SubnetOwner", netuid),
        "block": state.get("Number", pallet="System"),
        **_hyperparameters(state, netuid),
        **_POOL,
        **_columns(state, netuid),
        "tao_dividends_per_hotkey": [],
        "alpha_dividends_per_hotkey": [],
    }


def _hyperparameters(state: State, netuid: int) -> dict[str, Any]:
    return {
        "tempo": state.get("Tempo", netuid),
        "last_step": state.get("LastEpochBlock", netuid),
        "blocks_since_last_step": state.get("BlocksSinceLastStep", netuid),
        "min_allowed_weights": state.get("MinAllowedWeights", netuid),
        "max_weights_limit": state.get("MaxWeightsLimit", netuid),
        "weights_version": state.get("WeightsVersionKey", netuid),
        "weights_rate_limit": state.get("WeightsSetRateLimit", netuid),
        "activity_cutoff": activity_cutoff(state, netuid),
        "commit_reveal_weights_enabled": state.get("CommitRevealWeightsEnabled", netuid),
        "commit_reveal_period": state.get("RevealPeriodEpochs", netuid),
        "num_uids": state.get("SubnetworkN", netuid),
        "max_uids": state.get("MaxAllowedUids", netuid),
        "max_validators": 64,
        "immunity_period": 4096,
        "rho": 10,
        "kappa": 32_767,
        "registration_allowed": True,
        "pow_registration_allowed": False,
        "adjustment_alpha": 0,
        "adjustment_interval": 100,
        "target_regs_per_interval": 1,
        "max_regs_per_block": 1,
        "serving_rate_limit": state.get("ServingRateLimit", netuid),
        "liquid_alpha_enabled": False,
        "alpha_high": 58_982,
        "alpha_low": 45_875,
        "bonds_moving_avg": 900_000,
        **dict.fromkeys(("burn", "min_burn", "max_burn", "difficulty", "min_difficulty", "max_difficulty"), 0),
    }


_POOL: Mapping[str, Any] = {
    "alpha_in": 1000 * RAO_PER_TAO,
    "alpha_out": 1000 * RAO_PER_TAO,
    "tao_in": 100 * RAO_PER_TAO,
    "moving_price": {"bits": 2**31},
    **dict.fromkeys(
        (
            "subnet_emission",
            "alpha_out_emission",
            "alpha_in_emission",
            "tao_in_emission",
            "pending_alpha_emission",
            "pending_root_emission",
            "subnet_volume",
        ),
        0,
    ),
}


def _columns(state: State, netuid: int) -> dict[str, Any]:
    hotkeys = _registered(state, netuid)
    zeros = [0] * len(hotkeys)
    stakes = [state.get("TotalHotkeyAlpha", hotkey, netuid) for hotkey in hotkeys]
    unscored = (
        *("pruning_score", "emission", "dividends", "incentives", "consensus", "trust", "rank"),
        *("tao_stake", "collateral_locked", "collateral_min", "collateral_earned"),
    )
    return {
        **dict.fromkeys(unscored, zeros),
        "hotkeys": hotkeys,
        "coldkeys": [state.get("Owner", hotkey) for hotkey in hotkeys],
        "block_at_registration": [state.get("BlockAtRegistration", netuid, uid) for uid in range(len(hotkeys))],
        "identities": [None] * len(hotkeys),
        "axons": [state.get("Axons", netuid, hotkey) or _NO_AXON for hotkey in hotkeys],
        "active": state.get("Active", netuid),
        "validator_permit": state.get("ValidatorPermit", netuid),
        "last_update": state.get("LastUpdate", netuid),
        "alpha_stake": stakes,
        "total_stake": stakes,
    }


def _fee(state: State, data: bytes) -> dict[str, Any]:
    # Weight calls of a registered neuron pay no fee on the real chain either.
    return {"weight": {"ref_time": 1, "proof_size": 1}, "class": "Normal", "partial_fee": 0}


_ANSWERS: Mapping[str, Callable[[State, bytes], Any]] = {
    "SubnetInfoRuntimeApi_get_metagraph": _metagraph,
    "NeuronInfoRuntimeApi_get_neurons_lite": _neurons_lite,
    "TransactionPaymentApi_query_info": _fee,
}
