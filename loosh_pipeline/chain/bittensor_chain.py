"""The real chain, through the bittensor SDK. With `wallet.py`, the only module that imports it.

Every operation opens its own connection to the one endpoint it was given, pins one block and closes again: a shared
SDK client leaks memory and hangs half-open over days. Nothing here bounds time; `ProcessChain` does.

The SDK reports trouble in several shapes: preflight problems are raised, failures on chain are returned, and what
its transport raises is partly outside its own exception tree. All of it becomes a refused `Submission` (the weights
are certainly not set) or a `ChainError`.
"""

from __future__ import annotations

import asyncio
import importlib.util
import ipaddress
import logging
import re
import sys
import types
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from loosh_pipeline.chain.endpoints import hushed, shown
from loosh_pipeline.chain.port import ERA_BLOCKS, BeforeSending, send_at_once
from loosh_pipeline.chain.reads import PALLET, Head, newest_block, read_block_hash, read_subnet, read_weights
from loosh_pipeline.chain.wallet import HotkeySigner, load_signer
from loosh_pipeline.chain.weights import quantize
from loosh_pipeline.domain import Block, Hotkey, Metagraph, ObservedWeights, SignedExtrinsic, Submission, WeightPlan
from loosh_pipeline.errors import ChainError, ChainRefusal, LooshError, NotSubmitted

log = logging.getLogger(__name__)

T = TypeVar("T")

_POOL_REFUSALS = frozenset(range(1000, 1100)) - {1013}
"""JSON-RPC codes with which a node refuses a transaction; 1013 says that it holds the same one already."""
_LOW_PRIORITY = 1014
"""It holds another one of this nonce. The SDK calls that `rate_limited`, like what is not due yet."""
_MEANING_WHEN_ABSENT: Mapping[str, Any] = {
    "SubnetEpochConsensus": None,  # Yuma, the only consensus of runtimes without the choice
    "MaxWeightsLimit": None,  # no limit
}
"""Storage the SDK reads before setting weights that not every runtime has, and what its absence means."""


_SKEW = re.compile(r"^'?((call|pallet|storage function|constant|Type|Runtime API Call) .* not found|missing call )")
"""What the SDK says, in a ValueError or KeyError, of a call, type or storage that the runtime has not."""
_COMMIT_REVEAL_VERSION = 4
_TCP_LIKE = 4
"""The protocol that the network's validators announce."""


def without_ethereum() -> None:
    """Keep the SDK from importing its Ethereum side, two fifths of its import time, which nothing here uses."""
    found = importlib.util.find_spec("bittensor")
    if found is None or not found.submodule_search_locations or "bittensor" in sys.modules:
        return
    package = types.ModuleType("bittensor.evm")
    package.__path__ = [str(Path(folder) / "evm") for folder in found.submodule_search_locations]
    sys.modules[package.__name__] = package


class BittensorChain:
    """Implements `Chain` for one endpoint and one hotkey. A node whose newest block is older than that is refused."""

    def __init__(
        self, endpoint: str, wallet_path: Path, wallet_name: str, hotkey_name: str, stale_after_s: float = 120.0
    ) -> None:
        self._endpoint = endpoint
        self._wallet = (wallet_path, wallet_name, hotkey_name)
        self._stale_after_s = stale_after_s

    def snapshot(self, netuid: int, expected_genesis: str | None = None) -> Metagraph:
        return self._connected(
            f"reading subnet {netuid}", ChainError, lambda at: read_subnet(at, netuid), expected_genesis
        )

    def submit_weights(
        self, plan: WeightPlan, before_sending: BeforeSending = send_at_once, expected_genesis: str | None = None
    ) -> Submission:
        signer = load_signer(*self._wallet)
        return self._connected(
            "preparing weights (nothing was submitted)",
            NotSubmitted,
            lambda at: _submit_weights(at, plan, signer, before_sending),
            expected_genesis,
        )

    def observe(self, netuid: int, hotkey: Hotkey, expected_genesis: str | None = None) -> ObservedWeights:
        return self._connected(
            f"reading the weights of {hotkey}",
            ChainError,
            lambda at: read_weights(at, netuid, hotkey),
            expected_genesis,
        )

    def block_hash(self, block: Block, expected_genesis: str | None = None) -> str | None:
        return self._connected(
            f"reading the hash of block {block}", ChainError, lambda at: read_block_hash(at, block), expected_genesis
        )

    def serve_axon(
        self,
        netuid: int,
        ip: str,
        port: int,
        before_sending: BeforeSending = send_at_once,
        expected_genesis: str | None = None,
    ) -> Submission:
        signer = load_signer(*self._wallet)
        return self._connected(
            "preparing the address (nothing was submitted)",
            NotSubmitted,
            lambda at: _serve_axon(at, netuid, ip, port, signer, before_sending),
            expected_genesis,
        )

    def identity(self) -> Hotkey:
        return Hotkey(load_signer(*self._wallet).ss58_address)

    def _connected(
        self,
        what: str,
        failure: type[ChainError],
        operation: Callable[[Head], Awaitable[T]],
        expected_genesis: str | None,
    ) -> T:
        async def run() -> T:
            substrate = _tolerant_substrate(self._endpoint)
            try:
                await substrate.connect()
                at = await newest_block(substrate, self._endpoint, self._stale_after_s, expected_genesis)
                return await operation(at)
            except LooshError:
                raise
            except Exception as error:
                said = hushed(f"{type(error).__name__}: {error}", self._endpoint)
                raise failure(f"{what} at {shown(self._endpoint)} failed: {said}") from error
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


