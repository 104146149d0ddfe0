"""Weights in the clear, and the checks a revealed commit goes through too, in the order of the subtensor pallet.

The order of the checks, and the error names, are those of `pallets/subtensor/src/subnets/weights.rs`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from loosh_pipeline.devnet.chain.calls import Call, DispatchFailed, Event, registered_uid, require
from loosh_pipeline.devnet.chain.state import SUBTENSOR, MutableState, State

U16_MAX = 65_535
ROOT_NETUID = 0


@dataclass(frozen=True, slots=True)
class Row:
    """Weights somebody wants to set: targets and values side by side, not checked for anything."""

    hotkey: str
    netuid: int
    mechanism: int
    uids: Sequence[int]
    values: Sequence[int]
    version_key: int


def set_weights(state: MutableState, call: Call) -> list[Event]:
    """The plaintext calls, which commit-reveal forbids before anything else is looked at."""
    args = call.args
    require(not state.get("CommitRevealWeightsEnabled", args["netuid"]), "CommitRevealEnabled")
    row = Row(call.signer, args["netuid"], args.get("mecid", 0), args["dests"], args["weights"], args["version_key"])
    return apply_row(state, row, call.block)


def apply_row(state: MutableState, row: Row, block: int) -> list[Event]:
    """Check a row and store it. Raises `DispatchFailed`; what was written before that is to be dropped."""
    netuid = row.netuid
    uid = _admitted(state, row, block)
    _require_well_formed(state, row, uid)
    upscaled = max_upscale(row.values)
    require(_is_self_weight(row, uid) or _within_limit(state, netuid, upscaled), "MaxWeightExceeded")
    state.put("Weights", netuid, uid, list(zip(row.uids, upscaled, strict=True)))
    if not state.get("CommitRevealWeightsEnabled", netuid):  # the commit has moved it already
        state.put_element("LastUpdate", netuid, uid, block)
    return [{SUBTENSOR: {"WeightsSet": [netuid, uid]}}]


def _admitted(state: State, row: Row, block: int) -> int:
    """The uid of a hotkey that may set weights now."""
    netuid = row.netuid
    require(netuid != ROOT_NETUID, "CanNotSetRootNetworkWeights")
    require(len(row.uids) == len(row.values), "WeightVecNotEqualSize")
    require_mechanism(state, netuid, row.mechanism)
    require(len(row.uids) <= state.get("SubnetworkN", netuid), "UidsLengthExceedUidsInSubNet")
    uid = registered_uid(state, netuid, row.hotkey)
    stake = state.get("TotalHotkeyAlpha", row.hotkey, netuid)
    require(stake >= state.get("StakeThreshold"), "NotEnoughStakeToSetWeights")
    required_key = state.get("WeightsVersionKey", netuid)
    require(required_key == 0 or row.version_key >= required_key, "IncorrectWeightVersionKey")
    if not state.get("CommitRevealWeightsEnabled", netuid):
        require(rate_limit_passed(state, netuid, uid, block), "SettingWeightsTooFast")
    permitted = _is_self_weight(row, uid) or _may_set_weights(state, netuid, uid, row.hotkey)
    require(permitted, "NeuronNoValidatorPermit")
    return uid


def _require_well_formed(state: State, row: Row, uid: int) -> None:
    count = state.get("SubnetworkN", row.netuid)
    require(len(set(row.uids)) == len(row.uids), "DuplicateUids")
    require(all(dest < count for dest in row.uids), "UidVecContainInvalidOne")
    require(_is_self_weight(row, uid) or _long_enough(state, row.netuid, row.values), "WeightVecLengthIsLow")


def require_mechanism(state: State, netuid: int, mechanism: int) -> None:
    """Raises `DispatchFailed` for a subnet that is not there, or a mechanism it does not have."""
    exists = state.get("NetworksAdded", netuid) and mechanism < state.get("MechanismCountCurrent", netuid)
    if not exists:
        raise DispatchFailed("MechanismDoesNotExist")


def rate_limit_passed(state: State, netuid: int, uid: int, block: int) -> bool:
    """Whether the blocks since the last weights or commit are enough; 0 means that there were none."""
    last_update: int = state.get("LastUpdate", netuid)[uid]
    limit: int = state.get("WeightsSetRateLimit", netuid)
    return last_update == 0 or block - last_update >= limit


def _is_self_weight(row: Row, uid: int) -> bool:
    return list(row.uids) == [uid]


def _may_set_weights(state: State, netuid: int, uid: int, hotkey: str) -> bool:
    is_owner = state.get("Owner", hotkey) == state.get("SubnetOwner", netuid)
    return is_owner or bool(state.get("ValidatorPermit", netuid)[uid])


def _long_enough(state: State, netuid: int, values: Sequence[int]) -> bool:
    required: int = min(state.get("MinAllowedWeights", netuid), state.get("SubnetworkN", netuid))
    return sum(value > 0 for value in values) >= required


def _within_limit(state: State, netuid: int, row: Sequence[int]) -> bool:
    limit: int = state.get("MaxWeightsLimit", netuid)
    return limit >= U16_MAX or max(row, default=0) * U16_MAX <= limit * sum(row)


def max_upscale(values: Sequence[int]) -> list[int]:
    """The row with its largest weight raised to 65535, the others in proportion."""
    top = max(values, default=0)
    return list(values) if top in (0, U16_MAX) else [round(value * U16_MAX / top) for value in values]
