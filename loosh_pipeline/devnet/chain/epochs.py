"""The stateful schedule of epochs: when one starts, and what is counted between two.

As in the pallet: an epoch starts `Tempo` blocks after the last one, or at the block the owner asked for, or when more
blocks than that went by without one.
"""

from __future__ import annotations

from loosh_pipeline.devnet.chain.state import MutableState, State


def activity_cutoff(state: State, netuid: int) -> int:
    """Blocks without new weights after which a validator is inactive."""
    return int(state.get("ActivityCutoffFactorMilli", netuid) * state.get("Tempo", netuid) // 1000)


def next_epoch_block(state: State, netuid: int) -> int:
    """The block at which the next epoch is expected to start."""
    automatic = int(state.get("LastEpochBlock", netuid) + state.get("Tempo", netuid))
    pending = int(state.get("PendingEpochAt", netuid))
    return min(automatic, pending) if pending else automatic


def advance_epoch(state: MutableState, netuid: int, block: int) -> None:
    """Start of a block: count it, and start an epoch when it is due."""
    tempo = state.get("Tempo", netuid)
    since = min(state.get("BlocksSinceLastStep", netuid) + 1, tempo + 1)
    if block < next_epoch_block(state, netuid) and since <= tempo:
        state.put("BlocksSinceLastStep", netuid, since)
        return
    state.put("BlocksSinceLastStep", netuid, 0)
    state.put("LastMechansimStepBlock", netuid, block)  # the pallet spells it so
    state.put("LastEpochBlock", netuid, block)
    state.put("PendingEpochAt", netuid, 0)
    state.put("SubnetEpochIndex", netuid, state.get("SubnetEpochIndex", netuid) + 1)
    cutoff = activity_cutoff(state, netuid)
    state.put("Active", netuid, [last + cutoff >= block for last in state.get("LastUpdate", netuid)])
