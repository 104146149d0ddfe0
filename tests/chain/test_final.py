"""What is concluded of weights is concluded from final blocks."""

from __future__ import annotations

import pytest

from loosh_pipeline.chain.records import SubmissionRow
from loosh_pipeline.devnet.chain.faults import ChainFault
from loosh_pipeline.domain import Block
from loosh_pipeline.errors import WrongChain
from tests.chain.bench import Bench


def included(bench: Bench) -> SubmissionRow:
    """Weights in a block that is not final; the chain stands still."""
    row = bench.set_weights()
    bench.clock.running.clear()
    assert isinstance(row, SubmissionRow)
    assert row.included_block is not None
    assert row.included_block > bench.served.chain.finalized.number
    return row


def test_weights_are_included_until_their_block_is_final_and_then_observed(late_bench: Bench) -> None:
    row = included(late_bench)
    waiting = late_bench.settle()
    assert waiting.state == "included"
    assert "the newest that is final is" in waiting.reason
    late_bench.served.chain.tick(8)
    seen = late_bench.settle()
    assert (seen.state, seen.included_block) == ("observed", row.included_block)


def test_what_a_reorganisation_took_out_was_never_observed_and_expires_when_that_is_final(late_bench: Bench) -> None:
    chain = late_bench.served.chain
    chain.faults.switch(ChainFault.REORG, times=1)
    row = included(late_bench)
    chain.tick(1)
    assert late_bench.included() == 0
    chain.tick(8)
    gone = late_bench.settle()
    assert gone.state == "included"
    assert "went another way" in gone.reason
    assert row.dies_at is not None
    chain.tick(row.dies_at - chain.head.number)
    assert late_bench.settle().state == "included", "a block that is not final may still hold it"
    chain.tick(8)
    assert late_bench.settle().state == "expired"


def test_the_hash_of_a_block_is_told_once_it_is_final(late_bench: Bench) -> None:
    chain = late_bench.served.chain
    late_bench.clock.running.clear()
    block = Block(chain.head.number)
    assert late_bench.chain.block_hash(block) is None
    chain.tick(8)
    assert late_bench.chain.block_hash(block) == chain.block_at(block).hash
    with pytest.raises(WrongChain):
        late_bench.chain.block_hash(block, "0x" + "0" * 64)
