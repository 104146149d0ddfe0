"""The calls a validator makes, checked in the order of the subtensor pallet.

Plaintext weights and timelocked commits. Every other call is refused as the runtime refuses a filtered one. The
order of the checks, and the error names, are those of `pallets/subtensor/src/subnets/weights.rs`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from loosh_pipeline.devnet.chain.runtime import blake2_256
from loosh_pipeline.devnet.chain.scale import read_bytes
from loosh_pipeline.devnet.chain.state import SUBTENSOR, MutableState, State

Event = dict[str, dict[str, Any]]

U16_MAX = 65_535
MAX_UNREVEALED_COMMITS = 10
_COMMIT_AT = 5
"""Where the commit starts in the raw call: after pallet, function, netuid (2) and mechanism."""


class DispatchFailed(Exception):
    """The runtime refused a call that was included: a named error of a pallet."""

    def __init__(self, name: str, pallet: str = SUBTENSOR) -> None:
        super().__init__(f"{pallet}.{name}")
        self.pallet = pallet
        self.name = name


@dataclass(frozen=True, slots=True)
class Call:
    """A decoded call with its signer and the block it is executed in."""

    signer: str
    block: int
    raw: bytes
    pallet: str
    function: str
    args: Mapping[str, Any]


def decode_call(state: State, signer: str, block: int, raw: bytes) -> Call:
    """Raises `ValueError` for bytes that are no call of the runtime."""
    decoded = state.runtime.decode_call(raw)
    args = {arg["name"]: arg["value"] for arg in decoded["call_args"]}
    return Call(signer, block, raw, decoded["call_module"], decoded["call_function"], args)


def dispatch(state: MutableState, call: Call) -> list[Event]:
    """Execute a call: its events, or `DispatchFailed`. Writes are to be dropped when it fails."""
    handler = _CALLS.get((call.pallet, call.function))
    if handler is None:
        raise DispatchFailed("CallFiltered", pallet="System")
    return handler(state, call)


def _require(condition: bool, error: str) -> None:
    if not condition:
        raise DispatchFailed(error)


def _set_weights(state: MutableState, call: Call) -> list[Event]:
    netuid, dests, values = call.args["netuid"], call.args["dests"], call.args["weights"]
    commit_reveal = bool(state.get("CommitRevealWeightsEnabled", netuid))
    _require(not commit_reveal, "CommitRevealEnabled")
    _require(len(dests) == len(values), "WeightVecNotEqualSize")
    _require_mechanism(state, call)
    _require(len(dests) <= state.get("SubnetworkN", netuid), "UidsLengthExceedUidsInSubNet")
    uid = _registered_uid(state, netuid, call.signer)
    stake = state.get("TotalHotkeyAlpha", call.signer, netuid)
    _require(stake >= state.get("StakeThreshold"), "NotEnoughStakeToSetWeights")
    required_key = state.get("WeightsVersionKey", netuid)
    accepted = required_key == 0 or call.args["version_key"] >= required_key
    _require(accepted, "IncorrectWeightVersionKey")
    _require(_rate_limit_passed(state, netuid, uid, call.block), "SettingWeightsTooFast")
    self_weight = list(dests) == [uid]
    _require(self_weight or _may_set_weights(state, netuid, uid, call.signer), "NeuronNoValidatorPermit")
    _require(len(set(dests)) == len(dests), "DuplicateUids")
    _require(all(dest < state.get("SubnetworkN", netuid) for dest in dests), "UidVecContainInvalidOne")
    _require(self_weight or _long_enough(state, netuid, values), "WeightVecLengthIsLow")
    row = max_upscale(values)
    _require(self_weight or _within_limit(state, netuid, row), "MaxWeightExceeded")
    state.put("Weights", netuid, uid, list(zip(dests, row, strict=True)))
    _touch(state, netuid, uid, call.block)
    return [{SUBTENSOR: {"WeightsSet": [netuid, uid]}}]


def _commit_timelocked(state: MutableState, call: Call) -> list[Event]:
    # Permit, stake, version key and uids are judged at the reveal, not here.
    netuid, reveal_round = call.args["netuid"], call.args["reveal_round"]
    _require_mechanism(state, call)
    _require(bool(state.get("CommitRevealWeightsEnabled", netuid)), "CommitRevealDisabled")
    version = state.get("CommitRevealWeightsVersion")
    _require(call.args["commit_reveal_version"] == version, "IncorrectCommitRevealVersion")
    uid = _registered_uid(state, netuid, call.signer)
    _require(_rate_limit_passed(state, netuid, uid, call.block), "CommittingWeightsTooFast")
    epoch = state.get("SubnetEpochIndex", netuid)
    commits = state.get("TimelockedWeightCommits", netuid, epoch)
    own = sum(commit[0] == call.signer for commit in commits)
    _require(own < MAX_UNREVEALED_COMMITS, "TooManyUnrevealedCommits")
    ciphertext, _ = read_bytes(call.raw, _COMMIT_AT)
    state.append("TimelockedWeightCommits", netuid, epoch, (call.signer, call.block, ciphertext, reveal_round))
    _touch(state, netuid, uid, call.block)
    digest = blake2_256(ciphertext)
    return [{SUBTENSOR: {"TimelockedWeightsCommitted": [call.signer, netuid, digest, reveal_round]}}]


def _require_mechanism(state: State, call: Call) -> None:
    netuid, mechanism = call.args["netuid"], call.args.get("mecid", 0)
    exists = state.get("NetworksAdded", netuid) and mechanism < state.get("MechanismCountCurrent", netuid)
    _require(bool(exists), "MechanismDoesNotExist")


def _registered_uid(state: State, netuid: int, hotkey: str) -> int:
    uid = state.get("Uids", netuid, hotkey)
    if uid is None:
        raise DispatchFailed("HotKeyNotRegisteredInSubNet")
    return int(uid)


def _rate_limit_passed(state: State, netuid: int, uid: int, block: int) -> bool:
    last_update: int = state.get("LastUpdate", netuid)[uid]
    limit: int = state.get("WeightsSetRateLimit", netuid)
    return last_update == 0 or block - last_update >= limit


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


def _touch(state: MutableState, netuid: int, uid: int, block: int) -> None:
    last_update = list(state.get("LastUpdate", netuid))
    last_update[uid] = block
    state.put("LastUpdate", netuid, last_update)


def on_initialize(state: MutableState, netuid: int, block: int) -> None:
    """Start of a block: run the epoch when its tempo is over."""
    if block - state.get("LastEpochBlock", netuid) >= state.get("Tempo", netuid):
        state.put("LastEpochBlock", netuid, block)
        state.put("SubnetEpochIndex", netuid, state.get("SubnetEpochIndex", netuid) + 1)
        state.put("BlocksSinceLastStep", netuid, 0)
    else:
        state.put("BlocksSinceLastStep", netuid, state.get("BlocksSinceLastStep", netuid) + 1)


_CALLS: Mapping[tuple[str, str], Callable[[MutableState, Call], list[Event]]] = {
    (SUBTENSOR, "set_weights"): _set_weights,
    (SUBTENSOR, "set_mechanism_weights"): _set_weights,
    (SUBTENSOR, "commit_timelocked_mechanism_weights"): _commit_timelocked,
}
