"""What the stand-in shows to a person who opens its address in a browser: the chain at its head, as JSON."""

from __future__ import annotations

from typing import Any

from loosh_pipeline.devnet.chain.node import DevnetChain
from loosh_pipeline.devnet.chain.runtime import RAO_PER_TAO, SPEC_VERSION
from loosh_pipeline.devnet.chain.state import State


def inspect_chain(chain: DevnetChain) -> dict[str, Any]:
    """Block, parameters, neurons, weight rows (u16 by uid), commits and waiting transactions."""
    with chain.lock:
        state, netuid = chain.state(), chain.config.netuid
        return {
            "block": chain.head.number,
            "block_hash": chain.head.hash,
            "genesis_hash": chain.genesis.hash,
            "spec_version": SPEC_VERSION,
            "netuid": netuid,
            "tempo": state.get("Tempo", netuid),
            "epoch": state.get("SubnetEpochIndex", netuid),
            "weights_rate_limit": state.get("WeightsSetRateLimit", netuid),
            "commit_reveal": state.get("CommitRevealWeightsEnabled", netuid),
            "neurons": _neurons(state, netuid),
            "weights": _weights(state, netuid),
            "commits": _commits(state, netuid),
            "pool": [extrinsic.hash for extrinsic in chain.pool()],
        }


def _neurons(state: State, netuid: int) -> list[dict[str, Any]]:
    permits, last_update = state.get("ValidatorPermit", netuid), state.get("LastUpdate", netuid)
    hotkeys = [state.get("Keys", netuid, uid) for uid in range(state.get("SubnetworkN", netuid))]
    return [
        {
            "uid": uid,
            "hotkey": hotkey,
            "coldkey": state.get("Owner", hotkey),
            "stake_tao": state.get("TotalHotkeyAlpha", hotkey, netuid) / RAO_PER_TAO,
            "validator_permit": permits[uid],
            "last_update": last_update[uid],
            "axon": state.get("Axons", netuid, hotkey),
        }
        for uid, hotkey in enumerate(hotkeys)
    ]


def _weights(state: State, netuid: int) -> dict[str, dict[str, int]]:
    rows = {str(uid): state.get("Weights", netuid, uid) for uid in range(state.get("SubnetworkN", netuid))}
    return {uid: {str(dest): weight for dest, weight in row} for uid, row in rows.items() if row}


def _commits(state: State, netuid: int) -> list[dict[str, Any]]:
    epochs = range(state.get("SubnetEpochIndex", netuid) + 1)
    return [
        {"epoch": epoch, "hotkey": hotkey, "block": block, "bytes": len(ciphertext), "reveal_round": reveal}
        for epoch in epochs[-4:]
        for hotkey, block, ciphertext, reveal in state.get("TimelockedWeightCommits", netuid, epoch)
    ]
