"""What newer runtimes refuse already at the pool: a call that is bound to fail on stake, rate or address.

A node answers such a transaction with 1010 and `Custom error: N`, and it never gets into a block. The numbers are those
of `CustomTransactionError` in subtensor's `common/src/transaction_error.rs`, the checks those of its extensions
`CheckWeights`, `CheckRateLimits` and `CheckServingEndpoints`.
"""

from __future__ import annotations

from collections.abc import Mapping

from loosh_pipeline.devnet.chain.calls import Call, DispatchFailed
from loosh_pipeline.devnet.chain.pool import Refused
from loosh_pipeline.devnet.chain.reveal import DRAND
from loosh_pipeline.devnet.chain.serving import serve_axon
from loosh_pipeline.devnet.chain.state import SUBTENSOR, MutableState, State
from loosh_pipeline.devnet.chain.weights import rate_limit_passed

_WEIGHTS = frozenset({"set_weights", "set_mechanism_weights"})
_COMMITS = frozenset({"commit_timelocked_weights", "commit_timelocked_mechanism_weights"})
_STAKE_TOO_LOW, _RATE_LIMITED, _ROUND_PAST, _OTHER = 1, 6, 15, 255
_SERVING: Mapping[str, int] = {
    "SubnetNotExists": 3,
    "HotKeyNotRegisteredInNetwork": 10,
    "InvalidIpAddress": 11,
    "ServingRateLimitExceeded": 12,
    "InvalidPort": 13,
}


def check_valid(state: MutableState, call: Call) -> None:
    """Raises `Refused` for a call that the runtime knows to fail. Writes to `state`, which is to be thrown away."""
    code = None
    if call.pallet == SUBTENSOR and call.function in _WEIGHTS | _COMMITS:
        code = _weights(state, call)
    elif call.pallet == SUBTENSOR and call.function == "serve_axon":
        code = _serving(state, call)
    if code is not None:
        raise Refused(1010, "Invalid Transaction", f"Custom error: {code}")


def _weights(state: State, call: Call) -> int | None:
    netuid = call.args["netuid"]
    if state.get("TotalHotkeyAlpha", call.signer, netuid) < state.get("StakeThreshold"):
        return _STAKE_TOO_LOW
    if call.function in _COMMITS and call.args["reveal_round"] < state.get("LastStoredRound", pallet=DRAND):
        return _ROUND_PAST
    uid = state.get("Uids", netuid, call.signer)
    if uid is not None and not rate_limit_passed(state, netuid, uid, call.block):
        return _RATE_LIMITED
    return None


def _serving(state: MutableState, call: Call) -> int | None:
    try:
        serve_axon(state, call)
    except DispatchFailed as failure:
        return _SERVING.get(failure.name, _OTHER)
    return None
