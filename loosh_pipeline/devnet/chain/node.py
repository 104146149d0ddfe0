"""The stand-in node: blocks, transaction pool and state, behind one lock.

`DevnetChain` is driven by `tick`, one call a block, from a test or from the block clock of `serve_chain`. It is
safe to use from several threads; hold `lock` to read more than one thing of the same moment.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from loosh_pipeline.devnet.chain.extrinsics import SignedExtrinsic, parse_extrinsic
from loosh_pipeline.devnet.chain.genesis import ChainConfig, NeuronSpec, check_neurons, write_genesis
from loosh_pipeline.devnet.chain.pallet import DispatchFailed, decode_call, dispatch, on_initialize
from loosh_pipeline.devnet.chain.pool import Refused, TransactionPool
from loosh_pipeline.devnet.chain.runtime import blake2_256, load_runtime
from loosh_pipeline.devnet.chain.scale import compact
from loosh_pipeline.devnet.chain.state import MutableState, State
from loosh_pipeline.devnet.chain.storage import Overlay, StorageAt, VersionedStorage

_UNSIGNED_V4 = 0x04
_NO_PARENT = b"\0" * 32
_DISPATCH_INFO = {"weight": {"ref_time": 1, "proof_size": 1}, "class": "Normal", "pays_fee": "No"}


class UnknownBlock(Exception):
    """No such block is known, or its state was discarded."""


@dataclass(frozen=True, slots=True)
class Block:
    """One block. `included` maps the hash of each signed extrinsic to its index."""

    number: int
    hash: str
    parent: str
    state_root: str
    extrinsics_root: str
    extrinsics: tuple[bytes, ...]
    included: dict[str, int] = field(default_factory=dict)

    def header(self) -> dict[str, Any]:
        return {
            "parentHash": self.parent,
            "number": hex(self.number),
            "stateRoot": self.state_root,
            "extrinsicsRoot": self.extrinsics_root,
            "digest": {"logs": []},
        }


BlockListener = Callable[[Block], None]


class DevnetChain:
    """A subnet's chain in memory. Raises `DevnetError` for neurons a chain could not hold."""

    def __init__(self, config: ChainConfig, neurons: Sequence[NeuronSpec]) -> None:
        check_neurons(neurons)
        self.config = config
        self.runtime = load_runtime(config.runtime)
        self.lock = threading.RLock()
        self._storage = VersionedStorage(config.keep_blocks)
        self._by_number: dict[int, Block] = {}
        self._by_hash: dict[str, Block] = {}
        self._pool = TransactionPool()
        self._listeners: list[BlockListener] = []
        overlay = Overlay(StorageAt(self._storage, 0))
        write_genesis(MutableState(self.runtime, overlay), config, neurons)
        self.genesis = self._seal(0, overlay, [], {})
        self._head = self.genesis

    @property
    def head(self) -> Block:
        return self._head

    def block(self, block_hash: str | None = None) -> Block:
        """The block of this hash, the head by default. Raises `UnknownBlock`."""
        with self.lock:
            block = self._head if block_hash is None else self._by_hash.get(block_hash)
        if block is None:
            raise UnknownBlock(f"State already discarded for {block_hash}")
        return block

    def block_at(self, number: int) -> Block | None:
        with self.lock:
            return self._by_number.get(number)

    def state(self, block_hash: str | None = None) -> State:
        """State at the end of a block. Raises `UnknownBlock`."""
        return State(self.runtime, StorageAt(self._storage, self.block(block_hash).number))

    def raw(self, key: bytes, block_hash: str | None = None) -> bytes | None:
        with self.lock:
            return self._storage.get(key, self.block(block_hash).number)

    def keys(self, prefix: bytes, block_hash: str | None = None) -> list[bytes]:
        with self.lock:
            return list(self._storage.keys(prefix, self.block(block_hash).number))

    def storage_entries(self) -> int:
        """How many values are held, history included: what memory grows with."""
        with self.lock:
            return self._storage.entries()

    def next_nonce(self, address: str) -> int:
        """The next nonce of an account, transactions in the pool included."""
        with self.lock:
            return self._pool.next_nonce(address, self.state().nonce(address))

    def pool(self) -> list[SignedExtrinsic]:
        with self.lock:
            return self._pool.waiting()

    def on_block(self, listener: BlockListener) -> Callable[[], None]:
        """Call `listener` with each new block, from the thread that made it. Returns how to stop."""
        with self.lock:
            self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def submit(self, raw: bytes) -> SignedExtrinsic:
        """Put a signed extrinsic into the pool. Raises `Refused` as a node would."""
        with self.lock:
            extrinsic = self._parse(raw)
            era_hash = self._era_hash(extrinsic)
            if not extrinsic.verified(bytes.fromhex(self.genesis.hash[2:]), era_hash):
                raise Refused(1010, "Invalid Transaction", "Transaction has a bad signature")
            self._pool.add(extrinsic, self.state().nonce(extrinsic.address))
            return extrinsic

    def _parse(self, raw: bytes) -> SignedExtrinsic:
        try:
            extrinsic = parse_extrinsic(raw)
            decode_call(self.state(), extrinsic.address, self._head.number, extrinsic.call)
        except ValueError as error:
            raise Refused(1002, "Verification Error: Runtime error", f"cannot decode: {error}") from error
        return extrinsic

    def _era_hash(self, extrinsic: SignedExtrinsic) -> bytes:
        if extrinsic.era is None:
            return bytes.fromhex(self.genesis.hash[2:])
        born = self._by_number.get(extrinsic.era.birth(self._head.number))
        if born is None or not extrinsic.era.alive(self._head.number, self._head.number + 1):
            raise Refused(1010, "Invalid Transaction", "Transaction has an ancient birth block")
        return bytes.fromhex(born.hash[2:])

    def tick(self, blocks: int = 1) -> Block:
        """Make this many blocks; returns the last one."""
        for _ in range(blocks):
            with self.lock:
                self._head = self._produce()
                listeners = list(self._listeners)
            for listener in listeners:
                listener(self._head)
        return self._head

    def _above_head(self) -> Overlay:
        return Overlay(StorageAt(self._storage, self._head.number))

    def _produce(self) -> Block:
        number, overlay = self._head.number + 1, self._above_head()
        state = MutableState(self.runtime, overlay)
        now_ms = max(time.time_ns() // 1_000_000, state.get("Now", pallet="Timestamp") + 1)
        state.put("Now", now_ms, pallet="Timestamp")
        state.put("Number", number, pallet="System")
        on_initialize(state, self.config.netuid, number)
        extrinsics, included, events = [self._timestamp(now_ms)], {}, []
        for extrinsic in self._pool.take_ready(self._head.number, state.nonce):
            included[extrinsic.hash] = len(extrinsics)
            events += self._apply(state, extrinsic, len(extrinsics), number)
            extrinsics.append(extrinsic.raw)
        state.put("Events", events, pallet="System")
        return self._seal(number, overlay, extrinsics, included)

    def _timestamp(self, now_ms: int) -> bytes:
        call = self.runtime.compose_call("Timestamp", "set", {"now": now_ms})
        return compact(len(call) + 1) + bytes([_UNSIGNED_V4]) + call

    def _apply(self, state: MutableState, extrinsic: SignedExtrinsic, index: int, number: int) -> list[dict[str, Any]]:
        state.set_nonce(extrinsic.address, extrinsic.nonce + 1)
        attempt = state.nested()
        try:
            events: list[dict[str, Any]] = list(
                dispatch(attempt, decode_call(attempt, extrinsic.address, number, extrinsic.call))
            )
            state.overlay.absorb(attempt.overlay)
            outcome = {"ExtrinsicSuccess": {"dispatch_info": _DISPATCH_INFO}}
        except DispatchFailed as failure:
            error = self.runtime.module_error(failure.pallet, failure.name)
            events = []
            outcome = {"ExtrinsicFailed": {"dispatch_error": error, "dispatch_info": _DISPATCH_INFO}}
        events.append({"System": outcome})
        return [{"phase": {"ApplyExtrinsic": index}, "event": event, "topics": []} for event in events]

    def _seal(self, number: int, overlay: Overlay, extrinsics: list[bytes], included: dict[str, int]) -> Block:
        parent = bytes.fromhex(self._head.hash[2:]) if number else _NO_PARENT
        parent_root = bytes.fromhex(self._head.state_root[2:]) if number else b""
        # Not the trie root of a real node: a running digest of the writes serves to tell states apart.
        written = b"".join(key + (value or b"") for key, value in sorted(overlay.writes.items()))
        state_root, extrinsics_root = blake2_256(parent_root + written), blake2_256(b"".join(extrinsics))
        header = parent + compact(number) + state_root + extrinsics_root + b"\0"
        block = Block(
            number=number,
            hash="0x" + blake2_256(header).hex(),
            parent="0x" + parent.hex(),
            state_root="0x" + state_root.hex(),
            extrinsics_root="0x" + extrinsics_root.hex(),
            extrinsics=tuple(extrinsics),
            included=included,
        )
        self._storage.commit(number, overlay.writes)
        self._by_number[number] = self._by_hash[block.hash] = block
        self._forget(number - self.config.keep_blocks)
        return block

    def _forget(self, number: int) -> None:
        """Discard a block that has become too old. Genesis stays: clients know the chain by it."""
        old = self._by_number.pop(number, None) if number > 0 else None
        if old is not None:
            del self._by_hash[old.hash]
