"""What is read of a subnet, through a connection and at one block of it. Imports nothing of the SDK."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from loosh_pipeline.chain.endpoints import shown
from loosh_pipeline.chain.weights import U16_MAX
from loosh_pipeline.domain import Block, Coldkey, Commit, Hotkey, Metagraph, Neuron, ObservedWeights, Uid
from loosh_pipeline.errors import ChainRefusal, StaleChain, WrongChain

RAO_PER_TAO = 10**9
PALLET = "SubtensorModule"
_SKEW = (ValueError, LookupError, TypeError)
"""What comes of storage that this runtime has not, or has in another shape."""

log = logging.getLogger(__name__)
AHEAD_S = 30.0
"""Most by which a block may be ahead of this machine's clock."""


@dataclass(frozen=True, slots=True)
class Head:
    """A connection and the newest block of the node behind it."""

    substrate: Any
    endpoint: str
    genesis_hash: str
    block_hash: str
    made_at: datetime | None

    async def read(self, name: str, *params: Any, pallet: str = PALLET) -> Any:
        return await self.substrate.query(pallet, name, list(params), block_hash=self.block_hash)

    async def read_each(self, name: str, keys: list[list[Any]]) -> list[Any]:
        """One storage map at several keys."""
        found: list[Any] = await self.substrate.query_batch(PALLET, name, keys, block_hash=self.block_hash)
        return found

    async def number(self) -> Block:
        return Block(int(await self.read("Number", pallet="System")))


async def newest_block(
    substrate: Any, endpoint: str, stale_after_s: float, expected_genesis: str | None = None
) -> Head:
    """The block that everything is read at. Raises `WrongChain` for one of another chain, `StaleChain` for one that is
    older than that, or made after what this machine's clock says.
    """
    genesis_hash = str(await substrate.raw.rpc_request("chain_getBlockHash", [0]))
    if expected_genesis not in (None, genesis_hash):
        raise WrongChain(
            f"{shown(endpoint)} serves the chain with block 0 {genesis_hash}; the one of {expected_genesis} is meant. "
            "SUBTENSOR_ADDRESS and every one of SUBTENSOR_FALLBACKS must be of one network"
        )
    block_hash = await substrate.block_hash()
    now_ms = int(await substrate.query("Timestamp", "Now", [], block_hash=block_hash))
    if not now_ms:  # block 0 has no time
        return Head(substrate, endpoint, genesis_hash, block_hash, None)
    made_at = datetime.fromtimestamp(now_ms / 1000, UTC)
    _check_time(shown(endpoint), made_at, stale_after_s)
    return Head(substrate, endpoint, genesis_hash, block_hash, made_at)


def _check_time(where: str, made_at: datetime, stale_after_s: float) -> None:
    age_s = (datetime.now(UTC) - made_at).total_seconds()
    if age_s > stale_after_s:
        raise StaleChain(
            f"the newest block of {where} is {age_s:.0f} s old, of {made_at:%Y-%m-%d %H:%M:%S} UTC; more than "
            f"CHAIN_STALE_AFTER_S ({stale_after_s:g}). The node lags, the chain stands still, or this machine's clock "
            "is wrong"
        )
    if age_s < -AHEAD_S:
        raise StaleChain(
            f"the newest block of {where}, of {made_at:%Y-%m-%d %H:%M:%S} UTC, is {-age_s:.0f} s ahead of this "
            f"machine's clock; {AHEAD_S:g} at most. Set the clock by NTP: by a slow one a node that lags looks fresh, "
            "and commits are sealed for a time that is past"
        )


async def read_subnet(at: Head, netuid: int) -> Metagraph:
    substrate, block_hash, taken_at = at.substrate, at.block_hash, datetime.now(UTC)
    version, graph, threshold = await asyncio.gather(
        substrate.raw.rpc_request("state_getRuntimeVersion", [block_hash]),
        substrate.runtime_call("SubnetInfoRuntimeApi", "get_metagraph", [netuid], block_hash=block_hash),
        at.read("StakeThreshold"),
    )
    if graph is None:
        raise ChainRefusal(f"subnet {netuid} does not exist on this chain; check NETUID and SUBTENSOR_ADDRESS")
    return Metagraph(
        netuid=netuid,
        block=Block(int(graph["block"])),
        block_hash=block_hash,
        spec_version=int(version["specVersion"]),
        taken_at=taken_at,
        tempo_blocks=int(graph["tempo"]),
        activity_cutoff_blocks=int(graph["activity_cutoff"]),
        weights_rate_limit_blocks=int(graph["weights_rate_limit"]),
        min_allowed_weights=int(graph["min_allowed_weights"]),
        weights_version_key=int(graph["weights_version"]),
        commit_reveal=bool(graph["commit_reveal_weights_enabled"]),
        neurons=_neurons(graph),
        reveal_period_epochs=int(graph["commit_reveal_period"]),
        max_weight_share=int(graph["max_weights_limit"]) / U16_MAX,
        stake_threshold=int(threshold) / RAO_PER_TAO,
        block_time=at.made_at,
        owner_hotkey=Hotkey(str(graph["owner_hotkey"])),
        owner_coldkey=Coldkey(str(graph["owner_coldkey"])),
        genesis_hash=at.genesis_hash,
    )


