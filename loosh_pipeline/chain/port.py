"""What this project needs of a chain: six operations, in its own types."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from loosh_pipeline.domain import Block, Hotkey, Metagraph, ObservedWeights, SignedExtrinsic, Submission, WeightPlan

ERA_BLOCKS = 64
"""Blocks for which a signed submission stays valid: so long it may still be included after its outcome was lost."""

BeforeSending = Callable[[SignedExtrinsic], None]
"""Told what was signed, before any of it leaves. When it raises, nothing is sent."""


def send_at_once(_signed: SignedExtrinsic) -> None:
    """For whoever keeps no record."""


class Chain(Protocol):
    """Access to one subnet's chain as one hotkey. Every operation may raise `ChainError`.

    `NotSubmitted` says that nothing was sent. Any other `ChainError` of an operation that sends may have left it done
    all the same: read the chain (`observe`) before trying again. With `expected_genesis`, the hash of the chain's
    block 0 from a snapshot, no other chain is read or written: `WrongChain`.
    """

    def snapshot(self, netuid: int) -> Metagraph:
        """The subnet at the head of the chain, everything read at one block."""
        ...

    def submit_weights(
        self, plan: WeightPlan, before_sending: BeforeSending = send_at_once, expected_genesis: str | None = None
    ) -> Submission:
        """Sign, tell `before_sending`, send; returns once included in a block, or refused (`success` False)."""
        ...

    def observe(self, netuid: int, hotkey: Hotkey, expected_genesis: str | None = None) -> ObservedWeights:
        """The weight row of a validator, what it committed to, and who holds which slot, at the newest final block."""
        ...

    def block_hash(self, block: Block, expected_genesis: str | None = None) -> str | None:
        """The hash of a block, as `0x…`; None while it is not final, for another may still take its place."""
        ...

    def serve_axon(self, netuid: int, ip: str, port: int) -> Submission:
        """Announce where this hotkey serves."""
        ...

    def identity(self) -> Hotkey:
        """The hotkey that signs. Raises `ConfigError` when its file cannot be used."""
        ...
