"""A chain in memory, for tests: what it answers is given, what it is asked is recorded."""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import replace

from loosh_pipeline.chain.weights import quantize
from loosh_pipeline.domain import Block, Hotkey, Metagraph, ObservedWeights, Submission, WeightPlan
from loosh_pipeline.errors import ChainError


class FakeChain:
    """Implements `Chain` over one metagraph.

    A successful submission moves `last_update` and shows in `observe`; with commit-reveal it shows after `reveal`.
    `fail("snapshot", error)` makes the next call of that operation raise; `refuse(code, message)` makes the next
    submission come back refused.
    """

    def __init__(self, metagraph: Metagraph, hotkey: Hotkey) -> None:
        self.metagraph = metagraph
        self.hotkey = hotkey
        self.calls: list[str] = []
        self.submitted: list[WeightPlan] = []
        self._failures: dict[str, deque[Exception]] = defaultdict(deque)
        self._refusals: deque[tuple[str, str]] = deque()
        self._rows: dict[Hotkey, WeightPlan] = {}
        self._sealed: WeightPlan | None = None

    def fail(self, operation: str, error: Exception) -> None:
        if not hasattr(self, operation):
            raise ValueError(f"a chain has no operation {operation!r}")
        self._failures[operation].append(error)

    def refuse(self, code: str, message: str) -> None:
        self._refusals.append((code, message))

    def advance(self, blocks: int) -> None:
        """Let blocks pass."""
        self.metagraph = replace(self.metagraph, block=Block(self.metagraph.block + blocks))

    def reveal(self) -> None:
        """Open the last commit, as the chain does when its round has come."""
        if self._sealed is None:
            raise ValueError("there is no commit to reveal")
        self._rows[self.hotkey], self._sealed = self._sealed, None

    def snapshot(self, netuid: int) -> Metagraph:
        self._enter("snapshot", netuid)
        return self.metagraph

    def submit_weights(self, plan: WeightPlan) -> Submission:
        self._enter("submit_weights", plan.netuid)
        self.submitted.append(plan)
        if self._refusals:
            code, message = self._refusals.popleft()
            return Submission(False, None, None, self.metagraph.commit_reveal, code, message)
        self.advance(1)
        block = self.metagraph.block
        self._sealed = plan
        if not self.metagraph.commit_reveal:
            self.reveal()
        neurons = tuple(
            replace(neuron, last_update=block) if neuron.hotkey == self.hotkey else neuron
            for neuron in self.metagraph.neurons
        )
        self.metagraph = replace(self.metagraph, neurons=neurons)
        return Submission(True, block, f"0x{len(self.submitted):064x}", self.metagraph.commit_reveal)

    def observe(self, netuid: int, hotkey: Hotkey) -> ObservedWeights:
        self._enter("observe", netuid)
        neuron = self.metagraph.by_hotkey().get(hotkey)
        row = quantize(self._rows[hotkey].weights) if hotkey in self._rows else {}
        total = sum(row.values())
        return ObservedWeights(
            hotkey=hotkey,
            uid=None if neuron is None else neuron.uid,
            block=self.metagraph.block,
            last_update=Block(0) if neuron is None else neuron.last_update,
            weights={uid: value / total for uid, value in row.items()},
        )

    def identity(self) -> Hotkey:
        self._enter("identity", self.metagraph.netuid)
        return self.hotkey

    def _enter(self, operation: str, netuid: int) -> None:
        self.calls.append(operation)
        if self._failures[operation]:
            raise self._failures[operation].popleft()
        if netuid != self.metagraph.netuid:
            raise ChainError(f"subnet {netuid} does not exist; this chain has {self.metagraph.netuid}")