def _neurons(graph: Mapping[str, Any]) -> tuple[Neuron, ...]:
    columns = zip(
        graph["hotkeys"],
        graph["coldkeys"],
        graph["axons"],
        graph["validator_permit"],
        graph["total_stake"],
        graph["last_update"],
        graph["block_at_registration"],
        strict=True,
    )
    return tuple(
        Neuron(
            uid=Uid(uid),
            hotkey=Hotkey(str(hotkey)),
            coldkey=Coldkey(str(coldkey)),
            ip=axon_ip(axon),
            port=int(axon["port"]),
            validator_permit=bool(permit),
            stake=int(stake) / RAO_PER_TAO,
            last_update=Block(int(last_update)),
            registered_block=Block(int(registered)),
        )
        for uid, (hotkey, coldkey, axon, permit, stake, last_update, registered) in enumerate(columns)
    )


def axon_ip(axon: Mapping[str, Any]) -> str | None:
    """The address a neuron announced; None for none, or for a number that is no address of its kind."""
    number = int(axon["ip"])
    if number == 0:
        return None
    kind = ipaddress.IPv6Address if int(axon["ip_type"]) == 6 else ipaddress.IPv4Address
    try:
        return str(kind(number))
    except ipaddress.AddressValueError:
        return None  # anybody may announce anything; one bad entry must not hide the others


async def finalized(at: Head) -> Head:
    """The newest final block of the node: no reorganisation takes back what is concluded there."""
    return replace(at, block_hash=await at.substrate.block_hash(await at.substrate.finalized_block_number()))


async def read_block_hash(head: Head, block: Block) -> str | None:
    """Of a final block; None while it is not. Nodes keep the headers of blocks whose state they forgot."""
    if block > int(await head.substrate.finalized_block_number()):
        return None
    return str(await head.substrate.block_hash(block))


async def read_weights(head: Head, netuid: int, hotkey: Hotkey) -> ObservedWeights:
    at = await finalized(head)
    number, uid = await asyncio.gather(at.number(), at.read("Uids", netuid, hotkey))
    if uid is None:
        return ObservedWeights(hotkey, None, number, Block(0), {})
    row, last_update, count = await asyncio.gather(
        at.read("Weights", netuid, uid),
        at.read("LastUpdate", netuid),
        at.read("SubnetworkN", netuid),
    )
    slots = [Uid(slot) for slot in range(int(count))]
    keys, registered, (epoch, period, commits) = await asyncio.gather(
        at.read_each("Keys", [[netuid, slot] for slot in slots]),
        at.read_each("BlockAtRegistration", [[netuid, slot] for slot in slots]),
        _commits(at, netuid, hotkey),
    )
    total = sum(int(weight) for _, weight in row)
    return ObservedWeights(
        hotkey=hotkey,
        uid=Uid(int(uid)),
        block=number,
        last_update=Block(int(last_update[uid])),
        weights={Uid(int(dest)): int(weight) / total for dest, weight in row if weight},
        epoch=epoch,
        reveal_period_epochs=period,
        commits=commits,
        hotkeys={slot: Hotkey(str(key)) for slot, key in zip(slots, keys, strict=True)},
        registered={slot: Block(int(block or 0)) for slot, block in zip(slots, registered, strict=True)},
    )


async def _commits(at: Head, netuid: int, hotkey: Hotkey) -> tuple[int, int, tuple[Commit, ...] | None]:
    """The epoch, the reveal period, and what a hotkey committed to and the chain lists as not revealed yet.

    Zeros and None on a runtime that keeps them otherwise: that must not keep plain weights from being read.
    """
    try:
        epoch, period = await asyncio.gather(at.read("SubnetEpochIndex", netuid), at.read("RevealPeriodEpochs", netuid))
        epochs = range(max(0, int(epoch) - int(period) - 1), int(epoch) + 1)
        found = await at.read_each("TimelockedWeightCommits", [[netuid, each] for each in epochs])
        return (
            int(epoch),
            int(period),
            tuple(
                Commit(each, Block(int(block)), int(reveal_round))
                for each, listed in zip(epochs, found, strict=True)
                for committer, block, _, reveal_round in listed or ()
                if committer == hotkey
            ),
        )
    except _SKEW as skew:  # what a node's troubles raise is of other kinds
        log.warning("commits to weights cannot be read from this runtime (%s: %s)", type(skew).__name__, skew)
        return 0, 0, None
