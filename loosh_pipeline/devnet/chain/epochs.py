"""The stateful schedule of epochs: when one starts, and what is counted between two.

An epoch starts `Tempo` blocks after the last one, or at the block the owner asked for, or when more blocks than the
longest tempo there can be went by without one: as the SDK expects it when it works out when a commit will be opened.
"""

from __future__ import annotations

from loosh_pipeline.devnet.chain.state import MutableState, State

MAX_TEMPO_BLOCKS = 50_400


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
    since = state.get("BlocksSinceLastStep", netuid)
    if block < next_epoch_block(state, netuid) and since <= MAX_TEMPO_BLOCKS:
        state.put("BlocksSinceLastStep", netuid, since + 1)
        return
    state.put("BlocksSinceLastStep", netuid, 0)
    state.put("LastMechansimStepBlock", netuid, block)  # the pallet spells it so
    state.put("LastEpochBlock", netuid, block)
    state.put("PendingEpochAt", netuid, 0)
    state.put("SubnetEpochIndex", netuid, state.get("SubnetEpochIndex", netuid) + 1)
    cutoff = activity_cutoff(state, netuid)
    state.put("Active", netuid, [last + cutoff >= block for last in state.get("LastUpdate", netuid)])
