"""Chain storage with history: every key remembers the blocks it changed at, for as long as blocks are kept."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol


class Reader(Protocol):
    """Raw storage at one moment. `keys` may name some that are absent."""

    def raw(self, key: bytes) -> bytes | None: ...

    def keys(self, prefix: bytes) -> Iterable[bytes]: ...


class VersionedStorage:
    """Raw key/value storage by block number.

    Memory is one entry a write within the last `keep_blocks` blocks, plus one for the value before them.
    """

    def __init__(self, keep_blocks: int) -> None:
        self._keep_blocks = keep_blocks
        self._blocks: dict[bytes, list[int]] = {}
        self._values: dict[bytes, list[bytes | None]] = {}

    def commit(self, block: int, writes: Mapping[bytes, bytes | None]) -> None:
        """Store the writes of `block`, which must not be older than the last one."""
        for key, value in writes.items():
            blocks = self._blocks.setdefault(key, [])
            values = self._values.setdefault(key, [])
            blocks.append(block)
            values.append(value)
            stale = bisect_right(blocks, block - self._keep_blocks) - 1
            if stale > 0:
                del blocks[:stale], values[:stale]

    def get(self, key: bytes, block: int) -> bytes | None:
        """The value at the end of `block`."""
        position = bisect_right(self._blocks.get(key, ()), block) - 1
        return self._values[key][position] if position >= 0 else None

    def keys(self, prefix: bytes, block: int) -> Iterator[bytes]:
        """Keys that exist at the end of `block`, in order."""
        return (key for key in sorted(self._blocks) if key.startswith(prefix) and self.get(key, block) is not None)

    def rewind(self, block: int) -> dict[int, dict[bytes, bytes | None]]:
        """Undo what was written after `block`; returns it, by block."""
        undone: dict[int, dict[bytes, bytes | None]] = defaultdict(dict)
        for key, blocks in list(self._blocks.items()):
            kept, values = bisect_right(blocks, block), self._values[key]
            for number, value in zip(blocks[kept:], values[kept:], strict=True):
                undone[number][key] = value
            del blocks[kept:], values[kept:]
            if not blocks:
                del self._blocks[key], self._values[key]
        return undone

    def entries(self) -> int:
        """How many values are held, history included."""
        return sum(map(len, self._blocks.values()))


class StorageAt:
    """Read-only view of one past block."""

    def __init__(self, storage: VersionedStorage, block: int) -> None:
        self._storage = storage
        self._block = block

    def raw(self, key: bytes) -> bytes | None:
        return self._storage.get(key, self._block)

    def keys(self, prefix: bytes) -> Iterable[bytes]:
        return self._storage.keys(prefix, self._block)


class Overlay:
    """Writes on top of a reader, to be committed or dropped as a whole."""

    def __init__(self, below: Reader) -> None:
        self._below = below
        self.writes: dict[bytes, bytes | None] = {}

    def raw(self, key: bytes) -> bytes | None:
        return self.writes[key] if key in self.writes else self._below.raw(key)

    def keys(self, prefix: bytes) -> Iterable[bytes]:
        written = {key for key in self.writes if key.startswith(prefix)}
        return sorted(written.union(self._below.keys(prefix)))

    def set_raw(self, key: bytes, value: bytes | None) -> None:
        self.writes[key] = value

    def absorb(self, above: Overlay) -> None:
        """Take over the writes of an overlay that lies on this one."""
        self.writes.update(above.writes)
