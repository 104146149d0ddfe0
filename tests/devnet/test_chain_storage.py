from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from loosh_pipeline.devnet.chain.storage import Overlay, StorageAt, VersionedStorage

KEYS = [b"a", b"ab", b"b"]
values = st.none() | st.binary(max_size=2)
writes_by_block = st.lists(st.dictionaries(st.sampled_from(KEYS), values), min_size=1, max_size=20)


@given(writes_by_block, st.integers(1, 25))
def test_every_kept_block_reads_as_it_was(history: list[dict[bytes, bytes | None]], keep_blocks: int) -> None:
    storage = VersionedStorage(keep_blocks)
    model: dict[bytes, bytes | None] = {}
    snapshots = []
    for block, writes in enumerate(history):
        storage.commit(block, writes)
        model |= writes
        snapshots.append(dict(model))
    last = len(history) - 1
    for block in range(max(0, last - keep_blocks), last + 1):
        expected = snapshots[block]
        assert [storage.get(key, block) for key in KEYS] == [expected.get(key) for key in KEYS]
        present = sorted(key for key, value in expected.items() if key.startswith(b"a") and value is not None)
        assert list(storage.keys(b"a", block)) == present
    assert storage.entries() <= len(KEYS) * (keep_blocks + 1)


@given(writes_by_block, st.integers(0, 20))
def test_rewinding_gives_back_the_state_of_then_and_what_was_undone(
    history: list[dict[bytes, bytes | None]], fork: int
) -> None:
    storage, then = VersionedStorage(100), VersionedStorage(100)
    for block, writes in enumerate(history):
        storage.commit(block, writes)
        if block <= fork:
            then.commit(block, writes)
    undone = storage.rewind(fork)
    assert undone == {block: writes for block, writes in enumerate(history) if block > fork and writes}
    assert storage.entries() == then.entries()
    assert [storage.get(key, fork) for key in KEYS] == [then.get(key, fork) for key in KEYS]
    storage.commit(fork + 1, {b"a": b"again"})
    assert storage.get(b"a", fork + 1) == b"again"


def test_an_overlay_is_taken_over_or_dropped_as_a_whole() -> None:
    storage = VersionedStorage(10)
    storage.commit(0, {b"a": b"old", b"b": b"kept"})
    block = Overlay(StorageAt(storage, 0))
    failed, succeeded = Overlay(block), Overlay(block)
    failed.set_raw(b"a", b"wrong")
    succeeded.set_raw(b"a", None)
    block.absorb(succeeded)
    assert (block.raw(b"a"), block.raw(b"b")) == (None, b"kept")
    storage.commit(1, block.writes)
    assert (storage.get(b"a", 0), storage.get(b"a", 1)) == (b"old", None)
