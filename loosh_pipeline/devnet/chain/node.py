"""The stand-in node: blocks, transaction pool and state, behind one lock.

A node is driven by `tick`, one call a block, from a test or from the block clock of `serve_chain`. It is safe to use
from several threads; hold `lock` to read more than one thing of the same moment.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from loosh_pipeline.devnet.chain.calls import Call, DispatchFailed, Event, decode_call
from loosh_pipeline.devnet.chain.extrinsics import SignedExtrinsic, parse_extrinsic
from loosh_pipeline.devnet.chain.faults import ChainFault, ChainFaults
from loosh_pipeline.devnet.chain.genesis import CODE_KEY, ChainConfig, write_genesis
from loosh_pipeline.devnet.chain.ledger import Block, Ledger
from loosh_pipeline.devnet.chain.pallet import dispatch, on_initialize
from loosh_pipeline.devnet.chain.pool import Refused, TransactionPool
from loosh_pipeline.devnet.chain.registration import NeuronSpec, check_neurons
from loosh_pipeline.devnet.chain.runtime import Runtime, load_runtime
from loosh_pipeline.devnet.chain.runtime_api import call_runtime_api
from loosh_pipeline.devnet.chain.scale import compact
from loosh_pipeline.devnet.chain.state import MutableState, State
from loosh_pipeline.devnet.chain.validity import check_valid

_BARE_V5 = 0x05
_DISPATCH_INFO = {"weight": {"ref_time": 1, "proof_size": 1}, "class": "Normal", "pays_fee": "No"}
_KEPT_ANSWERS = 64

BlockListener = Callable[[Block], None]
Change = Callable[[MutableState, int], list[Event]]
"""What the authority of the chain does in a block, given its state and number."""


class Node:
    """A chain in memory, with one subnet. Raises `DevnetError` for neurons a chain could not hold."""

    def __init__(self, config: ChainConfig, neurons: Sequence[NeuronSpec]) -> None:
        check_neurons(neurons)
        self.config = config
        self.faults = ChainFaults()
        self.lock = threading.RLock()
        self._ledger = Ledger(config.keep_blocks)
        self._pool = TransactionPool()
        self._listeners: list[BlockListener] = []
        self._changes: list[Change] = []
        self._answers: OrderedDict[tuple[str, str, bytes], bytes] = OrderedDict()
        runtime = load_runtime(config.runtime)
        self._runtimes: dict[bytes | None, Runtime] = {runtime.code_hash: runtime}
        overlay = self._ledger.first_overlay()
        write_genesis(MutableState(runtime, overlay), config, neurons)
        self.genesis = self._ledger.append(0, overlay, [], {})

    @property
    def head(self) -> Block:
        return self._ledger.head

    @property
    def finalized(self) -> Block:
        with self.lock:
            return self._ledger.finalized

    @property
    def runtime(self) -> Runtime:
        """The runtime that executes the next block."""
        return self.runtime_at()

    def runtime_at(self, block_hash: str | None = None) -> Runtime:
        """The runtime in the state of a block. Raises `UnknownBlock`."""
        with self.lock:
            return self._runtimes[self._ledger.reader(block_hash).raw(CODE_KEY)]

    def block(self, block_hash: str | None = None) -> Block:
        """The block of this hash, the head by default. Raises `UnknownBlock`."""
        with self.lock:
            return self._ledger.block(block_hash)

    def block_at(self, number: int) -> Block | None:
        with self.lock:
            return self._ledger.block_at(number)

    def holds(self, block: Block) -> bool:
        """Whether a block is part of the chain, so not taken out by a reorg."""
        return self.block_at(block.number) is block

    def state(self, block_hash: str | None = None) -> State:
        """State at the end of a block. Raises `UnknownBlock`."""
        with self.lock:
            return State(self.runtime_at(block_hash), self._ledger.reader(block_hash))

    def raw(self, key: bytes, block_hash: str | None = None) -> bytes | None:
        with self.lock:
            return self._ledger.reader(block_hash).raw(key)

    def keys(self, prefix: bytes, block_hash: str | None = None) -> list[bytes]:
        with self.lock:
            return list(self._ledger.keys(prefix, block_hash))

    def call_api(self, name: str, data: bytes, block_hash: str | None = None) -> bytes:
        """Answer a runtime API call, once for each block. Raises `NotModelled`, `UnknownBlock` or `ValueError`."""
        with self.lock:
            key = (self.block(block_hash).hash, name, data)
            if key not in self._answers:
                self._answers[key] = call_runtime_api(self.state(block_hash), name, data)
                if len(self._answers) > _KEPT_ANSWERS:
                    self._answers.popitem(last=False)
            return self._answers[key]

    def storage_entries(self) -> int:
        """How many values are held, history included: what memory grows with."""
        with self.lock:
            return self._ledger.entries()

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
            extrinsic, call = self._parse(raw)
            self.faults.refuse()
            self._pool.check_known(extrinsic)
            if self._born(extrinsic) is None:
                raise Refused(1010, "Invalid Transaction", "Transaction has an ancient birth block")
            if not self._valid(extrinsic):
                raise Refused(1010, "Invalid Transaction", "Transaction has a bad signature")
            if self.config.pool_validates:
                check_valid(MutableState(self.runtime, self._ledger.overlay()), call)
            self._pool.add(extrinsic, self.state().nonce(extrinsic.address))
            return extrinsic

    def _parse(self, raw: bytes) -> tuple[SignedExtrinsic, Call]:
        try:
            extrinsic = parse_extrinsic(raw)
            return extrinsic, decode_call(self.state(), extrinsic.address, self.head.number + 1, extrinsic.call)
        except ValueError as error:
            raise Refused(1002, "Verification Error: Runtime error", f"cannot decode: {error}") from error

    def _valid(self, extrinsic: SignedExtrinsic) -> bool:
        """Whether era and signature are good for the next block, nonces aside."""
        born = self._born(extrinsic)
        if born is None:
            return False
        genesis_hash, born_hash = (bytes.fromhex(block.hash[2:]) for block in (self.genesis, born))
        return extrinsic.verified(self.runtime.spec_version, genesis_hash, born_hash)

    def _born(self, extrinsic: SignedExtrinsic) -> Block | None:
        """The block an extrinsic was signed at; None when that is too long ago."""
        if extrinsic.era is None:
            return self.genesis
        if not extrinsic.era.alive(self.head.number, self.head.number + 1):
            return None
        return self._ledger.block_at(extrinsic.era.birth(self.head.number))

    def administer(self, change: Change) -> Block:
        """Make the block in which a change happens, before its transactions; while the head is stale, it waits.

        What the change raises is raised here, and then it does not happen.
        """
        with self.lock:
            scratch = MutableState(self.runtime, self._ledger.overlay())
            for each in [*self._changes, change]:
                each(scratch, self.head.number + 1)
            self._changes.append(change)
            return self.tick()

    def adopt(self, runtime: Runtime) -> None:
        """Make a runtime known, so that a block can switch to it."""
        with self.lock:
            self._runtimes[runtime.code_hash] = runtime

    def tick(self, blocks: int = 1) -> Block:
        """Make this many blocks, with a reorg in between when one is due; returns the last one."""
        for _ in range(blocks):
            with self.lock:
                made = [] if self.faults.strikes(ChainFault.STALE_HEAD) else self._advance()
                listeners = list(self._listeners)
            for block in made:
                for listener in listeners:
                    listener(block)
        return self.head

    def _advance(self) -> list[Block]:
        depth = self.faults.reorg_depth
        replaced = self._ledger.block_at(self.head.number - depth + 1)
        struck = replaced is not None and replaced.included and replaced.number > self._ledger.finalized.number
        if struck and self.faults.strikes(ChainFault.REORG):
            return self._reorganise(depth)
        return [self._produce()]

    def _reorganise(self, depth: int) -> list[Block]:
        """Replace the last blocks by as many without their transactions, and one more: the longer chain wins."""
        gone = self._ledger.retract(depth)
        self._pool.keep(self._valid)  # what was signed at a block that is gone is not valid any more
        made = [self._produce() for _ in gone]
        if self.faults.reorg_returns:
            for extrinsic in [parse_extrinsic(raw) for block in gone for raw in block.extrinsics[1:]]:
                if self._valid(extrinsic):
                    self._pool.add(extrinsic, self.state().nonce(extrinsic.address))
        return [*made, self._produce()]

    def now_ms(self) -> int:
        """What the chain takes for the time."""
        return time.time_ns() // 1_000_000

    def _produce(self) -> Block:
        number, overlay, runtime = self.head.number + 1, self._ledger.overlay(), self.runtime
        state = MutableState(runtime, overlay)
        now_ms = max(self.now_ms(), state.get("Now", pallet="Timestamp") + 1)
        state.put("Now", now_ms, pallet="Timestamp")
        state.put("Number", number, pallet="System")
        events = [_recorded("Initialization", event) for event in self._initialise(state, number)]
        extrinsics, included = [self._timestamp(now_ms)], {}
        for extrinsic in self._pool.take_ready(self.head.number, state.nonce):
            included[extrinsic.hash] = len(extrinsics)
            events += self._apply(state, extrinsic, len(extrinsics), number)
            extrinsics.append(extrinsic.raw)
        state.put("Events", events, pallet="System")
        block = self._ledger.append(number, overlay, extrinsics, included)
        lag = self.faults.reorg_depth if self.faults.is_on(ChainFault.REORG) else 0
        self._ledger.finalize(number - max(lag, self.config.finality_lag_blocks))
        if self.runtime is not runtime:
            self._pool.keep(self._valid)  # what was signed for another version never becomes valid again
        return block

    def _initialise(self, state: MutableState, number: int) -> list[Event]:
        events = on_initialize(state, self.config.netuid, number)
        while self._changes:
            events += self._changes.pop(0)(state, number)
        return events

    def _timestamp(self, now_ms: int) -> bytes:
        call = self.runtime.compose_call("Timestamp", "set", {"now": now_ms})
        return compact(len(call) + 1) + bytes([_BARE_V5]) + call

    def _apply(self, state: MutableState, extrinsic: SignedExtrinsic, index: int, number: int) -> list[dict[str, Any]]:
        state.set_nonce(extrinsic.address, extrinsic.nonce + 1)
        attempt = state.nested()
        events: list[Event] = []
        try:
            events += dispatch(attempt, decode_call(attempt, extrinsic.address, number, extrinsic.call))
            state.overlay.absorb(attempt.overlay)
            outcome: dict[str, Any] = {"ExtrinsicSuccess": {"dispatch_info": _DISPATCH_INFO}}
        except DispatchFailed as failure:
            error = state.runtime.module_error(failure.pallet, failure.name)
            outcome = {"ExtrinsicFailed": {"dispatch_error": error, "dispatch_info": _DISPATCH_INFO}}
        return [_recorded({"ApplyExtrinsic": index}, event) for event in [*events, {"System": outcome}]]


def _recorded(phase: Any, event: Event) -> dict[str, Any]:
    """An event as `System.Events` holds it."""
    return {"phase": phase, "event": event, "topics": []}
