"""Blocks and their states: one chain of them, and for a while those that a reorg took out of it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from loosh_pipeline.devnet.chain.runtime import blake2_256
from loosh_pipeline.devnet.chain.scale import compact
from loosh_pipeline.devnet.chain.storage import Overlay, Reader, StorageAt, VersionedStorage

_NO_PARENT = b"\0" * 32
_KEPT_RETRACTED = 64


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


class Ledger:
    """The chain by number and by hash. `finalized` never moves back, and no reorg goes behind it."""

    def __init__(self, keep_blocks: int) -> None:
        self._keep_blocks = keep_blocks
        self._storage = VersionedStorage(keep_blocks)
        self._by_number: dict[int, Block] = {}
        self._by_hash: dict[str, Block] = {}
        self._retracted: OrderedDict[str, tuple[Block, Overlay]] = OrderedDict()
        self._finalized = 0
        self.head: Block

    @property
    def finalized(self) -> Block:
        return self._by_number[self._finalized]

    def finalize(self, number: int) -> None:
        """Let blocks up to this one be final."""
        self._finalized = max(self._finalized, number)

    def block(self, block_hash: str | None = None) -> Block:
        """The block of this hash, retracted or not; the head by default. Raises `UnknownBlock`."""
        if block_hash is None:
            return self.head
        block = self._by_hash.get(block_hash)
        if block is not None:
            return block
        if block_hash in self._retracted:
            return self._retracted[block_hash][0]
        raise UnknownBlock(f"State already discarded for {block_hash}")

    def block_at(self, number: int) -> Block | None:
        return self._by_number.get(number)

    def reader(self, block_hash: str | None = None) -> Reader:
        """Storage at the end of a block. Raises `UnknownBlock`."""
        if block_hash is not None and block_hash in self._retracted:
            return self._retracted[block_hash][1]
        return StorageAt(self._storage, self.block(block_hash).number)

    def keys(self, prefix: bytes, block_hash: str | None = None) -> Iterator[bytes]:
        """Keys that exist at the end of a block, in order. Raises `UnknownBlock`."""
        reader = self.reader(block_hash)
        return (key for key in reader.keys(prefix) if reader.raw(key) is not None)

    def overlay(self) -> Overlay:
        """Where the next block writes."""
        return Overlay(StorageAt(self._storage, self.head.number))

    def first_overlay(self) -> Overlay:
        return Overlay(StorageAt(self._storage, 0))

    def entries(self) -> int:
        """How many values are held, history included."""
        return self._storage.entries()

    def append(self, number: int, overlay: Overlay, extrinsics: list[bytes], included: dict[str, int]) -> Block:
        """Seal a block above the head, or block 0."""
        parent = bytes.fromhex(self.head.hash[2:]) if number else _NO_PARENT
        parent_root = bytes.fromhex(self.head.state_root[2:]) if number else b""
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
        self._forget(number - self._keep_blocks)
        self.head = block
        return block

    def retract(self, depth: int) -> list[Block]:
        """Take the last `depth` blocks off the chain, oldest first; less where that would reach final blocks."""
        fork = max(self.head.number - depth, self._finalized)
        written = self._storage.rewind(fork)
        below: Reader = StorageAt(self._storage, fork)
        gone = [self._by_number.pop(number) for number in range(fork + 1, self.head.number + 1)]
        for block in gone:
            overlay = Overlay(below)
            overlay.writes.update(written.get(block.number, {}))
            self._retracted[block.hash] = (self._by_hash.pop(block.hash), overlay)
            below = overlay
        while len(self._retracted) > _KEPT_RETRACTED:
            self._retracted.popitem(last=False)
        self.head = self._by_number[fork]
        return gone

    def _forget(self, number: int) -> None:
        """Discard a block that has become too old. Genesis stays: clients know the chain by it."""
        old = self._by_number.pop(number, None) if number > 0 else None
        if old is not None:
            del self._by_hash[old.hash]
