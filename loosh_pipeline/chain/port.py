"""What this project needs of a chain: four operations, in its own types."""

from __future__ import annotations

from typing import Protocol

from loosh_pipeline.domain import Hotkey, Metagraph, ObservedWeights, Submission, WeightPlan

ERA_BLOCKS = 64
"""Blocks for which a signed submission stays valid: so long it may still be included after its outcome was lost."""


class Chain(Protocol):
    """Access to one subnet's chain as one hotkey. Every operation may raise `ChainError`.

    A `ChainTimeout`, or any `ChainError` of `submit_weights`, may leave weights set all the same: read the chain
    (`snapshot` or `observe`) before trying again.
    """

    def snapshot(self, netuid: int) -> Metagraph:
        """The subnet at the head of the chain, everything read at one block."""
        ...

    def submit_weights(self, plan: WeightPlan) -> Submission:
        """Sign and submit; returns once included in a block, or refused (`success` False, with the reason)."""
        ...

    def observe(self, netuid: int, hotkey: Hotkey) -> ObservedWeights:
        """The weight row of a validator as the chain holds it now."""
        ...

    def identity(self) -> Hotkey:
        """The hotkey that signs. Raises `ConfigError` when its file cannot be used."""
        ...
