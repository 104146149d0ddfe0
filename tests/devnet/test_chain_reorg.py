"""A reorg: a block that was told of is not part of the chain any more, and what it held may be lost."""

from __future__ import annotations

from typing import Any

import pytest

from loosh_pipeline.devnet.chain import ChainFault, DevnetChain
from loosh_pipeline.devnet.chain.ledger import Block, UnknownBlock
from tests.devnet.chain_client import NETUID, VALIDATOR, new_chain, row, signed, weights_call
from tests.devnet.rpc_client import Client, with_client


def struck_chain(depth: int = 1, **config: Any) -> tuple[DevnetChain, Block]:
    """A chain whose head holds weights that the next blocks will take back."""
    chain = new_chain(**config)
    chain.tick(3)
    chain.faults.reorg_depth = depth
    chain.faults.switch(ChainFault.REORG, times=1)
    chain.submit(signed(chain, weights_call()))
    return chain, chain.tick()


@pytest.mark.parametrize("depth", [1, 3])
def test_the_block_is_replaced_by_a_longer_chain_without_the_transaction(depth: int) -> None:
    chain, lost = struck_chain(depth)
    heard: list[Block] = []
    chain.tick(depth - 1)
    assert row(chain) != []
    assert chain.finalized.number < lost.number, "what can be taken back is not final"
    chain.on_block(heard.append)
    head = chain.tick()
    assert head.number == lost.number + depth
    assert [block.number for block in heard] == list(range(lost.number, head.number + 1))
    assert (row(chain), list(chain.state().get("LastUpdate", NETUID))) == ([], [0, 0, 0])
    assert chain.next_nonce(VALIDATOR.ss58_address) == 0
    assert not chain.holds(lost)
    replacement = chain.block_at(lost.number)
    assert replacement is not None
    assert replacement.parent == lost.parent
    assert chain.tick().number == head.number + 1, "once was asked for"
    assert chain.finalized is chain.head


def test_a_block_that_was_taken_back_can_still_be_read_for_a_while() -> None:
    chain, lost = struck_chain(depth=2)
    child = chain.tick()
    chain.tick()
    for block in (lost, child):
        assert chain.block(block.hash) is block
        state = chain.state(block.hash)
        assert state.get("Number", pallet="System") == block.number
        assert list(state.get("LastUpdate", NETUID)) == [0, lost.number, 0]
        key = state.runtime.key(state.runtime.item("SubtensorModule", "Weights"), [NETUID, 1])
        assert chain.keys(key, block.hash) == [key]
        assert chain.keys(key) == []
    for _ in range(70):
        chain.faults.switch(ChainFault.REORG, times=1)
        chain.submit(signed(chain, weights_call()))
        chain.tick(3)
    with pytest.raises(UnknownBlock):
        chain.state(lost.hash)


def test_what_was_taken_back_can_come_again() -> None:
    chain, lost = struck_chain()
    chain.faults.reorg_returns = True
    head = chain.tick()
    assert head.included.keys() == lost.included.keys()
    assert row(chain) != []


@pytest.mark.parametrize("returns", [True, False])
def test_what_was_signed_at_a_block_that_is_gone_is_gone_too(returns: bool) -> None:
    chain, lost = struck_chain(depth=2)
    chain.faults.reorg_returns = returns
    era = {"period": 64, "current": lost.number}
    later = signed(chain, weights_call(), nonce=1, era=era, era_block_hash=lost.hash)
    waiting = signed(chain, weights_call(), nonce=7, era=era, era_block_hash=lost.hash)
    for raw in (later, waiting):
        chain.submit(raw)
    assert len(chain.tick().included) == 1
    head = chain.tick()
    assert head.included.keys() == (lost.included.keys() if returns else set())
    assert chain.pool() == []


def test_no_reorg_goes_behind_what_is_final() -> None:
    chain = new_chain()
    chain.submit(signed(chain, weights_call()))
    final = chain.tick()
    chain.faults.switch(ChainFault.REORG)
    chain.tick(3)
    assert chain.holds(final)
    assert chain.faults.active() == (ChainFault.REORG,)


def test_a_watcher_is_told_of_inclusion_of_its_end_and_of_finality() -> None:
    chain = new_chain(finality_lag_blocks=1)
    chain.faults.switch(ChainFault.REORG, times=1)
    chain.faults.reorg_returns = True

    async def scenario(client: Client) -> None:
        await client.call("chain_subscribeFinalizedHeads")
        await client.call("author_submitAndWatchExtrinsic", "0x" + signed(chain, weights_call()).hex())
        lost = chain.tick()
        await client.call("system_chain")  # by its answer everything before it was heard
        again = chain.tick()
        await client.call("system_chain")
        chain.tick()
        await client.call("system_chain")
        told = [result for name, result in client.notifications if name == "author_extrinsicUpdate"]
        assert told == [
            "ready",
            {"inBlock": lost.hash},
            {"retracted": lost.hash},
            {"inBlock": again.hash},
            {"finalized": again.hash},
        ]
        heads = [result["number"] for name, result in client.notifications if name == "chain_finalizedHead"]
        assert heads == [hex(number) for number in range(1, chain.head.number)]

    with_client(chain, scenario)