async def _submit_weights(
    at: Head, plan: WeightPlan, signer: HotkeySigner, before_sending: BeforeSending
) -> Submission:
    import bittensor

    commit_reveal = bool(await at.read("CommitRevealWeightsEnabled", plan.netuid))
    composed_here = None
    try:
        call, reveal_round = await _composed_by_sdk(at, plan, signer)
    except bittensor.ChainError as refusal:
        if refusal.code.value == "unknown":
            raise
        return Submission(False, None, None, commit_reveal, refusal.code.value, refusal.message)
    except (bittensor.RpcConnectionError, bittensor.ConnectionNotReady):
        raise
    except bittensor.BittensorError as refusal:  # of the weights themselves
        raise ChainRefusal(f"the SDK refuses to submit these weights: {refusal}") from refusal
    except (ValueError, LookupError) as error:
        if not is_skew(error):
            raise
        said = hushed(f"{type(error).__name__}: {error}", at.endpoint)
        composed_here = f"the SDK does not know this runtime ({said})"
        call, reveal_round = await _composed_here(at, plan, signer, commit_reveal)
    return await _signed_and_sent(at, call, signer, reveal_round, before_sending, composed_here)


def is_skew(error: Exception) -> bool:
    """Whether the SDK failed for what the runtime has not, which is no reason to doubt the weights."""
    from bittensor._transport.errors import StorageFunctionNotFound

    said_so = isinstance(error, ValueError | LookupError) and _SKEW.search(str(error)) is not None
    return said_so or isinstance(error, StorageFunctionNotFound)


async def _composed_by_sdk(at: Head, plan: WeightPlan, signer: HotkeySigner) -> tuple[Any, int | None]:
    import bittensor

    weights = {int(uid): weight for uid, weight in plan.weights.items()}
    intent = bittensor.SetWeights(  # type: ignore[attr-defined, unused-ignore]
        netuid=plan.netuid, weights=weights, version_key=plan.version_key
    )
    client = bittensor.Client(at.endpoint, substrate=at.substrate)
    prepared = await client.plan(intent, signer.keypair)
    if prepared.violations:
        raise ChainRefusal(f"the SDK refuses to submit these weights: {'; '.join(prepared.violations)}")
    return prepared.call, prepared.extras.get("reveal_round")


async def _composed_here(
    at: Head, plan: WeightPlan, signer: HotkeySigner, commit_reveal: bool
) -> tuple[Any, int | None]:
    """The same call from what the chain itself says, with nothing that the SDK checks or reads beside it."""
    row = quantize(plan.weights)
    netuid, dests, values = plan.netuid, [int(uid) for uid in row], list(row.values())
    if not commit_reveal:
        weights = {"netuid": netuid, "dests": dests, "weights": values, "version_key": plan.version_key}
        return await _compose(at, "set_mechanism_weights", "set_weights", weights), None
    commit, reveal_round = await _encrypted(at, plan, dests, values, signer)
    sealed = {
        "netuid": netuid,
        "commit": commit,
        "reveal_round": reveal_round,
        "commit_reveal_version": _COMMIT_REVEAL_VERSION,
    }
    call = await _compose(at, "commit_timelocked_mechanism_weights", "commit_timelocked_weights", sealed)
    return call, reveal_round


async def _compose(at: Head, function: str, older: str, params: Mapping[str, Any]) -> Any:
    """The call for the first mechanism of a subnet; on a runtime without mechanisms, the one it had before."""
    try:
        return await at.substrate.raw.compose_call(PALLET, function, {**params, "mecid": 0})
    except ValueError as unknown:
        if not is_skew(unknown):
            raise
        log.warning("%s cannot be composed (%s); %s is", function, unknown, older)
        return await at.substrate.raw.compose_call(PALLET, older, dict(params))


