"""The real chain, through the bittensor SDK. With `wallet.py`, the only module that imports it.

Every operation opens its own connection to the one endpoint it was given, pins one block and closes again: a shared
SDK client leaks memory and hangs half-open over days. Nothing here bounds time; `ProcessChain` does.

The SDK reports trouble in several shapes: preflight problems are raised, failures on chain are returned, and what
its transport raises is partly outside its own exception tree. All of it becomes a refused `Submission` (the weights
are certainly not set) or a `ChainError`.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from loosh_pipeline.chain.port import ERA_BLOCKS
from loosh_pipeline.chain.wallet import HotkeySigner, load_signer
from loosh_pipeline.chain.weights import U16_MAX
from loosh_pipeline.domain import (
    Block,
    Coldkey,
    Hotkey,
    Metagraph,
    Neuron,
    ObservedWeights,
    Submission,
    Uid,
    WeightPlan,
)
from loosh_pipeline.errors import ChainError, LooshError

T = TypeVar("T")

RAO_PER_TAO = 10**9
"""A signed submission can be included for this many blocks, then never: it bounds how long an outcome is open."""

_PALLET = "SubtensorModule"
_POOL_REFUSALS = frozenset(range(1000, 1100)) - {1013}
"""JSON-RPC codes with which a node refuses a transaction; 1013 says that it holds the same one already."""
_MEANING_WHEN_ABSENT: Mapping[str, Any] = {
    "SubnetEpochConsensus": None,  # Yuma, the only consensus of runtimes without the choice
    "MaxWeightsLimit": None,  # no limit
}
"""Storage the SDK reads before setting weights that not every runtime has, and what its absence means."""


class BittensorChain:
    """Implements `Chain` for one endpoint and one hotkey."""

    def __init__(self, endpoint: str, wallet_path: Path, wallet_name: str, hotkey_name: str) -> None:
        self._endpoint = endpoint
        self._wallet = (wallet_path, wallet_name, hotkey_name)

    def snapshot(self, netuid: int) -> Metagraph:
        return self._connected(f"reading subnet {netuid}", lambda substrate: _snapshot(substrate, netuid))

    def submit_weights(self, plan: WeightPlan) -> Submission:
        signer = load_signer(*self._wallet)
        return self._connected(
            "preparing weights (nothing was submitted)",
            lambda substrate: _submit(substrate, self._endpoint, plan, signer),
        )

    def observe(self, netuid: int, hotkey: Hotkey) -> ObservedWeights:
        return self._connected(
            f"reading the weights of {hotkey}", lambda substrate: _observe(substrate, netuid, hotkey)
        )

    def identity(self) -> Hotkey:
        return Hotkey(load_signer(*self._wallet).ss58_address)

    def _connected(self, what: str, operation: Callable[[Any], Awaitable[T]]) -> T:
        async def run() -> T:
            substrate = _tolerant_substrate(self._endpoint)
            try:
                await substrate.connect()
                return await operation(substrate)
            except LooshError:
                raise
            except Exception as error:
                raise ChainError(f"{what} at {self._endpoint} failed: {type(error).__name__}: {error}") from error
            finally:
                await substrate.close()

        return asyncio.run(run())


def _tolerant_substrate(endpoint: str) -> Any:
    """The SDK's chain access, which also speaks to runtimes that lack storage the SDK takes for granted."""
    from bittensor import RpcSubstrate
    from bittensor._transport.errors import StorageFunctionNotFound

    class TolerantSubstrate(RpcSubstrate):  # type: ignore[misc, unused-ignore]
        async def query(
            self,
            module: str,
            storage_function: str,
            params: list[Any] | None = None,
            block_hash: str | None = None,
        ) -> Any:
            try:
                return await super().query(module, storage_function, params, block_hash)
            except StorageFunctionNotFound:
                if storage_function not in _MEANING_WHEN_ABSENT:
                    raise
                return _MEANING_WHEN_ABSENT[storage_function]

    # No fallback or archive endpoints: the operator chose this one, and a devnet must never reach another chain.
    return TolerantSubstrate(endpoint)


