"""The calls a validator makes, by name. Every other call is refused as the runtime refuses a filtered one."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from loosh_pipeline.devnet.chain.calls import Call, DispatchFailed, Event
from loosh_pipeline.devnet.chain.commits import commit_timelocked
from loosh_pipeline.devnet.chain.epochs import advance_epoch
from loosh_pipeline.devnet.chain.reveal import reveal_commits
from loosh_pipeline.devnet.chain.serving import serve_axon
from loosh_pipeline.devnet.chain.state import SUBTENSOR, MutableState
from loosh_pipeline.devnet.chain.weights import set_weights


def dispatch(state: MutableState, call: Call) -> list[Event]:
    """Execute a call: its events, or `DispatchFailed`. Writes are to be dropped when it fails."""
    handler = _CALLS.get((call.pallet, call.function))
    if handler is None:
        raise DispatchFailed("CallFiltered", pallet="System")
    return handler(state, call)


def on_initialize(state: MutableState, netuid: int, block: int) -> list[Event]:
    """Start of a block: the epoch when it is due, and the commits that are to be opened."""
    advance_epoch(state, netuid, block)
    return reveal_commits(state, netuid, block)


_CALLS: Mapping[tuple[str, str], Callable[[MutableState, Call], list[Event]]] = {
    (SUBTENSOR, "set_weights"): set_weights,
    (SUBTENSOR, "set_mechanism_weights"): set_weights,
    (SUBTENSOR, "commit_timelocked_weights"): commit_timelocked,
    (SUBTENSOR, "commit_timelocked_mechanism_weights"): commit_timelocked,
    (SUBTENSOR, "serve_axon"): serve_axon,
}