async def _encrypted(
    at: Head, plan: WeightPlan, dests: list[int], values: list[int], signer: HotkeySigner
) -> tuple[bytes, int]:
    """Weights sealed until their drand round, as the chain opens them; and that round."""
    import bittensor_core

    tempo, period, epoch_block, pending, epoch, since, number, block_s = await asyncio.gather(
        *(at.read(name, plan.netuid) for name in ("Tempo", "RevealPeriodEpochs", "LastEpochBlock", "PendingEpochAt")),
        *(at.read(name, plan.netuid) for name in ("SubnetEpochIndex", "BlocksSinceLastStep")),
        at.number(),
        at.substrate.block_time(),
    )
    commit, reveal_round = bittensor_core.get_encrypted_commit_v2(
        uids=dests,
        weights=values,
        version_key=plan.version_key,
        last_epoch_block=int(epoch_block or 0),
        pending_epoch_at=int(pending or 0),
        subnet_epoch_index=int(epoch or 0),
        tempo=int(tempo),
        blocks_since_last_step=int(since or 0),
        current_block=number,
        subnet_reveal_period_epochs=int(period),
        block_time=block_s,
        hotkey=signer.keypair.public_key,
    )
    return commit, int(reveal_round)


async def _serve_axon(
    at: Head, netuid: int, ip: str, port: int, signer: HotkeySigner, before_sending: BeforeSending
) -> Submission:
    address = ipaddress.ip_address(ip)
    params = {
        "netuid": netuid,
        "version": 1,
        "ip": int(address),
        "port": port,
        "ip_type": address.version,
        "protocol": _TCP_LIKE,
        "placeholder1": 0,
        "placeholder2": 0,
    }
    call = await at.substrate.raw.compose_call(PALLET, "serve_axon", params)
    return await _signed_and_sent(at, call, signer, None, before_sending)


async def _signed_and_sent(
    at: Head,
    call: Any,
    signer: HotkeySigner,
    reveal_round: int | None,
    before_sending: BeforeSending,
    composed_here: str | None = None,
) -> Submission:
    raw = at.substrate.raw
    birth = int(await at.substrate.finalized_block_number())
    era = {"period": ERA_BLOCKS, "current": birth}
    signed = await raw.create_signed_extrinsic(call, signer.keypair, era=era)
    dies_at, commit_reveal = Block(birth + ERA_BLOCKS), reveal_round is not None
    about = SignedExtrinsic(signed.extrinsic_hash, dies_at, commit_reveal, reveal_round, composed_here)
    # In a thread: whoever is told may take its time, and the connection must be kept alive meanwhile.
    await asyncio.to_thread(before_sending, about)
    try:
        return await _send(at, signed, reveal_round)
    except Exception as error:
        # From here on no error means that nothing happened, whatever it is.
        raise ChainError(
            f"whether {signed.extrinsic_hash} was included is unknown ("
            f"{hushed(f'{type(error).__name__}: {error}', at.endpoint)}); it can be for {ERA_BLOCKS} blocks: read "
            "last_update from the chain before submitting again"
        ) from error


async def _send(at: Head, signed: Any, reveal_round: int | None) -> Submission:
    """Submit and wait for inclusion."""
    import bittensor

    commit_reveal = reveal_round is not None
    try:
        report = await at.substrate.raw.submit_extrinsic(signed, wait_for_inclusion=True)
    except Exception as error:
        if not refused_by_pool(error):
            raise
        of_priority = _node_code(error) == _LOW_PRIORITY
        refused = "low_priority" if of_priority else bittensor.ChainError(str(error)).code.value
        said = hushed(str(error), at.endpoint)
        return Submission(False, None, signed.extrinsic_hash, commit_reveal, refused, said, reveal_round)
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
    return _node_code(error) in _POOL_REFUSALS


def _node_code(error: Exception) -> int | None:
    """The JSON-RPC code of a node's answer; None for an error that is none."""
    payload = getattr(error, "payload", None)
    answer = payload.get("error") if isinstance(payload, dict) else None
    code = answer.get("code") if isinstance(answer, dict) else None
    return code if isinstance(code, int) else None


def _dispatch_error(error: Any) -> tuple[str, str]:
    """Semantic code and text of a call that was included and failed."""
    import bittensor

    if not isinstance(error, dict):
        return "unknown", str(error)
    name, docs = error.get("name"), error.get("docs") or ""
    text = " ".join(docs) if isinstance(docs, list) else str(docs)
    return bittensor.ChainError(text, name).code.value, f"{name}: {text}"