async def _snapshot(substrate: Any, netuid: int) -> Metagraph:
    taken_at = datetime.now(UTC)
    block_hash = await substrate.block_hash()
    version, graph, threshold, now_ms = await asyncio.gather(
        substrate.raw.rpc_request("state_getRuntimeVersion", [block_hash]),
        substrate.runtime_call("SubnetInfoRuntimeApi", "get_metagraph", [netuid], block_hash=block_hash),
        substrate.query(_PALLET, "StakeThreshold", [], block_hash=block_hash),
        substrate.query("Timestamp", "Now", [], block_hash=block_hash),
    )
    if graph is None:
        raise ChainError(f"subnet {netuid} does not exist on this chain; check NETUID and SUBTENSOR_ADDRESS")
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
        block_time=datetime.fromtimestamp(int(now_ms) / 1000, UTC),
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


async def _observe(substrate: Any, netuid: int, hotkey: Hotkey) -> ObservedWeights:
    block_hash = await substrate.block_hash()

    async def read(name: str, *params: Any, pallet: str = _PALLET) -> Any:
        return await substrate.query(pallet, name, list(params), block_hash=block_hash)

    number, uid = await asyncio.gather(read("Number", pallet="System"), read("Uids", netuid, hotkey))
    if uid is None:
        return ObservedWeights(hotkey, None, Block(int(number)), Block(0), {})
    row, last_update = await asyncio.gather(read("Weights", netuid, uid), read("LastUpdate", netuid))
    total = sum(int(weight) for _, weight in row)
    return ObservedWeights(
        hotkey=hotkey,
        uid=Uid(int(uid)),
        block=Block(int(number)),
        last_update=Block(int(last_update[uid])),
        weights={Uid(int(dest)): int(weight) / total for dest, weight in row if weight},
    )


async def _submit(substrate: Any, endpoint: str, plan: WeightPlan, signer: HotkeySigner) -> Submission:
    import bittensor

    commit_reveal = bool(await substrate.query(_PALLET, "CommitRevealWeightsEnabled", [plan.netuid]))
    weights = {int(uid): weight for uid, weight in plan.weights.items()}
    intent = bittensor.SetWeights(  # type: ignore[attr-defined, unused-ignore]
        netuid=plan.netuid, weights=weights, version_key=plan.version_key
    )
    client = bittensor.Client(endpoint, substrate=substrate)
    try:
        prepared = await client.plan(intent, signer.keypair)
    except bittensor.ChainError as refusal:
        if refusal.code.value == "unknown":
            raise
        return Submission(False, None, None, commit_reveal, refusal.code.value, refusal.message)
    if prepared.violations:
        raise ChainError(f"the SDK refuses to submit these weights: {'; '.join(prepared.violations)}")
    signed = await substrate.raw.create_signed_extrinsic(prepared.call, signer.keypair, era={"period": ERA_BLOCKS})
    return await _send(substrate, signed, prepared.extras.get("reveal_round"))


async def _send(substrate: Any, signed: Any, reveal_round: int | None) -> Submission:
    """Submit and wait for inclusion. From here on an error no longer means that nothing happened."""
    import bittensor

    commit_reveal = reveal_round is not None
    try:
        report = await substrate.raw.submit_extrinsic(signed, wait_for_inclusion=True)
    except Exception as error:
        if not refused_by_pool(error):
            raise ChainError(
                f"whether {signed.extrinsic_hash} was included is unknown ({type(error).__name__}: {error}); it can "
                f"be for {ERA_BLOCKS} blocks: read last_update from the chain before submitting again"
            ) from error
        refusal = bittensor.ChainError(str(error))
        return Submission(
            False, None, signed.extrinsic_hash, commit_reveal, refusal.code.value, str(error), reveal_round
        )
    code, message = (None, None) if report.is_success else _dispatch_error(report.error_message)
    return Submission(
        success=bool(report.is_success),
        included_block=Block(int(report.block_number)),
        extrinsic_hash=signed.extrinsic_hash,
        commit_reveal=commit_reveal,
        error_code=code,
        error=message,
        reveal_round=reveal_round,
    )


def refused_by_pool(error: Exception) -> bool:
    """Whether a node answered that it did not take the transaction, so that it is certainly not submitted."""
    payload = getattr(error, "payload", None)
    answer = payload.get("error") if isinstance(payload, dict) else None
    return isinstance(answer, dict) and answer.get("code") in _POOL_REFUSALS


def _dispatch_error(error: Any) -> tuple[str, str]:
    """Semantic code and text of a call that was included and failed."""
    import bittensor

    if not isinstance(error, dict):
        return "unknown", str(error)
    name, docs = error.get("name"), error.get("docs") or ""
    text = " ".join(docs) if isinstance(docs, list) else str(docs)
    return bittensor.ChainError(text, name).code.value, f"{name}: {text}"
