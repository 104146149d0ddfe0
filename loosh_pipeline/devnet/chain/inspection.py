"""What the stand-in shows to a person who opens its address in a browser: the chain at its head, as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from loosh_pipeline.devnet.chain.administration import DevnetChain
from loosh_pipeline.devnet.chain.commits import journal
from loosh_pipeline.devnet.chain.epochs import next_epoch_block
from loosh_pipeline.devnet.chain.parameters import parameters
from loosh_pipeline.devnet.chain.reveal import DRAND
from loosh_pipeline.devnet.chain.runtime import RAO_PER_TAO
from loosh_pipeline.devnet.chain.state import State

_ROUND_BYTES = 8


def inspect_chain(chain: DevnetChain) -> dict[str, Any]:
    """Block, epoch, parameters, neurons, weight rows (u16 by uid), commits and what became of them, pool, faults."""
    with chain.lock:
        state, netuid, runtime = chain.state(), chain.config.netuid, chain.runtime
        return {
            "block": chain.head.number,
            "block_hash": chain.head.hash,
            "finalized_block": chain.finalized.number,
            "genesis_hash": chain.genesis.hash,
            "runtime": runtime.name,
            "spec_version": runtime.spec_version,
            "faults": list(chain.faults.active()),
            "netuid": netuid,
            "epoch": state.get("SubnetEpochIndex", netuid),
            "last_epoch_block": state.get("LastEpochBlock", netuid),
            "next_epoch_block": next_epoch_block(state, netuid),
            "parameters": parameters(state, netuid),
            "neurons": _neurons(state, netuid),
            "weights": _weights(state, netuid),
            "commits": [asdict(record) for record in journal(state)],
            "pulses": _pulses(chain),
            "pool": [extrinsic.hash for extrinsic in chain.pool()],
        }


def _pulses(chain: DevnetChain) -> list[int]:
    """The rounds of the beacon the chain holds."""
    keys = chain.keys(chain.runtime.prefix(DRAND, "Pulses"))
    return sorted(int.from_bytes(key[-_ROUND_BYTES:], "little") for key in keys)


def _neurons(state: State, netuid: int) -> list[dict[str, Any]]:
    permits, last_update, active = (state.get(name, netuid) for name in ("ValidatorPermit", "LastUpdate", "Active"))
    hotkeys = [state.get("Keys", netuid, uid) for uid in range(state.get("SubnetworkN", netuid))]
    return [
        {
            "uid": uid,
            "hotkey": hotkey,
            "coldkey": state.get("Owner", hotkey),
            "stake_tao": state.get("TotalHotkeyAlpha", hotkey, netuid) / RAO_PER_TAO,
            "validator_permit": permits[uid],
            "active": active[uid],
            "registered_block": state.get("BlockAtRegistration", netuid, uid),
            "last_update": last_update[uid],
            "axon": state.get("Axons", netuid, hotkey),
        }
        for uid, hotkey in enumerate(hotkeys)
    ]


def _weights(state: State, netuid: int) -> dict[str, dict[str, int]]:
    rows = {str(uid): state.get("Weights", netuid, uid) for uid in range(state.get("SubnetworkN", netuid))}
    return {uid: {str(dest): weight for dest, weight in row} for uid, row in rows.items() if row}
