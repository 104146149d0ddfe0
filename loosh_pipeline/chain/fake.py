"""A chain in memory, for tests: what it answers is given, what it is asked is recorded."""

from __future__ import annotations

import hashlib
from collections import defaultdict, deque
from dataclasses import replace

from loosh_pipeline.chain.port import ERA_BLOCKS, BeforeSending, send_at_once
from loosh_pipeline.chain.weights import quantize
from loosh_pipeline.domain import (
    Block,
    Commit,
    Hotkey,
    Metagraph,
    ObservedWeights,
    SignedExtrinsic,
    Submission,
    WeightPlan,
)
from loosh_pipeline.errors import ChainError, WrongChain


class FakeChain:
    """Implements `Chain` over one metagraph.

    A successful submission moves `last_update` and shows in `observe`; with commit-reveal it shows after `reveal`.
    `fail("snapshot", error)` makes the next call of that operation raise (`fail("sending", error)`: only once it was
    signed); `refuse(code, message)` makes the next submission come back refused. `epoch` and `sealed`, the
    commits that wait, may be set.
    """

    def __init__(self, metagraph: Metagraph, hotkey: Hotkey) -> None:
        self.metagraph = metagraph
        self.hotkey = hotkey
        self.calls: list[str] = []
        self.submitted: list[WeightPlan] = []
        self._failures: dict[str, deque[Exception]] = defaultdict(deque)
        self._refusals: deque[tuple[str, str]] = deque()
        self._rows: dict[Hotkey, WeightPlan] = {}
        self.epoch = 0
        self.sealed: list[tuple[WeightPlan, Commit]] = []

    def fail(self, operation: str, error: Exception) -> None:
        if operation != "sending" and not hasattr(self, operation):
            raise ValueError(f"a chain has no operation {operation!r}")
        self._failures[operation].append(error)

    def refuse(self, code: str, message: str) -> None:
        self._refusals.append((code, message))

    def advance(self, blocks: int) -> None:
        """Let blocks pass."""
        self.metagraph = replace(self.metagraph, block=Block(self.metagraph.block + blocks))

    def reveal(self) -> None:
        """Open every commit in turn, as the chain does when their rounds have come."""
        if not self.sealed:
            raise ValueError("there is no commit to reveal")
        (self._rows[self.hotkey], _), self.sealed = self.sealed[-1], []

    def snapshot(self, netuid: int) -> Metagraph:
        self._enter("snapshot", netuid)
        return self.metagraph

    def submit_weights(
        self, plan: WeightPlan, before_sending: BeforeSending = send_at_once, expected_genesis: str | None = None
    ) -> Submission:
        self._enter("submit_weights", plan.netuid, expected_genesis)
        commit_reveal = self.metagraph.commit_reveal
        reveal_round = 1000 + len(self.submitted) if commit_reveal else None
        extrinsic_hash = f"0x{len(self.submitted) + 1:064x}"
        dies_at = Block(self.metagraph.block + ERA_BLOCKS)
        before_sending(SignedExtrinsic(extrinsic_hash, dies_at, commit_reveal, reveal_round))
        self._raise_scripted("sending")
        self.submitted.append(plan)
        if self._refusals:
            code, message = self._refusals.popleft()
            return Submission(False, None, extrinsic_hash, commit_reveal, code, message)
        return self.include(plan, reveal_round)

    def include(self, plan: WeightPlan, reveal_round: int | None = None) -> Submission:
        """Put weights into the next block, whoever sent them."""
        self.advance(1)
        block = self.metagraph.block
        self.sealed.append((plan, Commit(self.epoch, block, reveal_round or 0)))
        if not self.metagraph.commit_reveal:
            self.reveal()
        neurons = tuple(
            replace(neuron, last_update=block) if neuron.hotkey == self.hotkey else neuron
            for neuron in self.metagraph.neurons
        )
        self.metagraph = replace(self.metagraph, neurons=neurons)
        extrinsic_hash = f"0x{len(self.submitted):064x}"
        return Submission(True, block, extrinsic_hash, self.metagraph.commit_reveal, reveal_round=reveal_round)

    def observe(self, netuid: int, hotkey: Hotkey, expected_genesis: str | None = None) -> ObservedWeights:
        self._enter("observe", netuid, expected_genesis)
        neuron = self.metagraph.by_hotkey().get(hotkey)
        row = quantize(self._rows[hotkey].weights) if hotkey in self._rows else {}
        total = sum(row.values())
        return ObservedWeights(
            hotkey=hotkey,
            uid=None if neuron is None else neuron.uid,
            block=self.metagraph.block,
            last_update=Block(0) if neuron is None else neuron.last_update,
            weights={uid: value / total for uid, value in row.items()},
            epoch=self.epoch,
            commits=tuple(commit for _, commit in self.sealed),
            hotkeys={each.uid: each.hotkey for each in self.metagraph.neurons},
            registered={each.uid: each.registered_block for each in self.metagraph.neurons},
        )

    def block_hash(self, block: Block, expected_genesis: str | None = None) -> str | None:
        """Made of the number alone. Every block is final at once."""
        self._enter("block_hash", self.metagraph.netuid, expected_genesis)
        if block > self.metagraph.block:
            return None
        return "0x" + hashlib.sha256(f"block {block}".encode()).hexdigest()

    def serve_axon(self, netuid: int, ip: str, port: int) -> Submission:
        self._enter("serve_axon", netuid)
        if self._refusals:
            code, message = self._refusals.popleft()
            return Submission(False, None, None, False, code, message)
        self.advance(1)
        neurons = tuple(
            replace(neuron, ip=ip, port=port) if neuron.hotkey == self.hotkey else neuron
            for neuron in self.metagraph.neurons
        )
        self.metagraph = replace(self.metagraph, neurons=neurons)
        return Submission(True, self.metagraph.block, f"0x{port:064x}", False)

    def identity(self) -> Hotkey:
        self._enter("identity", self.metagraph.netuid)
        return self.hotkey

    def _enter(self, operation: str, netuid: int, expected_genesis: str | None = None) -> None:
        self.calls.append(operation)
        self._raise_scripted(operation)
        if expected_genesis not in (None, self.metagraph.genesis_hash):
            raise WrongChain(f"this is the chain of block 0 {self.metagraph.genesis_hash}, not of {expected_genesis}")
        if netuid != self.metagraph.netuid:
            raise ChainError(f"subnet {netuid} does not exist; this chain has {self.metagraph.netuid}")

    def _raise_scripted(self, operation: str) -> None:
        if self._failures[operation]:
            raise self._failures[operation].popleft()
